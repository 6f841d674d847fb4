//! The router beside mail and SMS software of others, with assertions on what arrived.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{
    Service, build_host, found, output, ports_are_free, root, try_run, wait_until,
};

/// The ports of `tests/interop/wirepost.yaml`: ours, then the peers'.
const SMTP: u16 = 2625;
const SMPP: u16 = 2875;
const HTTP: u16 = 8125;
const SMSC: u16 = 2876;
const READ: u16 = 2626;
const COUNTED: u16 = 2627;
/// A password both ways; eight octets are the most that SMPP allows.
const SECRET: &str = "secret";

/// With fewer peers than these there, the run says nothing.
const PEERS_MIN: usize = 3;
const INSTALL_TRIES: u32 = 3;
const INSTALL_WITHIN: Duration = Duration::from_secs(180);
const UP_WITHIN: Duration = Duration::from_secs(60);
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);
/// Mails of the load by smtp-source.
const LOAD: u64 = 500;

/// Software of others that could be installed.
struct Peers {
    swaks: bool,
    postfix: bool,
    smpplib: bool,
    aiosmtpd: bool,
    node: bool,
}

struct Bench {
    folder: PathBuf,
    wirepost: PathBuf,
    peers: Peers,
    smsc: Service,
    read: Service,
    counted: Option<Service>,
    router: Service,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// A peer, whether it is there, and what it must do.
type Case = (&'static str, bool, fn(&Bench) -> Result<()>);

/// Installs the peers, runs each against the router and counts.
///
/// # Errors
/// If a peer did not get what it should, or fewer than three peers are there.
pub(crate) fn run() -> Result<()> {
    let wirepost = build_host(false)?;
    let folder = root().join("target/interop");
    fs::create_dir_all(&folder)?;
    let peers = install(&folder)?;
    let bench = start(wirepost, folder, peers)?;
    let there = &bench.peers;
    let cases: [Case; 6] = [
        ("swaks sends, aiosmtpd reads", there.swaks && there.aiosmtpd, swaks),
        ("smtplib sends dots and eight bits, aiosmtpd reads", there.aiosmtpd, smtplib),
        ("smtp-source loads, smtp-sink counts", there.postfix, smtp_source),
        ("a mail becomes an SMS at node-smpp", there.node, mail_to_sms),
        ("smpplib submits and gets its receipts", there.smpplib, smpplib),
        ("node-smpp takes a long SMS in parts", there.node && there.smpplib, long_sms),
    ];
    let mut tally = Tally::default();
    for (name, is_there, case) in cases {
        tally.count(name, is_there.then(|| case(&bench)));
    }
    let running = [there.swaks, there.postfix, there.smpplib, there.aiosmtpd, there.node];
    let running = running.iter().filter(|there| **there).count();
    if tally.failed > 0 {
        println!("the router said:\n{}", bench.router.said());
    }
    drop(bench);
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    ensure!(
        running >= PEERS_MIN,
        "only {running} peers could be installed; see target/interop/install.log"
    );
    ensure!(tally.failed == 0, "{} cases failed", tally.failed);
    Ok(())
}

impl Tally {
    fn count(&mut self, name: &str, outcome: Option<Result<()>>) {
        match outcome {
            None => {
                self.skipped += 1;
                println!("skipped  {name}: a peer could not be installed");
            }
            Some(Ok(())) => {
                self.passed += 1;
                println!("passed   {name}");
            }
            Some(Err(error)) => {
                self.failed += 1;
                println!("FAILED   {name}: {error:#}");
            }
        }
    }
}

fn install(folder: &std::path::Path) -> Result<Peers> {
    let log = folder.join("install.log");
    let attempt = |words: &[&str]| -> Result<bool> {
        println!("installing: {}", words.join(" "));
        let Some((program, arguments)) = words.split_first() else { return Ok(false) };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env("DEBIAN_FRONTEND", "noninteractive");
        try_run(&mut command, INSTALL_WITHIN, &log)
    };
    let tries = |present: &dyn Fn() -> bool, words: &[&str]| -> Result<bool> {
        for _ in 0..INSTALL_TRIES {
            if present() || attempt(words)? && present() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let postfix = || found("smtp-source") || PathBuf::from("/usr/sbin/smtp-source").is_file();
    if !(found("swaks") && postfix()) {
        // A stale list of packages may do; if not, installing says so.
        attempt(&["apt-get", "update"])?;
    }
    let apt = |name| ["apt-get", "install", "-y", "--no-install-recommends", name];
    let python = folder.join("venv/bin/python");
    let has = |module: &str| {
        let mut command = Command::new(&python);
        output(command.args(["-c", &format!("import {module}")]))
            .is_ok_and(|out| out.status.success())
    };
    let pip = |name| ["venv/bin/python", "-m", "pip", "install", "--quiet", name];
    tries(&|| python.is_file(), &["python3", "-m", "venv", "venv"])?;
    Ok(Peers {
        swaks: tries(&|| found("swaks"), &apt("swaks"))?,
        postfix: tries(&postfix, &apt("postfix"))?,
        smpplib: tries(&|| has("smpplib.client"), &pip("smpplib==2.2.4"))?,
        aiosmtpd: tries(&|| has("aiosmtpd.controller"), &pip("aiosmtpd==1.4.6"))?,
        node: tries(
            &|| folder.join("node_modules/smpp").is_dir(),
            &["npm", "install", "--no-fund", "smpp@0.5.1"],
        )?,
    })
}

/// Starts the peers that are servers, with simulators of ours for those that are not there.
fn start(wirepost: PathBuf, folder: PathBuf, peers: Peers) -> Result<Bench> {
    ports_are_free(&[SMTP, SMPP, HTTP, SMSC, READ, COUNTED])?;
    let work = folder.join("work");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    fs::write(work.join("secret"), SECRET)?;
    fs::set_permissions(work.join("secret"), fs::Permissions::from_mode(0o600))?;
    fs::copy(root().join("tests/interop/wirepost.yaml"), work.join("wirepost.yaml"))?;
    let ours = |words: &str| {
        let mut command = Command::new(&wirepost);
        command.args(words.split(' ')).current_dir(&work);
        command
    };
    let smsc = if peers.node {
        let mut command = Command::new("node");
        command.arg(script("node_smsc.js")).args([&SMSC.to_string(), "wp", SECRET]);
        command.env("NODE_PATH", folder.join("node_modules"));
        command
    } else {
        ours(&format!("sim smsc --listen 127.0.0.1:{SMSC}"))
    };
    let mut smsc = Service::start("smsc", &smsc, &work)?;
    smsc.wait_port(SMSC, UP_WITHIN)?;
    let read = if peers.aiosmtpd {
        let mut command = Command::new(folder.join("venv/bin/python"));
        command.arg(script("aiosmtpd_sink.py")).arg(READ.to_string());
        command
    } else {
        ours(&format!("sim relay --listen 127.0.0.1:{READ}"))
    };
    let mut read = Service::start("read", &read, &work)?;
    read.wait_port(READ, UP_WITHIN)?;
    let counted = if peers.postfix {
        let mut command = Command::new("/usr/sbin/smtp-sink");
        command.args(["-u", "nobody", "-c", &format!("127.0.0.1:{COUNTED}"), "100"]);
        let mut counted = Service::start("counted", &command, &work)?;
        counted.wait_port(COUNTED, UP_WITHIN)?;
        Some(counted)
    } else {
        None
    };
    let mut router = Service::start("router", &ours("run --config wirepost.yaml"), &work)?;
    router.wait_ready(HTTP, UP_WITHIN)?;
    Ok(Bench { folder, wirepost, peers, smsc, read, counted, router })
}

fn script(name: &str) -> PathBuf {
    root().join("tests/interop").join(name)
}

/// Runs a client to its end.
fn client(command: &mut Command) -> Result<()> {
    let out = output(command)?;
    if !out.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

fn arrived(service: &Service, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let got = service.wait_record(ARRIVES_WITHIN, wanted);
    got.with_context(|| format!("{what} did not arrive; the peer said:\n{}", service.said()))
}

fn swaks(bench: &Bench) -> Result<()> {
    let server = format!("127.0.0.1:{SMTP}");
    client(Command::new("swaks").args([
        "--server",
        &server,
        "--from",
        "alice@client.test",
        "--to",
        "bob@aio.test,carol@aio.test",
        "--pipeline",
        "--header",
        "Subject: by swaks",
        "--body",
        "hello",
    ]))?;
    let got = arrived(&bench.read, "the mail of swaks", |mail| mail["subject"] == "by swaks")?;
    ensure!(
        got["recipients"].as_array().is_some_and(|list| list.len() == 2),
        "recipients: {}",
        got["recipients"]
    );
    ensure!(got["received"].as_u64() == Some(1), "the Received field of the router is missing");
    Ok(())
}

fn smtplib(bench: &Bench) -> Result<()> {
    let mut command = Command::new(bench.folder.join("venv/bin/python"));
    client(command.arg(script("smtplib_client.py")).args([&SMTP.to_string(), "dots@aio.test"]))?;
    let got = arrived(&bench.read, "the mail of smtplib", |mail| {
        mail["subject"] == "Grüße from smtplib"
    })?;
    let text = got["text"].as_str().unwrap_or_default().replace("\r\n", "\n");
    ensure!(text == ".\n..two\n.one ünï\nlast\n", "the text is another: {text:?}");
    Ok(())
}

fn smtp_source(bench: &Bench) -> Result<()> {
    let server = format!("127.0.0.1:{SMTP}");
    client(Command::new("/usr/sbin/smtp-source").args([
        "-d",
        "-s",
        "10",
        "-m",
        &LOAD.to_string(),
        "-l",
        "2048",
        "-f",
        "load@client.test",
        "-t",
        "x@sink.test",
        &server,
    ]))?;
    let sink = bench.counted.as_ref().context("smtp-sink does not run")?;
    let count = || {
        let said = sink.said();
        let last = said.rsplit("mesg=").next().unwrap_or_default();
        last.split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse::<u64>().ok())
    };
    let all = wait_until(ARRIVES_WITHIN, || (count()? >= LOAD).then_some(()));
    ensure!(all.is_some(), "smtp-sink got {:?} of {LOAD}", count());
    ensure!(count() == Some(LOAD), "smtp-sink got {:?}, more than {LOAD}", count());
    Ok(())
}

fn mail_to_sms(bench: &Bench) -> Result<()> {
    let mut command = Command::new(&bench.wirepost);
    client(command.args([
        "send",
        "smtp",
        "--to",
        &format!("127.0.0.1:{SMTP}"),
        "--from",
        "alice@client.test",
        "--rcpt",
        "0612345678@sms.interop.test",
        "--subject",
        "Hi",
        "--text",
        "from mail",
    ]))?;
    let got = arrived(&bench.smsc, "the SMS", |sms| sms["text"] == "Hi: from mail")?;
    ensure!(
        got["to"].as_str().is_some_and(|to| to.ends_with("33612345678")),
        "it went to {}",
        got["to"]
    );
    Ok(())
}

fn smpplib(bench: &Bench) -> Result<()> {
    let mut command = Command::new(bench.folder.join("venv/bin/python"));
    client(command.arg(script("smpplib_client.py")).args([&SMPP.to_string(), "esme", SECRET]))?;
    for text in ["hello 1", "hello 2", "prix 5 €", "привет"] {
        let is_there = |sms: &Value| sms["event"] == "message" && sms["text"] == text;
        if bench.peers.node {
            arrived(&bench.smsc, text, is_there)?;
        }
    }
    Ok(())
}

fn long_sms(bench: &Bench) -> Result<()> {
    let parts: Vec<_> =
        bench.smsc.records().into_iter().filter(|sms| sms["part"] == true).collect();
    let text: String = parts.iter().filter_map(|sms| sms["text"].as_str()).collect();
    ensure!(parts.len() == 3, "{} parts came", parts.len());
    ensure!(
        text == format!("long {}", "0123456789".repeat(35)),
        "the parts are not the text: {text}"
    );
    Ok(())
}
