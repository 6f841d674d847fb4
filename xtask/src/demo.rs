//! The quickstart, run for real: the router between two simulators, with some traffic.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::plugins;
use crate::process::{Service, build_host, output, pause, ports_are_free, root, target};

/// The ports of `examples/quickstart/wirepost.yaml`: two doors, health, and the simulators.
const SMTP: u16 = 2525;
const SMPP: u16 = 2775;
const HTTP: u16 = 8025;
const SMSC: u16 = 2776;
const RELAY: u16 = 2526;
const UP_WITHIN: Duration = Duration::from_secs(60);
/// Time for a message to come out, with a retry of a connector that was slow to come up.
const ARRIVES_WITHIN: Duration = Duration::from_secs(15);

struct Demo {
    wirepost: PathBuf,
    folder: PathBuf,
    router: Service,
    smsc: Service,
    relay: Service,
}

/// Builds, starts, sends and shows; stays until Ctrl-C unless `once`.
///
/// # Errors
/// If something does not start, or a message did not fare as it should.
pub(crate) fn run(once: bool) -> Result<()> {
    let wirepost = build_host(false)?;
    let modules = plugins::build()?;
    ports_are_free(&[SMTP, SMPP, HTTP, SMSC, RELAY])?;
    let folder = prepare(&modules)?;
    let demo = Demo::start(wirepost, folder)?;
    demo.mail_to_a_number()?;
    demo.mail_to_a_mailbox()?;
    demo.mail_with_a_stop_word()?;
    demo.short_message_with_a_receipt()?;
    demo.short_message_with_a_stop_word()?;
    println!("\nall five messages fared as they should");
    if once { Ok(()) } else { demo.stay() }
}

/// A fresh copy of the quickstart with the plugins beside it.
fn prepare(modules: &Path) -> Result<PathBuf> {
    let example = root().join("examples/quickstart");
    let folder = target().join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    for inner in ["plugins", "secrets", "data"] {
        let inner = folder.join(inner);
        fs::create_dir_all(&inner)?;
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o700))?;
    }
    for file in ["wirepost.yaml", "secrets/shop", "secrets/smsc"] {
        fs::copy(example.join(file), folder.join(file)).with_context(|| format!("copy {file}"))?;
    }
    for secret in ["secrets/shop", "secrets/smsc"] {
        fs::set_permissions(folder.join(secret), fs::Permissions::from_mode(0o600))?;
    }
    fs::copy(modules.join("stop_words.wasm"), folder.join("plugins/stop_words.wasm"))
        .context("copy stop_words.wasm")?;
    Ok(folder)
}

impl Demo {
    fn start(wirepost: PathBuf, folder: PathBuf) -> Result<Self> {
        let command = |words: &str| {
            let mut command = Command::new(&wirepost);
            command.args(words.split(' ')).current_dir(&folder);
            command
        };
        let mut smsc = Service::start("smsc", &command("sim smsc"), &folder)?;
        smsc.wait_port(SMSC, UP_WITHIN)?;
        let mut relay = Service::start("relay", &command("sim relay"), &folder)?;
        relay.wait_port(RELAY, UP_WITHIN)?;
        let mut router = Service::start("router", &command("run --config wirepost.yaml"), &folder)?;
        router.wait_ready(HTTP, UP_WITHIN)?;
        println!("the router runs in {} between `sim smsc` and `sim relay`", folder.display());
        Ok(Self { wirepost, folder, router, smsc, relay })
    }

    fn mail_to_a_number(&self) -> Result<()> {
        println!("\n1. a mail to a phone number becomes an SMS");
        let (taken, said) = self.send(&[
            "smtp",
            "--from",
            "alice@example.org",
            "--rcpt",
            "0612345678@sms.example.net",
            "--subject",
            "Hi",
            "--text",
            "there",
        ])?;
        ensure!(taken, "it was refused: {said}");
        let got = self.smsc.wait_record(ARRIVES_WITHIN, |record| text_is(record, "Hi: there"));
        let got = got.with_context(|| self.missing("the SMSC got nothing", &self.smsc))?;
        ensure!(
            got["destination"].as_str().is_some_and(|to| to.ends_with("33612345678")),
            "it went to {}",
            got["destination"]
        );
        println!("   the SMSC got: {} -> {}: {}", got["source"], got["destination"], got["text"]);
        self.trace(&said)
    }

    fn mail_to_a_mailbox(&self) -> Result<()> {
        println!("\n2. other mail goes to the relay");
        let (taken, said) = self.send(&[
            "smtp",
            "--from",
            "alice@example.org",
            "--rcpt",
            "bob@example.org",
            "--subject",
            "Lunch",
            "--text",
            "at noon",
        ])?;
        ensure!(taken, "it was refused: {said}");
        let got = self.relay.wait_record(ARRIVES_WITHIN, |record| {
            record["event"] == "message"
                && record["recipients"].to_string().contains("bob@example.org")
        });
        let got = got.with_context(|| self.missing("the relay got nothing", &self.relay))?;
        println!("   the relay got: {} -> {}", got["sender"], got["recipients"]);
        self.trace(&said)
    }

