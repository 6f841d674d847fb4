//! Postfix before us and behind us, as an instance of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::install;
use super::lab::{AFTER, BEFORE, Lab, READ, SECRET, SMPP, SMTP, UP_WITHIN, client, fresh, script};
use crate::process::Service;

/// Folders of its queue that its own user writes to.
const QUEUES: [&str; 10] = [
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved",
    "trace",
];

pub(super) fn both_sides(lab: &Lab) -> Result<()> {
    let folder = Place::choose(&lab.work.join("postfix"))?;
    let _postfix = start(lab, &folder.path)
        .with_context(|| format!("postfix, whose log is {}/maillog", folder.path.display()))?;

    let subject = "through postfix";
    let recipients = ["bob@hop.test=SUCCESS,FAILURE", "gone@hop.test=SUCCESS,FAILURE"];
    let sent = lab.mail(BEFORE, subject, &recipients)?;
    let got = lab.mail_at(subject, "bob@hop.test")?;
    ensure!(got["digest"] == sent["digest"], "not every octet arrived: {got}");
    let by = &got["by"];
    let expected = serde_json::json!(["postfix.test", "gw.interop.test", "postfix.test"]);
    ensure!(*by == expected, "it came by way of {by}");

    sms_to_mail(lab)?;

    // Postfix behind us is refused one recipient, and its report goes through us to the sender;
    // that it names these two shows that we passed the wishes on.
    let envid = sent["envid"].as_str().unwrap_or_default();
    for (recipient, action, status) in
        [("gone@hop.test", "failed", "5.1.1"), ("bob@hop.test", "relayed", "2.")]
    {
        let report = lab.report_on(recipient, envid)?;
        ensure!(report.field("action") == action, "Action: {}", report.field("action"));
        ensure!(report.field("status").starts_with(status), "Status: {}", report.field("status"));
        let original = report.field("original-recipient").replace(' ', "");
        ensure!(original == format!("rfc822;{recipient}"), "Original-Recipient: {original}");
        let by = &report.mail["report"][0]["reporting-mta"];
        ensure!(by.as_str().is_some_and(|name| name.contains("postfix.test")), "report by {by}");
        ensure!(report.mail["sender"] == "", "the report has a sender: {}", report.mail);
        ensure!(report.mail["by"][0] == "gw.interop.test", "it did not pass us: {}", report.mail);
    }
    Ok(())
}

/// SMS that become mail: one arrives, the other one comes back as a report and becomes a receipt.
fn sms_to_mail(lab: &Lab) -> Result<()> {
    for (code, state) in [("33998", "DELIVRD"), ("33999", "UNDELIV")] {
        let mut command = Command::new(&lab.wirepost);
        let to = format!("127.0.0.1:{SMPP}");
        let said = client(command.args(["send", "smpp", "--to", &to]).args([
            "--system-id",
            "esme",
            "--password",
            SECRET,
            "--from",
            "33700",
            "--dest",
            code,
            "--text",
            "by mail, please",
            "--wait-receipt",
            "60s",
        ]))?;
        let records: Vec<Value> =
            said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |event: &str| records.iter().find(|record| record["event"] == event).cloned();
        let (answer, receipt) =
            (of("answer").unwrap_or_default(), of("receipt").unwrap_or_default());
        ensure!(receipt["state"] == state, "{code} ends otherwise than {state}: {said}");
        ensure!(receipt["id"] == answer["id"], "the receipt has another id: {said}");
    }
    let got = lab.mail_at("SMS from 33700", "bob@hop.test")?;
    ensure!(got["text"].as_str().map(str::trim) == Some("by mail, please"), "another text: {got}");
    ensure!(
        got["sender"].as_str().is_some_and(|sender| sender.starts_with("b+")),
        "it has no return address: {got}"
    );
    Ok(())
}

/// A folder that postfix's user can reach.
struct Place {
    path: PathBuf,
    is_temporary: bool,
}

impl Place {
    fn choose(wanted: &Path) -> Result<Self> {
        let closed = |path: &Path| {
            fs::metadata(path).is_ok_and(|folder| folder.permissions().mode() & 0o001 == 0)
        };
        if wanted.ancestors().any(closed) {
            let name = format!("wirepost-interop-{}", std::process::id());
            let path = fresh(&std::env::temp_dir().join(name))?;
            return Ok(Self { path, is_temporary: true });
        }
        Ok(Self { path: fresh(wanted)?, is_temporary: false })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_temporary {
            // What is left in a folder for temporary files is in nobody's way.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

fn start(lab: &Lab, here: &Path) -> Result<Service> {
    let debian = install::unpacked(&lab.folder);
    let places = [("@HERE@", here), ("@DEBIAN@", debian.as_path())];
    let ports = [("@RELAY@", READ), ("@WIREPOST@", SMTP), ("@BEFORE@", BEFORE), ("@AFTER@", AFTER)];
    let etc = fresh(&here.join("etc"))?;
    for (template, file) in [("postfix.main.cf", "main.cf"), ("postfix.master.cf", "master.cf")] {
        let mut text = fs::read_to_string(script(template))?;
        for (place, path) in places {
            text = text.replace(place, &path.to_string_lossy());
        }
        for (place, port) in ports {
            text = text.replace(place, &port.to_string());
        }
        fs::write(etc.join(file), text)?;
    }
    let spool = fresh(&here.join("spool"))?;
    for queue in QUEUES.into_iter().chain(["private", "public", "maildrop"]) {
        fs::create_dir(spool.join(queue))?;
    }
    // Its master insists on a folder of root's here, and on one of its user's for locks.
    fs::create_dir(spool.join("pid"))?;
    fs::create_dir(here.join("data"))?;
    let given = QUEUES.into_iter().chain(["private", "public", "maildrop"]);
    let mut chown = Command::new("chown");
    chown.arg("news:uucp").arg(here.join("data")).args(given.map(|queue| spool.join(queue)));
    client(&mut chown)?;

    let mut master = install::program(&lab.folder, "usr/lib/postfix/sbin/master");
    master.arg("-d").arg("-c").arg(&etc);
    let mut postfix = Service::start("postfix", &master, &lab.work)?;
    postfix.wait_port(BEFORE, UP_WITHIN)?;
    postfix.wait_port(AFTER, UP_WITHIN)?;
    Ok(postfix)
}
