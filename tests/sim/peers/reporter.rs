//! What a relay says later of mails that were SMS: reports that come early, late, twice or never, by a
//! mail client that knows no more of the host than its listener. And reports that nobody may make.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use wirepost_tests::dsn::report;

use super::{Stage, reply, write};
use crate::net::End;
use crate::plugins::list_key;
use crate::random::Random;

/// What numbers begin with whose receipt is the relay's answer.
pub(crate) const TAKEN: &str = "8";
/// What numbers begin with whose receipt is a report.
pub(crate) const REPORTED: &str = "9";
/// The domain of their mailboxes.
const DOMAIN: &str = "@border.sim";
/// What return addresses begin with.
const RETURN_PATH: &str = "b+";
/// How often it is looked for something to send.
const LOOK: Duration = Duration::from_millis(500);

/// In a thousand mails.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) lost: usize,
    pub(crate) early: usize,
    pub(crate) late: usize,
    pub(crate) twice: usize,
    /// A state that is not final comes before it.
    pub(crate) interim: usize,
    /// Somebody makes up a return address.
    pub(crate) forged: usize,
    pub(crate) undelivered: usize,
    /// In a thousand reports: it goes away before it has heard the answer.
    pub(crate) cut: usize,
}

/// The reports of a relay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    stage: Stage,
    habits: Habits,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    random: Random,
    waiting: VecDeque<(Instant, Report)>,
    /// Taken to be sent, and not answered.
    out: usize,
}

/// What it says of a mail.
#[derive(Clone, Debug)]
struct Report {
    /// The key of the parcel.
    recipient: String,
    /// The return address.
    to: String,
    action: &'static str,
    status: &'static str,
    forged: bool,
}

/// The key of the parcel of this sender for this mailbox.
pub(crate) fn key(sender: &str, mailbox: &str) -> String {
    let number = mailbox.strip_suffix(DOMAIN).map(|digits| format!("+{digits}"));
    number.or_else(|| list_key(sender, mailbox)).unwrap_or_else(|| mailbox.to_owned())
}

/// Whether a mail of this sender was an SMS.
pub(crate) fn is_return_path(sender: &str) -> bool {
    sender.starts_with(RETURN_PATH)
}

impl Reporter {
    pub(crate) fn new(stage: &Stage, habits: Habits) -> Self {
        let random = stage.random.fork("reporter");
        let shared = Shared { random, waiting: VecDeque::new(), out: 0 };
        Self { stage: stage.clone(), habits, shared: Arc::new(Mutex::new(shared)) }
    }

    /// Whether nothing is left to say.
    pub(crate) fn is_done(&self) -> bool {
        let shared = self.shared.lock().unwrap();
        shared.waiting.is_empty() && shared.out == 0
    }

    /// The relay took a mail that was an SMS; `asked` if it is to tell of success too.
    pub(crate) fn taken(&self, recipient: &str, to: &str, asked: bool) {
        let habits = self.habits;
        let forged = self.chance(habits.forged);
        let delivered = !self.chance(habits.undelivered);
        let (wait, lost) = (self.wait(), self.chance(habits.lost));
        let times = if self.chance(habits.twice) { 2 } else { 1 };
        let interim = self.chance(habits.interim);
        let say = |wait, (action, status), forged| {
            let to = if forged { forge(to) } else { to.to_owned() };
            let recipient = recipient.to_owned();
            let report = Report { recipient, to, action, status, forged };
            self.shared.lock().unwrap().waiting.push_back((Instant::now() + wait, report));
        };
        if forged {
            say(wait / 2, ("failed", "5.1.1"), true);
        }
        if lost || (delivered && !asked) {
            return;
        }
        if interim {
            say(wait / 2, ("delayed", "4.4.1"), false);
        }
        let outcome = if delivered { ("delivered", "2.1.5") } else { ("failed", "5.2.2") };
        for _ in 0..times {
            say(wait, outcome, false);
        }
    }

    fn wait(&self) -> Duration {
        let (early, late) = (self.chance(self.habits.early), self.chance(self.habits.late));
        let random = &mut self.shared.lock().unwrap().random;
        match (early, late) {
            (true, _) => Duration::ZERO,
            // Some of them come after they were given up.
            (_, true) => random.time(20_000..150_000),
            _ => random.time(200..6000),
        }
    }