    fn mail_with_a_stop_word(&self) -> Result<()> {
        println!("\n3. the plugin refuses a mail with a stop word, at the door");
        let (taken, said) = self.send(&[
            "smtp",
            "--from",
            "mallory@example.org",
            "--rcpt",
            "bob@example.org",
            "--subject",
            "You won",
            "--text",
            "the lottery",
        ])?;
        ensure!(!taken && said.contains("5.7.1"), "it was not refused: {said}");
        Ok(())
    }

    fn short_message_with_a_receipt(&self) -> Result<()> {
        println!("\n4. an SMS over SMPP, and its receipt");
        let (taken, said) = self.short("good morning", &["--wait-receipt", "20s"])?;
        ensure!(taken, "it was refused, or no receipt came: {said}");
        let got = self.smsc.wait_record(ARRIVES_WITHIN, |record| text_is(record, "good morning"));
        let got = got.with_context(|| self.missing("the SMSC got nothing", &self.smsc))?;
        println!("   the SMSC got: {} -> {}: {}", got["source"], got["destination"], got["text"]);
        let records: Vec<Value> =
            said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let id = |event: &str| {
            records.iter().find(|record| record["event"] == event).map(|record| &record["id"])
        };
        ensure!(
            id("answer").is_some() && id("answer") == id("receipt"),
            "the receipt has another id than the answer: {said}"
        );
        self.trace(&said)
    }

    fn short_message_with_a_stop_word(&self) -> Result<()> {
        println!("\n5. the plugin refuses an SMS with a stop word");
        let (taken, said) = self.short("play the lottery", &[])?;
        ensure!(!taken && said.contains("status"), "it was not refused: {said}");
        ensure!(!self.smsc.said().contains("lottery"), "the SMSC got it all the same");
        Ok(())
    }

    fn short(&self, text: &str, more: &[&str]) -> Result<(bool, String)> {
        let words = [
            "smpp",
            "--system-id",
            "shop",
            "--password",
            "secret",
            "--from",
            "33700",
            "--dest",
            "+33612345678",
            "--text",
            text,
        ];
        self.send(&[&words[..], more].concat())
    }

    /// Sends one message; whether it was taken, and what was said.
    fn send(&self, words: &[&str]) -> Result<(bool, String)> {
        let quoted = words.iter().map(|word| {
            if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() }
        });
        println!("   $ wirepost send {}", quoted.collect::<Vec<_>>().join(" "));
        let mut command = Command::new(&self.wirepost);
        let out = output(command.arg("send").args(words).current_dir(&self.folder))?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        print_indented(&said);
        Ok((out.status.success(), said))
    }

    /// Shows what the router knows about the message whose id was said.
    fn trace(&self, said: &str) -> Result<()> {
        let id = said.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() >= 15);
        let id = id.with_context(|| format!("the answer names no id: {said}"))?;
        let mut command = Command::new(&self.wirepost);
        command.args(["trace", id, "--socket", "data/wirepost.sock"]).current_dir(&self.folder);
        let out = output(&mut command)?;
        ensure!(out.status.success(), "trace {id}: {}", String::from_utf8_lossy(&out.stderr));
        println!("   $ wirepost trace {id}");
        print_indented(&String::from_utf8_lossy(&out.stdout));
        Ok(())
    }

    fn missing(&self, what: &str, peer: &Service) -> String {
        format!("{what}; it said:\n{}\nthe router said:\n{}", peer.said(), self.router.said())
    }

    fn stay(mut self) -> Result<()> {
        println!("\nit goes on until Ctrl-C. In another terminal:");
        println!("  cd {}; alias wirepost={}", self.folder.display(), self.wirepost.display());
        for hint in [
            "wirepost send smtp --rcpt 0612345678@sms.example.net --subject Hi --text there",
            "tail -f smsc.log relay.log router.log",
            "wirepost queue list --socket data/wirepost.sock",
            "wirepost explain --config wirepost.yaml --door mail --to 0612345678@sms.example.net",
            "curl -s http://127.0.0.1:8025/metrics",
            "$EDITOR wirepost.yaml            # a right change is live within a second, a wrong one is refused",
        ] {
            println!("  {hint}");
        }
        loop {
            pause(Duration::from_millis(300));
            for service in [&mut self.router, &mut self.smsc, &mut self.relay] {
                if service.ended() {
                    bail!("a process has ended; it said:\n{}", service.said());
                }
            }
        }
    }
}

fn text_is(record: &Value, text: &str) -> bool {
    record["event"] == "message" && record["text"] == text
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("     {line}");
    }
}
