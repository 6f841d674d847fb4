//! An ESME: it binds, submits within its window, loses its link and binds again, and answers what it
//! gets, or not.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Stage, read, read_pdu, write};
use crate::facts::{Answer, Kind, Parcel, Sight, Told, Verdict};
use crate::net::End;
use crate::pdu::{
    BIND_TRANSCEIVER, DELIVER_SM, ENQUIRE_LINK, Pdu, RESP, SUBMIT_SM, Sm, UNBIND, bind,
};
use crate::peers::reporter::{REPORTED, TAKEN};
use crate::plugins::is_tidied;
use crate::random::Random;

/// Silence after which it asks whether the host lives.
const ENQUIRE: Duration = Duration::from_secs(20);
/// How long it waits for an answer to a submit.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How it behaves; in a thousand, each time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) submits: usize,
    pub(crate) window: usize,
    /// Between two submits, in milliseconds.
    pub(crate) pause_ms: u64,
    /// It drops its link instead of reading on.
    pub(crate) cut: usize,
    /// It does not answer a delivery, or says that it cannot now.
    pub(crate) silent: usize,
    pub(crate) later: usize,
    pub(crate) long_texts: usize,
    pub(crate) short_validity: usize,
}

/// An ESME.
pub(crate) struct Esme {
    account: &'static str,
    name: String,
    stage: Stage,
    habits: Habits,
    random: Random,
    left: usize,
    done: Arc<AtomicBool>,
}

struct Link {
    end: End,
    input: Vec<u8>,
    sequence: u32,
    session: u64,
    place: usize,
    /// Submits without an answer.
    out: BTreeMap<u32, (Instant, String)>,
    next_submit: Instant,
    heard: Instant,
    asked: bool,
}

impl Esme {
    pub(crate) fn new(account: &'static str, number: usize, stage: &Stage, habits: Habits) -> Self {
        let name = format!("{account}{number}");
        let random = stage.random.fork(&name);
        let done = Arc::default();
        Self { account, name, stage: stage.clone(), habits, random, left: habits.submits, done }
    }

