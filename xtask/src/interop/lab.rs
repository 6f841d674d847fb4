//! The router and the servers around it, and what cases ask of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::install::{self, Peers};
use crate::process::{Service, output, ports_are_free, root};

/// The ports of `tests/interop/wirepost.yaml`: ours, then the peers'.
pub(super) const SMTP: u16 = 2625;
pub(super) const SMPP: u16 = 2875;
const HTTP: u16 = 8125;
pub(super) const SMSC: u16 = 2876;
pub(super) const READ: u16 = 2626;
pub(super) const COUNTED: u16 = 2627;
pub(super) const WISHES: u16 = 2628;
/// Where postfix takes mail for us, and mail from us.
pub(super) const BEFORE: u16 = 2630;
pub(super) const AFTER: u16 = 2631;
/// Kannel's, and where it reports to.
pub(super) const SENDSMS: u16 = 2640;
pub(super) const ADMIN: u16 = 2641;
pub(super) const SMSBOX: u16 = 2642;
pub(super) const NOTED: u16 = 2643;
/// A password both ways; eight octets are the most that SMPP allows.
pub(super) const SECRET: &str = "secret";

pub(super) const UP_WITHIN: Duration = Duration::from_secs(60);
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// Everything that runs during all cases.
pub(super) struct Lab {
    /// `target/interop`.
    pub(super) folder: PathBuf,
    /// Files of this run.
    pub(super) work: PathBuf,
    pub(super) wirepost: PathBuf,
    pub(super) peers: Peers,
    pub(super) smsc: Service,
    /// A relay that reads what it gets, and fails as the recipients say.
    pub(super) read: Service,
    /// The same, which knows about wishes for reports.
    pub(super) wishes: Option<Service>,
    pub(super) counted: Option<Service>,
    pub(super) router: Service,
}

impl Lab {
    /// Starts the peers that are servers, with simulators of ours for those that are not there.
    pub(super) fn start(wirepost: PathBuf, folder: PathBuf, peers: Peers) -> Result<Self> {
        ports_are_free(&[SMTP, SMPP, HTTP, SMSC, READ, COUNTED, WISHES, BEFORE, AFTER])?;
        ports_are_free(&[SENDSMS, ADMIN, SMSBOX, NOTED])?;
        let work = fresh(&folder.join("work"))?;
        fs::write(work.join("secret"), SECRET)?;
        fs::set_permissions(work.join("secret"), fs::Permissions::from_mode(0o600))?;
        fs::copy(root().join("tests/interop/wirepost.yaml"), work.join("wirepost.yaml"))?;
        let ours = |words: &str| {
            let mut command = Command::new(&wirepost);
            command.args(words.split(' ')).current_dir(&work);
            command
        };
        let smsc = if peers.node {
            let mut command = node(&folder, "node_smsc.js");
            command.args([&SMSC.to_string(), "wp", SECRET]);
            command
        } else {
            ours(&format!("sim smsc --listen 127.0.0.1:{SMSC}"))
        };
        let mut smsc = Service::start("smsc", &smsc, &work)?;
        smsc.wait_port(SMSC, UP_WITHIN)?;
        let read = if peers.aiosmtpd {
            let mut command = python(&folder, "aiosmtpd_relay.py");
            command.arg(READ.to_string());
            command
        } else {
            ours(&format!("sim relay --listen 127.0.0.1:{READ}"))
        };
        let mut read = Service::start("read", &read, &work)?;
        read.wait_port(READ, UP_WITHIN)?;
        let wishes = if peers.aiosmtpd {
            let mut command = python(&folder, "aiosmtpd_relay.py");
            command.args([&WISHES.to_string(), "dsn"]);
            let mut wishes = Service::start("wishes", &command, &work)?;
            wishes.wait_port(WISHES, UP_WITHIN)?;
            Some(wishes)
        } else {
            None
        };
        let counted = if peers.postfix {
            let mut command = install::program(&folder, "usr/sbin/smtp-sink");
            command.args(["-u", "nobody", "-c", &format!("127.0.0.1:{COUNTED}"), "100"]);
            let mut counted = Service::start("counted", &command, &work)?;
            counted.wait_port(COUNTED, UP_WITHIN)?;
            Some(counted)
        } else {
            None
        };
        let mut router = Service::start("router", &ours("run --config wirepost.yaml"), &work)?;
        router.wait_ready(HTTP, UP_WITHIN)?;
        Ok(Self { folder, work, wirepost, peers, smsc, read, wishes, counted, router })
    }

