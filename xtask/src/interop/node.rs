//! node-smpp, as an SMSC and as an ESME.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::lab::{Lab, SECRET, SMPP, SMTP, arrived, client};

pub(super) fn mail_to_sms(lab: &Lab) -> Result<()> {
    let mut command = Command::new(&lab.wirepost);
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
    let got = arrived(&lab.smsc, "the SMS", |sms| sms["text"] == "Hi: from mail")?;
    ensure!(got["to"] == "33612345678" && got["from"] == "33700", "it went elsewhere: {got}");
    Ok(())
}

pub(super) fn receipts_to_reports(lab: &Lab) -> Result<()> {
    let (well, lost) = ("0612345678@sms.interop.test", "0612345699@sms.interop.test");
    let wish = "=SUCCESS,FAILURE";
    let wanted = [format!("{well}{wish}"), format!("{lost}{wish}")];
    let sent = lab.mail(SMTP, "to two phones", &wanted.each_ref().map(String::as_str))?;
    let envid = sent["envid"].as_str().unwrap_or_default();
    for (recipient, action, class) in [(well, "delivered", "2."), (lost, "failed", "5.")] {
        let report = lab.report_on(recipient, envid)?;
        ensure!(report.field("action") == action, "Action: {}", report.field("action"));
        ensure!(report.field("status").starts_with(class), "Status: {}", report.field("status"));
        ensure!(report.mail["sender"] == "", "the report has a sender: {}", report.mail);
    }
    Ok(())
}

pub(super) fn esme(lab: &Lab) -> Result<()> {
    let mut command = lab.node("node_esme.js");
    let said = client(command.args([&SMPP.to_string(), "node", SECRET]))?;
    let records = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let done = records.into_iter().find(|record| record["event"] == "done");
    let done = done.with_context(|| format!("it did not come to its end: {said}"))?;
    ensure!(done["delivered"] == 3, "two receipts and an answer are due: {done}");
    // The SMSC, too, must have had its answers.
    arrived(&lab.smsc, "the answer to the phone's SMS", |record| {
        record["event"] == "mo-answer" && record["status"] == 0
    })?;
    Ok(())
}