    fn chance(&self, permille: usize) -> bool {
        let chance = self.shared.lock().unwrap().random.chance(permille);
        chance && !self.stage.is_calm()
    }

    /// Reports for ever.
    pub(crate) async fn run(self, from: SocketAddr, host: SocketAddr) {
        loop {
            sleep(LOOK).await;
            if !self.has_due() {
                continue;
            }
            let connecting = self.stage.net.connect(from, host);
            let ended = match timeout(Duration::from_secs(10), connecting).await {
                Ok(Ok(end)) => self.talk(end).await,
                Ok(Err(error)) => Err(error),
                Err(_late) => Err(io::ErrorKind::TimedOut.into()),
            };
            self.stage.note("reporter", format_args!("ended: {ended:?}"));
        }
    }

    fn has_due(&self) -> bool {
        let now = Instant::now();
        self.shared.lock().unwrap().waiting.iter().any(|(at, _)| *at <= now)
    }

    fn take(&self) -> Option<Report> {
        let mut shared = self.shared.lock().unwrap();
        let now = Instant::now();
        let place = shared.waiting.iter().position(|(at, _)| *at <= now)?;
        let (_, report) = shared.waiting.remove(place)?;
        shared.out += 1;
        Some(report)
    }

    async fn talk(&self, mut end: End) -> io::Result<&'static str> {
        let mut input = Vec::new();
        if reply(&mut end, &mut input).await? != 220 {
            return Ok("no greeting");
        }
        write(&mut end, b"EHLO relay.sim\r\n").await?;
        if reply(&mut end, &mut input).await? != 250 {
            return Ok("no hello");
        }
        while let Some(report) = self.take() {
            let said = self.say(&mut end, &mut input, &report).await;
            let mut shared = self.shared.lock().unwrap();
            shared.out -= 1;
            if !matches!(said, Ok(Some(true))) {
                let wait = shared.random.time(500..4000);
                shared.waiting.push_back((Instant::now() + wait, report));
            }
            drop(shared);
            if said?.is_none() {
                return Ok("cut after the dot");
            }
        }
        write(&mut end, b"QUIT\r\n").await?;
        reply(&mut end, &mut input).await?;
        Ok("quit")
    }

    /// Whether it is done with a report; none if it went away.
    async fn say(
        &self,
        end: &mut End,
        input: &mut Vec<u8>,
        report: &Report,
    ) -> io::Result<Option<bool>> {
        let Report { recipient, to, action, status, forged } = report;
        let mut code = 0;
        for command in ["MAIL FROM:<>".to_owned(), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            write(end, format!("{command}\r\n").as_bytes()).await?;
            code = reply(end, input).await?;
            if code >= 400 {
                self.stage.note("reporter", format_args!("{recipient}: {command}: {code}"));
                self.judge(report, code);
                write(end, b"RSET\r\n").await?;
                reply(end, input).await?;
                return Ok(Some(code >= 500));
            }
        }
        if *forged {
            self.stage.facts.wrong(format!("a forged return address was taken: {code} {to}"));
        }
        let mail = wirepost_report(recipient, action, status);
        write(end, &mail).await?;
        if self.chance(self.habits.cut) {
            return Ok(None);
        }
        code = reply(end, input).await?;
        self.stage.note("reporter", format_args!("{recipient} {action}: {code}"));
        self.judge(report, code);
        if code == 250 && ["delivered", "failed"].contains(action) {
            self.stage.facts.reported(recipient, to, *action == "delivered");
        }
        Ok(Some(code == 250 || code >= 500))
    }

    /// What is ours is never refused for good.
    fn judge(&self, report: &Report, code: u16) {
        if code >= 500 && !report.forged {
            self.stage.facts.wrong(format!("{}: its report was refused: {code}", report.recipient));
        }
    }
}

fn wirepost_report(recipient: &str, action: &str, status: &str) -> Vec<u8> {
    let mailbox = format!("{}{DOMAIN}", recipient.trim_start_matches('+'));
    [report(&mailbox, action, status), b".\r\n".to_vec()].concat()
}

/// The same address under another code.
fn forge(to: &str) -> String {
    let (local, domain) = to.split_once('@').unwrap();
    let (rest, last) = local.split_at(local.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    format!("{rest}{other}@{domain}")
}
