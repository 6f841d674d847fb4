//! smtplib, the mail client of Python.

use anyhow::{Result, ensure};

use super::lab::{Lab, SMTP};

pub(super) fn dots_and_eight_bits(lab: &Lab) -> Result<()> {
    let subject = "Grüße from smtplib";
    let sent = lab.mail(SMTP, subject, &["dots@aio.test"])?;
    let got = lab.mail_at(subject, "dots@aio.test")?;
    ensure!(got["digest"] == sent["digest"], "not every octet arrived: {got}");
    Ok(())
}
