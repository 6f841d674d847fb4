//! A mail relay: it refuses, defers, is slow, and cuts connections before or after the dot.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::reporter::{self, Reporter};
use super::{Stage, read_line, write};
use crate::facts::{Sight, Told, Verdict, Word};
use crate::net::End;
use crate::plugins::{is_stamped, is_tidied};
use crate::random::Random;

/// In a thousand, each time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) rcpt_later: usize,
    pub(crate) rcpt_never: usize,
    pub(crate) data_later: usize,
    pub(crate) data_never: usize,
    pub(crate) cut_before_dot: usize,
    pub(crate) cut_after_dot: usize,
    pub(crate) slow: usize,
    pub(crate) busy: usize,
    /// It says that it tells senders itself.
    pub(crate) dsn: bool,
}

/// A relay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    stage: Stage,
    habits: Habits,
    random: Arc<Mutex<Random>>,
    reporter: Reporter,
}

struct Session {
    relay: Relay,
    end: End,
    input: Vec<u8>,
    sender: String,
    recipients: Vec<String>,
    /// Those that are to be told of success.
    asked: Vec<String>,
}

impl Relay {
    pub(crate) fn new(stage: &Stage, habits: Habits, reporter: Reporter) -> Self {
        let random = Arc::new(Mutex::new(stage.random.fork("relay")));
        Self { stage: stage.clone(), habits, random, reporter }
    }

    /// Serves for ever.
    pub(crate) async fn run(self, address: SocketAddr) {
        let mut acceptor = self.stage.net.listen(address);
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                // A panic of one is a failure of the run.
                Some(ended) = sessions.join_next() => ended.unwrap(),
                (end, _) = acceptor.accept() => {
                    let relay = self.clone();
                    let (input, sender, recipients, asked) = Default::default();
                    let session = Session { relay, end, input, sender, recipients, asked };
                    sessions.spawn(session.serve());
                }
            }
        }
    }

    fn chance(&self, permille: usize) -> bool {
        let chance = self.random.lock().unwrap().chance(permille);
        chance && !self.stage.is_calm()
    }

    fn time(&self, ms: std::ops::Range<u64>) -> Duration {
        self.random.lock().unwrap().time(ms)
    }
}

impl Session {
    async fn serve(mut self) {
        let number = self.end.number();
        let ended = self.talk().await;
        self.relay.stage.note("relay", format_args!("#{number} ended: {ended:?}"));
    }

