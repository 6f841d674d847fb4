//! smpplib, an ESME in Python.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::lab::{Lab, SECRET, SMPP, arrived, client};

/// The sender of `smpplib_client.py`.
const FROM: &str = "33701";

pub(super) fn receipts(lab: &Lab) -> Result<()> {
    let mut command = lab.python("smpplib_client.py");
    client(command.args([&SMPP.to_string(), "esme", SECRET]))?;
    for text in ["hello 1", "hello 2", "prix 5 €", "привет"] {
        let is_there = |sms: &Value| sms["event"] == "message" && sms["text"] == text;
        if lab.peers.node {
            arrived(&lab.smsc, text, is_there)?;
        }
    }
    Ok(())
}

/// The parts of a text become one mail, and each has its receipt.
pub(super) fn parts_become_a_mail(lab: &Lab) -> Result<()> {
    let text = "Ünïcode, and a line that is longer than one SMS. ".repeat(5);
    let mut command = lab.python("smpplib_client.py");
    client(command.args([&SMPP.to_string(), "esme", SECRET, "33997", text.trim()]))?;
    let mail = lab.mail_at("a text in parts", "whole@aio.test")?;
    let said = mail["text"].as_str().unwrap_or_default();
    ensure!(said.trim() == text.trim(), "the mail says: {mail}");
    let count =
        lab.read.records().iter().filter(|mail| mail["subject"] == "a text in parts").count();
    ensure!(count == 1, "{count} mails came");
    Ok(())
}

pub(super) fn long_sms(lab: &Lab) -> Result<()> {
    let records = lab.smsc.records();
    let parts = records.iter().filter(|sms| sms["part"] == true && sms["from"] == FROM);
    let parts: Vec<_> = parts.filter_map(|sms| sms["text"].as_str()).collect();
    ensure!(parts.len() == 3, "{} parts came", parts.len());
    let text = parts.concat();
    ensure!(
        text == format!("long {}", "0123456789".repeat(35)),
        "the parts are not the text: {text}"
    );
    Ok(())
}
