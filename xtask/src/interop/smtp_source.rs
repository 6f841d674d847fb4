//! smtp-source and smtp-sink, the load generator and sink that come with postfix.

use anyhow::{Context, Result, ensure};

use super::install;
use super::lab::{ARRIVES_WITHIN, Lab, SMTP, client};
use crate::process::wait_until;

/// Mails of the load.
const MAILS: u64 = 500;

pub(super) fn load(lab: &Lab) -> Result<()> {
    let mut command = install::program(&lab.folder, "usr/sbin/smtp-source");
    client(command.args([
        "-d",
        "-s",
        "10",
        "-m",
        &MAILS.to_string(),
        "-l",
        "2048",
        "-f",
        "load@client.test",
        "-t",
        "x@sink.test",
        &format!("127.0.0.1:{SMTP}"),
    ]))?;
    let sink = lab.counted.as_ref().context("smtp-sink does not run")?;
    let count = || {
        let said = sink.said();
        let last = said.rsplit("mesg=").next().unwrap_or_default();
        last.split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|digits| digits.parse::<u64>().ok())
    };
    let all = wait_until(ARRIVES_WITHIN, || (count()? >= MAILS).then_some(()));
    ensure!(all.is_some(), "smtp-sink got {:?} of {MAILS}", count());
    ensure!(count() == Some(MAILS), "smtp-sink got {:?}, more than {MAILS}", count());
    Ok(())
}
