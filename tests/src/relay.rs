//! A mail relay that remembers every transaction and refuses on request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::wait::until;

/// In the place of an answer: the connection ends without one.
pub const CLOSE: &str = "";

/// One transaction that was answered 250.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// MAIL FROM, without brackets.
    pub sender: String,
    /// RCPT TO of recipients that were taken, without brackets, in order.
    pub recipients: Vec<String>,
    /// The MAIL command, then those RCPT commands that were taken, as they came.
    pub commands: Vec<String>,
    /// The message with dots unstuffed.
    pub data: Vec<u8>,
}

impl Mail {
    /// The message as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// What follows the header, octet by octet.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        let split = self.data.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        &self.data[split + 4..]
    }
}

/// A recipient to refuse.
#[derive(Clone, Debug)]
struct Refusal {
    part: String,
    reply: String,
    times: usize,
}

#[derive(Debug, Default)]
struct State {
    mails: Mutex<Vec<Mail>>,
    refusals: Mutex<Vec<Refusal>>,
    offers_dsn: AtomicBool,
    refused: AtomicUsize,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

impl Relay {
    /// Starts on a free port.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts here, where another one may have been before.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                        sessions.spawn(serve(Arc::clone(&shared), socket));
                    },
                    Some(_) = sessions.join_next() => {}
                }
            }
        });
        Self { address, state, tasks }
    }

    /// Stops as a killed process does, and returns where it listened.
    pub async fn stop(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }

    /// Offers DSN (RFC 3461) from the next EHLO on.
    pub fn offer_dsn(&self) {
        self.state.offers_dsn.store(true, Ordering::Relaxed);
    }

    /// Answers `reply` to the next `times` recipients that contain `part`; [`CLOSE`] ends the connection.
    pub fn refuse(&self, part: &str, reply: &str, times: usize) {
        let refusal = Refusal { part: part.to_owned(), reply: reply.to_owned(), times };
        self.state.refusals.lock().unwrap().push(refusal);
    }

    /// All transactions so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.state.mails.lock().unwrap().clone()
    }

    /// How many recipients were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// Waits for so many transactions.
    pub async fn wait(&self, count: usize) -> Vec<Mail> {
        until(&format!("{count} mails at the relay"), || {
            Some(self.mails()).filter(|mails| mails.len() >= count)
        })
        .await
    }
}

impl State {
    fn refusal(&self, recipient: &str) -> Option<String> {
        let mut refusals = self.refusals.lock().unwrap();
        let found =
            refusals.iter_mut().find(|rule| rule.times > 0 && recipient.contains(&rule.part))?;
        found.times -= 1;
        self.refused.fetch_add(1, Ordering::Relaxed);
        Some(found.reply.clone())
    }
}

async fn serve(state: Arc<State>, socket: TcpStream) {
    // A peer that goes away ends the session, as it does at any server.
    drop(talk(&state, socket).await);
}

async fn talk(state: &State, socket: TcpStream) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    socket.write_all(b"220 relay.test ESMTP\r\n").await?;
    let (mut sender, mut recipients) = (String::new(), Vec::new());
    let mut commands = Vec::new();
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match &*verb {
            "EHLO" => {
                let dsn = state.offers_dsn.load(Ordering::Relaxed);
                format!(
                    "250-relay.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 50000000\r\n\
                     {}250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8",
                    if dsn { "250-DSN\r\n" } else { "" }
                )
            }
            "MAIL" => {
                (sender, recipients) = (path(line), Vec::new());
                commands = vec![line.to_owned()];
                "250 2.1.0 ok".to_owned()
            }
            "RCPT" => match state.refusal(&path(line)) {
                Some(refusal) if refusal == CLOSE => return Ok(()),
                Some(refusal) => refusal,
                None => {
                    recipients.push(path(line));
                    commands.push(line.to_owned());
                    "250 2.1.5 ok".to_owned()
                }
            },
            "DATA" if recipients.is_empty() => "554 5.5.1 no valid recipients".to_owned(),
            "DATA" => {
                socket.write_all(b"354 go on\r\n").await?;
                let data = data(&mut socket).await?;
                let (sender, recipients) = (sender.clone(), std::mem::take(&mut recipients));
                let commands = std::mem::take(&mut commands);
                state.mails.lock().unwrap().push(Mail { sender, recipients, commands, data });
                "250 2.0.0 taken".to_owned()
            }
            "QUIT" => {
                socket.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 2.0.0 ok".to_owned(),
        };
        socket.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
}

/// What stands between the brackets.
fn path(line: &str) -> String {
    let inside = line.split_once('<').map_or(line, |(_, rest)| rest);
    inside.split_once('>').map_or(inside, |(path, _)| path).to_owned()
}

async fn data(socket: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let start = data.len();
        socket.read_until(b'\n', &mut data).await?;
        if data.len() == start {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let at_line_start = start == 0 || data[..start].ends_with(b"\r\n");
        if at_line_start && &data[start..] == b".\r\n" {
            data.truncate(start);
            return Ok(data);
        }
        if at_line_start && data[start] == b'.' {
            data.remove(start);
        }
    }
}
