//! Kannel, an SMS gateway, as an ESME of ours: bearerbox binds to us, smsbox takes SMS over HTTP.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::install;
use super::lab::{
    ADMIN, ARRIVES_WITHIN, Lab, NOTED, SECRET, SENDSMS, SMPP, SMSBOX, UP_WITHIN, arrived, script,
};
use crate::process::{Service, http, wait_until};

/// Reports that we ask for: of us, and of the phone (`dlr-mask`).
const ALL_REPORTS: &str = "31";
const DELIVERED: &str = "1";
const NOT_DELIVERED: &str = "2";
const TAKEN_BY_SMSC: &str = "8";
const FROM: &str = "33900";

pub(super) fn esme(lab: &Lab) -> Result<()> {
    let kannel = Kannel::start(lab)?;
    kannel.send("+33612345678", "short", "from kannel, prix 5 €")?;
    let got = arrived(&lab.smsc, "the SMS", |sms| sms["text"] == "from kannel, prix 5 €")?;
    ensure!(got["from"] == FROM && got["to"] == "33612345678", "it went elsewhere: {got}");
    kannel.report("short", TAKEN_BY_SMSC)?;
    kannel.report("short", DELIVERED)?;

    kannel.send("+33612345699", "lost", "nobody is there")?;
    kannel.report("lost", NOT_DELIVERED)?;

    kannel.send("+33612345678", "cyrillic", "привет от kannel")?;
    arrived(&lab.smsc, "the SMS in UCS-2", |sms| sms["text"] == "привет от kannel")?;
    kannel.report("cyrillic", DELIVERED)?;

    let long = "kannel ".repeat(60);
    kannel.send("+33612345678", "long", &long)?;
    let parts = || {
        let records = lab.smsc.records();
        let ours = records.iter().filter(|sms| sms["from"] == FROM && sms["part"] == true);
        ours.filter_map(|sms| sms["text"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let all = wait_until(ARRIVES_WITHIN, || Some(parts()).filter(|parts| parts.len() == 3));
    let all = all.with_context(|| format!("these parts came: {:?}", parts()))?;
    ensure!(all.concat() == long, "the parts are not the text: {all:?}");
    kannel.report("long", DELIVERED)?;

    kannel.send("+33612345678", "question", "answer: thanks, see you")?;
    let answer = arrived(&kannel.noted, "the answer of the phone", |note| note["path"] == "/mo")?;
    ensure!(answer["text"] == "thanks, see you", "another text: {answer}");
    ensure!(
        answer["from"].as_str().is_some_and(|from| from.ends_with("33612345678"))
            && answer["to"] == FROM,
        "other addresses: {answer}"
    );
    Ok(())
}

/// Both boxes, and the server that they report to. The smsbox goes first.
struct Kannel {
    noted: Service,
    _smsbox: Service,
    bearerbox: Service,
}

impl Kannel {
    fn start(lab: &Lab) -> Result<Self> {
        let mut noted = lab.python("http_notes.py");
        noted.arg(NOTED.to_string());
        let mut noted = Service::start("noted", &noted, &lab.work)?;
        noted.wait_port(NOTED, UP_WITHIN)?;
        let file = configuration(&lab.work)?;
        let program = |path: &str| -> Command {
            let mut command = install::program(&lab.folder, path);
            command.arg(&file);
            command
        };
        let mut bearerbox = Service::start("bearerbox", &program("usr/sbin/bearerbox"), &lab.work)?;
        bearerbox.wait_port(ADMIN, UP_WITHIN)?;
        bearerbox.wait_port(SMSBOX, UP_WITHIN)?;
        let mut smsbox = Service::start("smsbox", &program("usr/sbin/smsbox"), &lab.work)?;
        smsbox.wait_port(SENDSMS, UP_WITHIN)?;
        let kannel = Self { noted, _smsbox: smsbox, bearerbox };
        let bound = wait_until(UP_WITHIN, || kannel.status().contains("(online").then_some(()));
        ensure!(bound.is_some(), "it does not bind: {}", kannel.status());
        Ok(kannel)
    }

    fn status(&self) -> String {
        http(ADMIN, &format!("/status.txt?password={SECRET}"))
            .unwrap_or_else(|| format!("no status; it said:\n{}", self.bearerbox.said()))
    }

    fn send(&self, to: &str, name: &str, text: &str) -> Result<()> {
        let is_gsm = text.chars().all(|c| c.is_ascii() || c == '€');
        let url = format!("http://127.0.0.1:{NOTED}/report?type=%d&name={name}");
        let query = query(&[
            ("username", "tester"),
            ("password", SECRET),
            ("from", FROM),
            ("to", to),
            ("text", text),
            ("charset", "UTF-8"),
            ("coding", if is_gsm { "0" } else { "2" }),
            ("dlr-mask", ALL_REPORTS),
            ("dlr-url", &url),
        ]);
        let said = http(SENDSMS, &format!("/cgi-bin/sendsms?{query}"));
        let taken = said.as_deref().is_some_and(|said| said.starts_with("0:"));
        ensure!(taken, "sendsms of {name} said {said:?}");
        Ok(())
    }

    fn report(&self, name: &str, kind: &str) -> Result<Value> {
        arrived(&self.noted, &format!("report {kind} on {name}"), |note| {
            note["path"] == "/report" && note["name"] == name && note["type"] == kind
        })
    }
}

fn configuration(folder: &Path) -> Result<std::path::PathBuf> {
    let mut text = fs::read_to_string(script("kannel.conf"))?.replace("@SECRET@", SECRET);
    let ports = [
        ("@ADMIN@", ADMIN),
        ("@SMSBOX@", SMSBOX),
        ("@SENDSMS@", SENDSMS),
        ("@SMPP@", SMPP),
        ("@NOTED@", NOTED),
    ];
    for (place, port) in ports {
        text = text.replace(place, &port.to_string());
    }
    let file = folder.join("kannel.conf");
    fs::write(&file, text)?;
    Ok(file)
}

fn query(pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| {
        text.bytes().fold(String::new(), |mut out, octet| {
            if octet.is_ascii_alphanumeric() {
                out.push(char::from(octet));
            } else {
                out.push_str(&format!("%{octet:02X}"));
            }
            out
        })
    };
    let pairs: Vec<_> =
        pairs.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    pairs.join("&")
}