    /// A script in the Python that has the peers' libraries.
    pub(super) fn python(&self, script: &str) -> Command {
        python(&self.folder, script)
    }

    /// A script in node, likewise.
    pub(super) fn node(&self, script: &str) -> Command {
        node(&self.folder, script)
    }

    /// Sends one mail by smtplib from `alice@client.test`; recipients are `ADDRESS` or
    /// `ADDRESS=NOTIFY`. What it printed: the digest of the message.
    pub(super) fn mail(&self, port: u16, subject: &str, recipients: &[&str]) -> Result<Value> {
        let mut command = self.python("smtplib_client.py");
        let said = client(command.args([&port.to_string(), subject]).args(recipients))?;
        serde_json::from_str(said.trim()).with_context(|| format!("smtplib_client.py: {said}"))
    }

    /// Waits for a mail at the reading relay.
    pub(super) fn mail_at(&self, subject: &str, recipient: &str) -> Result<Value> {
        arrived(&self.read, subject, |mail| {
            mail["event"] == "message" && mail["subject"] == subject && is_for(mail, recipient)
        })
    }

    /// Waits for a report about a recipient, and gives what it says of it.
    pub(super) fn report_on(&self, recipient: &str, envid: &str) -> Result<Report> {
        let about = format!("rfc822;{recipient}");
        // The final recipient of an SMS is a number, the original one is what the sender wrote.
        let names = |fields: &Value| {
            let is = |name: &str| fields[name].as_str().map(|text| text.replace(' ', ""));
            [is("original-recipient"), is("final-recipient")].contains(&Some(about.clone()))
        };
        let found = |mail: &Value| {
            let blocks = mail["report"].as_array()?;
            let fields = blocks.iter().skip(1).find(|fields| names(fields))?;
            (blocks.first()?["original-envelope-id"] == envid).then(|| fields.clone())
        };
        let mail =
            arrived(&self.read, &format!("a report on {recipient}"), |mail| found(mail).is_some())?;
        let fields = found(&mail).unwrap_or_default();
        Ok(Report { fields, mail })
    }
}

/// All that came in has come to an end that somebody was told, or waits.
pub(super) fn audit(lab: &Lab) -> Result<()> {
    let mut command = Command::new(&lab.wirepost);
    let said = client(command.arg("audit").current_dir(&lab.work))?;
    ensure!(said.contains("everything is accounted for"), "{said}");
    Ok(())
}

/// What a report says of one recipient, and the mail that it stands in.
pub(super) struct Report {
    pub(super) fields: Value,
    pub(super) mail: Value,
}

impl Report {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields[name].as_str().unwrap_or_default()
    }

    /// How many recipients it is about.
    pub(super) fn recipients(&self) -> usize {
        self.mail["report"].as_array().map_or(0, |blocks| blocks.len().saturating_sub(1))
    }
}

/// Whether a mail has this recipient in its envelope.
pub(super) fn is_for(mail: &Value, recipient: &str) -> bool {
    let recipients = mail["recipients"].as_array().map_or(&[][..], Vec::as_slice);
    recipients.iter().any(|one| one["address"] == recipient)
}

/// An empty folder.
pub(super) fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    Ok(folder.to_path_buf())
}

/// A file of `tests/interop`.
pub(super) fn script(name: &str) -> PathBuf {
    root().join("tests/interop").join(name)
}

fn python(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.arg(script(name));
    command
}

fn node(folder: &Path, name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script(name)).env("NODE_PATH", folder.join("node_modules"));
    command
}

/// Runs a client to its end: what it printed.
pub(super) fn client(command: &mut Command) -> Result<String> {
    let out = output(command)?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{said}{}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(said)
}

/// Waits for what a peer prints.
pub(super) fn arrived(
    service: &Service,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let got = service.wait_record(ARRIVES_WITHIN, wanted);
    got.with_context(|| format!("{what} did not arrive; the peer said:\n{}", service.said()))
}
