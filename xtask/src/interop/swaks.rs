//! swaks, a mail client.

use std::process::Command;

use anyhow::{Result, ensure};

use super::install;
use super::lab::{Lab, SMTP, client};

pub(super) fn two_recipients(lab: &Lab) -> Result<()> {
    let program = install::unpacked(&lab.folder).join("usr/bin/swaks");
    let mut command = Command::new("perl");
    client(command.arg(program).args([
        "--server",
        &format!("127.0.0.1:{SMTP}"),
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
    let got = lab.mail_at("by swaks", "bob@aio.test")?;
    let recipients = &got["recipients"];
    ensure!(recipients.as_array().map(Vec::len) == Some(2), "recipients: {recipients}");
    ensure!(got["received"] == 1, "the Received field of the router is missing");
    Ok(())
}
