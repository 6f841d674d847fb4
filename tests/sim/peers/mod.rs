//! Who surrounds the host: plain state machines that say what they like and remember what they saw.

pub(crate) mod mailer;
pub(crate) mod esme;
pub(crate) mod smsc;
pub(crate) mod relay;
pub(crate) mod reporter;

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::facts::Facts;
use crate::net::{End, Net};
use crate::pdu::Pdu;
use crate::plugins;
use crate::random::Random;
use crate::scope::Scope;
use crate::trace::Trace;

/// How long a peer waits for the host before it gives the connection up.
const PATIENCE: Duration = Duration::from_secs(45);

/// What all peers share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) net: Net,
    pub(crate) facts: Facts,
    pub(crate) trace: Trace,
    pub(crate) random: Random,
    pub(crate) scope: Scope,
    /// Nobody misbehaves any more.
    calm: Arc<AtomicBool>,
    recipients: Arc<AtomicU64>,
    /// By account, where they were changed.
    passwords: Arc<Mutex<BTreeMap<&'static str, String>>>,
    sessions: Arc<AtomicU64>,
}

impl Stage {
    pub(crate) fn new(net: Net, trace: Trace, random: Random, scope: Scope) -> Self {
        Self {
            net,
            facts: Facts::default(),
            trace,
            random,
            scope,
            calm: Arc::default(),
            recipients: Arc::default(),
            passwords: Arc::default(),
            sessions: Arc::default(),
        }
    }

    pub(crate) fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(crate) fn set_password(&self, account: &'static str, password: String) {
        self.passwords.lock().unwrap().insert(account, password);
    }

    /// What the account binds with now.
    pub(crate) fn password(&self, account: &str) -> String {
        let passwords = self.passwords.lock().unwrap();
        passwords.get(account).cloned().unwrap_or_else(|| "secret".to_owned())
    }

    /// A number that no other recipient has.
    pub(crate) fn next_recipient(&self) -> u64 {
        self.recipients.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The text of an SMS.
    pub(crate) fn text(&self, number: u64) -> String {
        let words = if self.scope.plugins { plugins::words(number) } else { String::new() };
        format!("T{number}{words}")
    }

    /// Whether a message has what a plugin refuses.
    pub(crate) fn is_refusable(&self, number: u64) -> bool {
        self.scope.plugins && plugins::is_refused(number)
    }

    pub(crate) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn note(&self, who: &str, what: Arguments<'_>) {
        self.trace.note(who, what);
    }
}

/// Writes everything, if the other side takes it.
async fn write(end: &mut End, octets: &[u8]) -> io::Result<()> {
    timeout(PATIENCE, end.write_all(octets)).await?
}

/// Reads more into `input`; cancel safe. False at the end.
async fn read(end: &mut End, input: &mut Vec<u8>) -> io::Result<bool> {
    Ok(end.read_buf(input).await? > 0)
}

/// Waits for the next PDU; none at the end.
async fn read_pdu(end: &mut End, input: &mut Vec<u8>) -> io::Result<Option<Pdu>> {
    loop {
        if let Some(pdu) = Pdu::take(input) {
            return Ok(Some(pdu));
        }
        if !timeout(PATIENCE, read(end, input)).await?? {
            return Ok(None);
        }
    }
}

/// Takes the first line out of what was read, without its end.
fn take_line(input: &mut Vec<u8>) -> Option<String> {
    let end = input.windows(2).position(|two| two == b"\r\n")?;
    let line = String::from_utf8_lossy(&input[..end]).into_owned();
    input.drain(..end + 2);
    Some(line)
}

/// Waits for the next line; none at the end.
async fn read_line(end: &mut End, input: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(line) = take_line(input) {
            return Ok(Some(line));
        }
        if !timeout(PATIENCE, read(end, input)).await?? {
            return Ok(None);
        }
    }
}

/// The code of the next answer.
async fn reply(end: &mut End, input: &mut Vec<u8>) -> io::Result<u16> {
    loop {
        let line = read_line(end, input).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0));
        }
    }
}
