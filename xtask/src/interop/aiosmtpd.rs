//! aiosmtpd, a mail server in Python, which fails as recipients ask for.

use anyhow::{Context, Result, ensure};

use super::lab::{Lab, Report, SMTP, arrived, is_for};

pub(super) fn some_recipients_fail(lab: &Lab) -> Result<()> {
    let subject = "three fates";
    let wish = "=FAILURE,DELAY";
    let all = ["well@aio.test", "gone@aio.test", "later@aio.test"];
    let wanted = all.map(|recipient| format!("{recipient}{wish}"));
    let sent = lab.mail(SMTP, subject, &wanted.each_ref().map(String::as_str))?;
    for recipient in ["well@aio.test", "later@aio.test"] {
        let got = lab.mail_at(subject, recipient)?;
        ensure!(got["digest"] == sent["digest"], "not every octet arrived: {got}");
    }
    let deferred = arrived(&lab.read, "a first try", |record| record["event"] == "deferred")?;
    ensure!(deferred["address"] == "later@aio.test", "another one was deferred: {deferred}");
    let envid = sent["envid"].as_str().unwrap_or_default();
    let report = lab.report_on("gone@aio.test", envid)?;
    ensure!(report.recipients() == 1, "it is about others too: {}", report.mail);
    is_failure(&report, "5.1.1", "550 5.1.1 nobody of that name")?;
    ensure!(
        report.field("original-recipient").replace(' ', "") == "rfc822;gone@aio.test",
        "Original-Recipient: {}",
        report.field("original-recipient")
    );
    let took = |recipient: &str| {
        let records = lab.read.records();
        records.iter().filter(|one| one["subject"] == subject && is_for(one, recipient)).count()
    };
    ensure!(took("well@aio.test") == 1 && took("later@aio.test") == 1, "some got it twice");
    Ok(())
}

pub(super) fn the_message_is_refused(lab: &Lab) -> Result<()> {
    let sent = lab.mail(SMTP, "unwanted", &["spam@aio.test", "spam-too@aio.test"])?;
    let envid = sent["envid"].as_str().unwrap_or_default();
    for recipient in ["spam@aio.test", "spam-too@aio.test"] {
        let report = lab.report_on(recipient, envid)?;
        is_failure(&report, "5.6.0", "554 5.6.0 not this")?;
    }
    Ok(())
}

pub(super) fn wishes_for_reports(lab: &Lab) -> Result<()> {
    let sent = lab.mail(SMTP, "wishes passed on", &["bob@wishes.test=SUCCESS,FAILURE"])?;
    let first = sent["envid"].as_str().unwrap_or_default();
    let wishes = lab.wishes.as_ref().context("the relay with DSN does not run")?;
    let got = arrived(wishes, "the mail", |mail| is_for(mail, "bob@wishes.test"))?;
    ensure!(got["digest"] == sent["digest"], "not every octet arrived: {got}");
    ensure!(got["envid"] == first && got["ret"] == "HDRS", "ENVID or RET is another: {got}");
    let recipient = &got["recipients"][0];
    ensure!(
        recipient["notify"] == "SUCCESS,FAILURE" && recipient["orcpt"] == "rfc822;bob@wishes.test",
        "NOTIFY or ORCPT is another: {got}"
    );

    let sent =
        lab.mail(SMTP, "wishes end here", &["bob@aio.test=SUCCESS", "carol@aio.test=NEVER"])?;
    let envid = sent["envid"].as_str().unwrap_or_default();
    let report = lab.report_on("bob@aio.test", envid)?;
    ensure!(report.field("action") == "relayed", "Action: {}", report.field("action"));
    ensure!(report.field("status").starts_with("2."), "Status: {}", report.field("status"));
    ensure!(report.recipients() == 1, "it is about others too: {}", report.mail);
    ensure!(is_from_nobody_to_alice(&report), "the envelope is wrong: {}", report.mail);
    let ours = lab
        .read
        .records()
        .into_iter()
        .find(|mail| mail["report"][0]["original-envelope-id"] == first);
    ensure!(ours.is_none(), "the relay knows about wishes, and we report all the same: {ours:?}");
    Ok(())
}

fn is_failure(report: &Report, status: &str, reply: &str) -> Result<()> {
    ensure!(report.field("action") == "failed", "Action: {}", report.field("action"));
    ensure!(report.field("status") == status, "Status: {}", report.field("status"));
    let diagnostic = report.field("diagnostic-code");
    ensure!(
        diagnostic.starts_with("smtp;") && diagnostic.contains(reply),
        "Diagnostic-Code: {diagnostic}"
    );
    ensure!(is_from_nobody_to_alice(report), "the envelope is wrong: {}", report.mail);
    Ok(())
}

fn is_from_nobody_to_alice(report: &Report) -> bool {
    report.mail["sender"] == "" && is_for(&report.mail, "alice@client.test")
}