    async fn talk(&mut self) -> io::Result<&'static str> {
        let relay = self.relay.clone();
        if relay.chance(relay.habits.busy) {
            write(&mut self.end, b"421 4.3.2 too busy\r\n").await?;
            return Ok("too busy");
        }
        write(&mut self.end, b"220 relay.sim ESMTP\r\n").await?;
        loop {
            let Some(line) = self.line().await? else { return Ok("closed") };
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let reply = match &*verb {
                "EHLO" => {
                    let dsn = if relay.habits.dsn { "250-DSN\r\n" } else { "" };
                    format!(
                        "250-relay.sim\r\n250-PIPELINING\r\n250-8BITMIME\r\n{dsn}250 ENHANCEDSTATUSCODES"
                    )
                }
                "MAIL" => {
                    (self.sender, self.recipients) = (path(&line), Vec::new());
                    self.asked.clear();
                    "250 2.1.0 ok".to_owned()
                }
                "RCPT" => self.rcpt(&line),
                "DATA" if self.recipients.is_empty() => "554 5.5.1 nobody to send it to".to_owned(),
                "DATA" => match self.data().await? {
                    Ok(reply) => reply,
                    Err(cut) => return Ok(cut),
                },
                "QUIT" => {
                    write(&mut self.end, b"221 2.0.0 bye\r\n").await?;
                    return Ok("quit");
                }
                _ => "250 2.0.0 ok".to_owned(),
            };
            write(&mut self.end, format!("{reply}\r\n").as_bytes()).await?;
        }
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        // The host keeps idle connections; it closes them.
        loop {
            match read_line(&mut self.end, &mut self.input).await {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                other => return other,
            }
        }
    }

    fn rcpt(&mut self, line: &str) -> String {
        let recipient = path(line);
        let (relay, habits) = (&self.relay, self.relay.habits);
        let notification = self.sender.is_empty();
        // Some mailboxes never exist.
        let never = recipient.contains("00@") || relay.chance(habits.rcpt_never);
        let verdict = if never && !notification {
            Verdict::Never
        } else if relay.chance(habits.rcpt_later) {
            Verdict::Later
        } else {
            if line.contains("SUCCESS") {
                self.asked.push(recipient.clone());
            }
            self.recipients.push(recipient);
            return "250 2.1.5 ok".to_owned();
        };
        relay.stage.note("relay", format_args!("#{} {recipient}: {verdict:?}", self.end.number()));
        if !notification {
            let sight = self.sight(verdict, false);
            relay.stage.facts.sight(&reporter::key(&self.sender, &recipient), sight);
        }
        match verdict {
            Verdict::Never => "550 5.1.1 no such mailbox".to_owned(),
            _ => "450 4.2.1 mailbox busy".to_owned(),
        }
    }

    /// Takes the message; a reply, or why the connection ends.
    async fn data(&mut self) -> io::Result<Result<String, &'static str>> {
        let (relay, habits) = (self.relay.clone(), self.relay.habits);
        write(&mut self.end, b"354 go on\r\n").await?;
        if relay.chance(habits.cut_before_dot) {
            self.line().await?;
            return Ok(Err("cut before the dot"));
        }
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(Err("closed in DATA")) };
            if line == "." {
                break;
            }
            lines.push(line);
        }
        let notification = self.sender.is_empty();
        let verdict = if relay.chance(habits.data_later) {
            Verdict::Later
        } else if relay.chance(habits.data_never) && !notification {
            Verdict::Never
        } else {
            Verdict::Taken
        };
        let marked = lines.first().is_some_and(|line| line == "X-Possible-Duplicate: yes");
        let cut = relay.chance(habits.cut_after_dot);
        let slow = relay.chance(habits.slow);
        let number = self.end.number();
        relay.stage.note(
            "relay",
            format_args!(
                "#{number} <{}> to {:?}: {verdict:?} marked {marked} cut {cut} slow {slow}",
                self.sender, self.recipients
            ),
        );
        let answered = (!cut && !slow).then(Instant::now);
        self.note(&lines, verdict, (marked, answered));
        self.recipients.clear();
        if cut {
            return Ok(Err("cut after the dot"));
        }
        sleep(if slow { relay.time(32_000..50_000) } else { relay.time(0..120) }).await;
        Ok(Ok(match verdict {
            Verdict::Taken => "250 2.0.0 taken",
            Verdict::Later => "451 4.3.0 later",
            Verdict::Never => "554 5.7.1 never",
        }
        .to_owned()))
    }

    fn note(
        &self,
        lines: &[String],
        verdict: Verdict,
        (marked, answered): (bool, Option<Instant>),
    ) {
        let facts = &self.relay.stage.facts;
        let tidied = if reporter::is_return_path(&self.sender) {
            lines.iter().find_map(|line| is_tidied(line))
        } else {
            Some(is_stamped(lines))
        };
        if !self.sender.is_empty() {
            let parts = parts(lines);
            if parts.len() > 1 {
                self.relay.stage.note("relay", format_args!("{} parts in one mail", parts.len()));
            }
            for recipient in &self.recipients {
                let key = reporter::key(&self.sender, recipient);
                for &part in &parts {
                    let sight = Sight { answered, tidied, part, ..self.sight(verdict, marked) };
                    facts.sight(&key, sight);
                }
            }
            if reporter::is_return_path(&self.sender) {
                self.was_short(lines, verdict);
            }
            return;
        }
        if verdict != Verdict::Taken {
            return;
        }
        let field = |name: &str| {
            let value = lines.iter().find_map(|line| line.strip_prefix(name));
            value.map(|value| value.trim().to_owned()).unwrap_or_default()
        };
        let about = field("Final-Recipient:");
        let about = about.rsplit(';').next().unwrap_or_default().trim().to_owned();
        // A relay that tells nobody of success makes the host say that it was relayed.
        let delivered = ["delivered", "relayed"].contains(&&*field("Action:"));
        let word = if delivered { Word::Delivered } else { Word::Failed };
        let id = field("Message-ID:");
        let told = Told {
            word,
            connection: self.end.number(),
            written: self.end.written(),
            id,
            answered,
            marked,
        };
        for who in &self.recipients {
            facts.told(who, &reporter::key(who, &about), told.clone());
        }
    }

    /// A mail that was an SMS: it says what the SMS said, and its relay may tell what becomes of it.
    fn was_short(&self, lines: &[String], verdict: Verdict) {
        let Relay { stage, reporter, .. } = &self.relay;
        for mailbox in &self.recipients {
            let key = reporter::key(&self.sender, mailbox);
            let number = key.get(4..).unwrap_or_default().trim_start_matches('0');
            let text = format!("T{number}");
            if !lines.iter().any(|line| line.split(' ').next() == Some(&text)) {
                stage.facts.wrong(format!("{key}: its mail does not say {text}: {lines:?}"));
            }
            if verdict == Verdict::Taken {
                reporter.taken(&key, &self.sender, self.asked.contains(mailbox));
            }
        }
    }

    fn sight(&self, verdict: Verdict, marked: bool) -> Sight {
        let now = Instant::now();
        Sight {
            at: now,
            written: self.end.written(),
            peer: "relay".to_owned(),
            connection: self.end.number(),
            part: (1, 1),
            marked,
            verdict,
            tidied: None,
            answered: Some(now),
            id: self.sender.clone(),
        }
    }
}

/// Which parts of a long text a mail has: `P1of3`. Anything else is one part.
fn parts(lines: &[String]) -> Vec<(u8, u8)> {
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    let numbers = words.filter_map(|word| word.strip_prefix('P')?.split_once("of"));
    let parts: Vec<(u8, u8)> = numbers
        .filter_map(|(part, total)| Some((part.parse().ok()?, total.parse().ok()?)))
        .collect();
    if parts.is_empty() { vec![(1, 1)] } else { parts }
}

/// What stands between the brackets.
fn path(line: &str) -> String {
    let inside = line.split_once('<').map_or(line, |(_, rest)| rest);
    inside.split_once('>').map_or(inside, |(path, _)| path).to_owned()
}
