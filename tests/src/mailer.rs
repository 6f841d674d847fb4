//! A mail client that says one line at a time and shows the whole answer.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stranger;
use crate::wait::DEADLINE;

/// A session with an SMTP listener.
#[derive(Debug)]
pub struct Mailer {
    socket: BufReader<TcpStream>,
    /// The answer to EHLO, all lines of it.
    pub ehlo: String,
}

impl Mailer {
    /// Connects and says EHLO.
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::greeted(socket).await
    }

    /// Connects from an address such as `127.0.0.7` and says EHLO.
    pub async fn connect_from(source: &str, address: SocketAddr) -> Self {
        Self::greeted(stranger::connect(source, address).await).await
    }

    /// Is greeted and says EHLO.
    async fn greeted(socket: TcpStream) -> Self {
        let mut mailer = Self { socket: BufReader::new(socket), ehlo: String::new() };
        let greeting = mailer.reply().await;
        assert!(greeting.starts_with("220"), "{greeting}");
        mailer.ehlo = mailer.say("EHLO client.test").await;
        mailer
    }

    /// Writes octets as they are.
    pub async fn write(&mut self, octets: &[u8]) {
        self.socket.write_all(octets).await.unwrap();
    }

    /// The next whole answer, lines joined by `\n`.
    pub async fn reply(&mut self) -> String {
        self.reply_within(DEADLINE).await.expect("an answer in time")
    }

    /// The next whole answer, or none within this time. Empty if the peer has closed.
    pub async fn reply_within(&mut self, within: Duration) -> Option<String> {
        let reading = async {
            let mut all = String::new();
            loop {
                let mut line = String::new();
                if self.socket.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return all;
                }
                all.push_str(line.trim_end());
                if line.as_bytes().get(3) != Some(&b'-') {
                    return all;
                }
                all.push('\n');
            }
        };
        timeout(within, reading).await.ok()
    }

    /// One command and its answer.
    pub async fn say(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// A whole transaction; the answer to DATA, or the first refusal before it. Refused recipients
    /// do not end it while one is left.
    pub async fn send(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> String {
        let reply = self.say(&format!("MAIL FROM:<{sender}>")).await;
        if !reply.starts_with('2') {
            return reply;
        }
        let (mut taken, mut refusal) = (0, String::new());
        for recipient in recipients {
            let reply = self.say(&format!("RCPT TO:<{recipient}>")).await;
            if reply.starts_with('2') {
                taken += 1;
            } else {
                refusal = reply;
            }
        }
        if taken == 0 {
            self.say("RSET").await;
            return refusal;
        }
        let reply = self.say("DATA").await;
        if !reply.starts_with("354") {
            return reply;
        }
        self.write(&stuffed(message)).await;
        self.reply().await
    }
}

/// A mail with a subject and a text.
#[must_use]
pub fn mail(subject: &str, text: &str) -> Vec<u8> {
    format!(
        "From: Alice <alice@example.org>\r\nTo: someone@example.org\r\nSubject: {subject}\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\n{text}\r\n"
    )
    .into_bytes()
}

fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}