    /// Set once everything was submitted.
    pub(crate) fn done(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.done)
    }

    /// Binds again and again, for ever.
    pub(crate) async fn run(mut self, from: SocketAddr, host: SocketAddr) {
        loop {
            let connecting = self.stage.net.connect(from, host);
            let ended = match timeout(Duration::from_secs(10), connecting).await {
                Ok(Ok(end)) => self.serve(end).await,
                Ok(Err(error)) => Err(error),
                Err(_late) => Err(io::ErrorKind::TimedOut.into()),
            };
            self.stage.note(&self.name, format_args!("ended: {ended:?}"));
            sleep(self.random.time(200..4000)).await;
        }
    }

    async fn serve(&mut self, mut end: End) -> io::Result<&'static str> {
        let mut input = Vec::new();
        let wrong = self.stage.scope.accounts && self.random.chance(50);
        let password = if wrong { "wrong".to_owned() } else { self.stage.password(self.account) };
        let began = Instant::now();
        let pdu = Pdu::new(BIND_TRANSCEIVER, 0, 1, bind(self.account, &password));
        write(&mut end, &pdu.octets()).await?;
        match read_pdu(&mut end, &mut input).await? {
            Some(pdu) if pdu.command == BIND_TRANSCEIVER | RESP && pdu.status == 0 => {}
            Some(pdu) => {
                self.stage.note(&self.name, format_args!("not bound: {:#x}", pdu.status));
                return Ok("not bound");
            }
            None => return Ok("closed before the bind"),
        }
        self.stage.note(&self.name, format_args!("#{} bound", end.number()));
        if wrong || self.stage.facts.is_absent(self.account, began, end.written()) {
            self.stage.facts.wrong(format!("{} could bind with {password}", self.name));
        }
        let mut link = Link {
            end,
            input,
            sequence: 1,
            session: self.stage.next_session(),
            place: 0,
            out: BTreeMap::new(),
            next_submit: Instant::now(),
            heard: Instant::now(),
            asked: false,
        };
        loop {
            while let Some(pdu) = Pdu::take(&mut link.input) {
                link.heard = Instant::now();
                link.asked = false;
                if let Some(end) = self.handle(&mut link, pdu).await? {
                    return Ok(end);
                }
            }
            let now = Instant::now();
            let room = self.left > 0 && link.out.len() < self.habits.window;
            if room && link.next_submit <= now {
                self.submit(&mut link).await?;
                continue;
            }
            let late = link.out.values().next().map(|(at, _)| *at + ANSWER_WITHIN);
            if late.is_some_and(|late| late <= now) {
                return Ok("no answer to a submit");
            }
            let ask = link.heard + ENQUIRE;
            if ask <= now && link.asked {
                return Ok("no answer to an enquire_link");
            }
            let submit = room.then_some(link.next_submit);
            if ask <= now {
                link.asked = true;
                link.heard = now;
                link.sequence += 1;
                let pdu = Pdu::new(ENQUIRE_LINK, 0, link.sequence, Vec::new());
                write(&mut link.end, &pdu.octets()).await?;
                continue;
            }
            let next = [Some(ask), submit, late].into_iter().flatten().min().unwrap();
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                more = read(&mut link.end, &mut link.input) => if !more? {
                    return Ok("closed");
                }
            }
        }
    }

    async fn submit(&mut self, link: &mut Link) -> io::Result<()> {
        let number = self.stage.next_recipient();
        let (prefix, kind) = self.way();
        let recipient = format!("+33{prefix}{number:08}");
        let mut registered = u8::from(self.random.chance(700));
        if kind == Kind::SmsToMail && registered == 1 && self.random.chance(300) {
            registered = 2;
        }
        let seconds = if self.random.chance(self.habits.short_validity) { 20 } else { 3000 };
        let text = if self.random.chance(self.habits.long_texts) {
            format!("{} {}", self.stage.text(number), "long ".repeat(60))
        } else {
            self.stage.text(number)
        };
        let mut sm = Sm {
            source: "33700".to_owned(),
            destination: recipient.clone(),
            registered,
            validity: format!("0000000{:01}{:02}{:02}000R", 0, seconds / 60, seconds % 60),
            ..Sm::default()
        };
        if text.len() > 160 {
            // message_payload: the host cuts it as it likes.
            sm.tlvs.push((0x0424, text.into_bytes()));
        } else {
            sm.text = text.into_bytes();
        }
        let parcel = Parcel {
            session: link.session,
            place: link.place,
            wants_success: registered == 1,
            wants_failure: registered != 0,
            validity: Duration::from_secs(seconds),
            refusable: self.stage.is_refusable(number),
            reported: prefix == REPORTED,
            ..Parcel::new(kind, self.account)
        };
        self.stage.facts.send(&recipient, parcel);
        link.place += 1;
        link.sequence += 1;
        self.left -= 1;
        self.done.store(self.left == 0, Ordering::Relaxed);
        self.stage.note(&self.name, format_args!("submit {recipient} for {seconds} s"));
        link.out.insert(link.sequence, (Instant::now(), recipient));
        let pause = self.habits.pause_ms;
        link.next_submit = Instant::now() + self.random.time(0..pause * 2 + 1);
        let pdu = Pdu::new(SUBMIT_SM, 0, link.sequence, sm.octets());
        write(&mut link.end, &pdu.octets()).await
    }

    /// Where the next number leads, and what it begins with.
    fn way(&mut self) -> (&'static str, Kind) {
        if self.stage.scope.border && self.random.chance(350) {
            let prefix = if self.random.chance(500) { TAKEN } else { REPORTED };
            return (prefix, Kind::SmsToMail);
        }
        // Numbers of the first kind may go to either SMSC, those of the second to one of them.
        (if self.random.chance(600) { "6" } else { "7" }, Kind::Sms)
    }

    async fn handle(&mut self, link: &mut Link, pdu: Pdu) -> io::Result<Option<&'static str>> {
        if self.random.chance(self.habits.cut) && !self.stage.is_calm() {
            return Ok(Some("cut"));
        }
        match pdu.command {
            command if command == SUBMIT_SM | RESP => {
                let Some((_, recipient)) = link.out.remove(&pdu.sequence) else {
                    let what = format!("{}: answer {} to no submit", self.name, pdu.sequence);
                    self.stage.facts.wrong(what);
                    return Ok(None);
                };
                let answer = match pdu.status {
                    0 => Answer::Accepted(Instant::now()),
                    _ => Answer::Refused(Instant::now()),
                };
                self.stage.note(
                    &self.name,
                    format_args!("{recipient}: {:#x} {}", pdu.status, pdu.text()),
                );
                self.stage.facts.answer(&recipient, answer);
            }
            DELIVER_SM => self.delivered(link, &pdu).await?,
            ENQUIRE_LINK => {
                let answer = Pdu::new(ENQUIRE_LINK | RESP, 0, pdu.sequence, Vec::new());
                write(&mut link.end, &answer.octets()).await?;
            }
            UNBIND => {
                let answer = Pdu::new(UNBIND | RESP, 0, pdu.sequence, Vec::new());
                write(&mut link.end, &answer.octets()).await?;
                return Ok(Some("unbound"));
            }
            command if command == ENQUIRE_LINK | RESP => {}
            command => {
                let what = format!("{}: unexpected command {command:#x}", self.name);
                self.stage.facts.wrong(what);
            }
        }
        Ok(None)
    }

    /// A receipt, or a message of a subscriber.
    async fn delivered(&mut self, link: &mut Link, pdu: &Pdu) -> io::Result<()> {
        let Some(sm) = Sm::read(&pdu.body) else {
            self.stage.facts.wrong(format!("{}: a deliver_sm that cannot be read", self.name));
            return Ok(());
        };
        let calm = self.stage.is_calm();
        let silent = self.random.chance(self.habits.silent) && !calm;
        let later = self.random.chance(self.habits.later) && !calm;
        let status = if later && !silent { 0x64 } else { 0 };
        let (connection, now) = (link.end.number(), Instant::now());
        let answered = (!silent).then_some(now);
        match sm.receipt() {
            Some((id, word)) => {
                self.stage.note(
                    &self.name,
                    format_args!("receipt {} {id} {word:?}: {status:#x}", sm.source),
                );
                if status == 0 {
                    let written = link.end.written();
                    let told = Told { word, connection, written, id, answered, marked: false };
                    self.stage.facts.told(self.account, &sm.source, told);
                }
            }
            None => {
                self.stage.note(&self.name, format_args!("message {}: {status:#x}", sm.source));
                let sight = Sight {
                    at: now,
                    written: link.end.written(),
                    peer: self.account.to_owned(),
                    connection,
                    part: (1, 1),
                    marked: false,
                    verdict: if status == 0 { Verdict::Taken } else { Verdict::Later },
                    tidied: is_tidied(&String::from_utf8_lossy(&sm.text)),
                    answered,
                    id: String::new(),
                };
                self.stage.facts.sight(&sm.source, sight);
            }
        }
        if silent {
            return Ok(());
        }
        let answer = Pdu::answer(DELIVER_SM, status, pdu.sequence, "");
        write(&mut link.end, &answer.octets()).await
    }
}
