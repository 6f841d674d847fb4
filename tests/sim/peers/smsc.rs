//! An SMSC: it takes, refuses, throttles, keeps silent, answers late or under a wrong number, and its
//! receipts come early, late, twice or never.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::reporter::TAKEN;
use super::{Stage, read, write};
use crate::facts::{Answer, GIVE_UP, Kind, Parcel, Sight, Verdict};
use crate::net::End;
use crate::pdu::{
    BIND_TRANSCEIVER, DELIVER_SM, ENQUIRE_LINK, Pdu, RESP, SUBMIT_SM, Sm, UNBIND, receipt,
};
use crate::plugins::is_tidied;
use crate::random::Random;

/// How often a connection looks for what others left to send.
const LOOK: Duration = Duration::from_millis(500);
/// The sessions of SMSCs are connections, those of others have numbers of their own.
const SESSIONS: u64 = 1 << 32;
/// Our requests without an answer.
const WINDOW: usize = 5;

/// In a thousand submits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) late: usize,
    pub(crate) silent: usize,
    pub(crate) later: usize,
    pub(crate) throttle: usize,
    pub(crate) never: usize,
    pub(crate) wrong_number: usize,
    pub(crate) cut: usize,
    /// In a thousand receipts.
    pub(crate) receipt_lost: usize,
    pub(crate) receipt_early: usize,
    pub(crate) receipt_late: usize,
    pub(crate) receipt_twice: usize,
    pub(crate) receipt_lie: usize,
    pub(crate) undelivered: usize,
}

/// An SMSC. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Smsc {
    name: &'static str,
    stage: Stage,
    habits: Habits,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    random: Random,
    ids: u64,
    /// What to send when there is a bind.
    waiting: VecDeque<(Instant, Outgoing)>,
    /// Sent and not answered.
    out: usize,
    /// Parts that the host took, of messages in several.
    taken: BTreeMap<u64, BTreeSet<u8>>,
}

#[derive(Clone, Debug)]
enum Outgoing {
    Receipt {
        recipient: String,
        id: String,
        delivered: bool,
        known: bool,
    },
    /// To the short code of an account, or to a number behind which there is a mailbox.
    Message {
        kind: Kind,
        number: u64,
        /// Which part, and of how many.
        part: (u8, u8),
    },
}

/// A sight to note as answered: the recipient, and its place.
type Answers = Option<(String, Option<usize>)>;

/// A connection.
struct Link {
    smsc: Smsc,
    end: End,
    input: Vec<u8>,
    bound: bool,
    sequence: u32,
    /// Answers to write, and when: the octets, and the sight that they answer.
    due: BTreeMap<(Instant, u32), (Vec<u8>, Answers)>,
    dues: u32,
    out: BTreeMap<u32, (Instant, Outgoing)>,
}

impl Smsc {
    pub(crate) fn new(name: &'static str, stage: &Stage, habits: Habits) -> Self {
        let shared = Shared {
            random: stage.random.fork(name),
            ids: 0,
            waiting: VecDeque::new(),
            out: 0,
            taken: BTreeMap::new(),
        };
        Self { name, stage: stage.clone(), habits, shared: Arc::new(Mutex::new(shared)) }
    }

    /// Serves for ever.
    pub(crate) async fn run(self, address: SocketAddr) {
        let mut acceptor = self.stage.net.listen(address);
        let mut links = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                // A panic of one is a failure of the run.
                Some(ended) = links.join_next() => ended.unwrap(),
                (end, _) = acceptor.accept() => {
                    let link = Link {
                        smsc: self.clone(),
                        end,
                        input: Vec::new(),
                        bound: false,
                        sequence: 0,
                        due: BTreeMap::new(),
                        dues: 0,
                        out: BTreeMap::new(),
                    };
                    links.spawn(link.serve());
                }
            }
        }
    }

    /// Whether nothing is left to send.
    pub(crate) fn is_done(&self) -> bool {
        let shared = self.shared.lock().unwrap();
        shared.waiting.is_empty() && shared.out == 0
    }

    /// A subscriber writes to the short code of an account, or to a mailbox.
    pub(crate) fn message_from_mobile(&self, at: Instant, kind: Kind) {
        let number = self.stage.next_recipient();
        let outgoing = Outgoing::Message { kind, number, part: (1, 1) };
        self.shared.lock().unwrap().waiting.push_back((at, outgoing));
    }

    /// A subscriber writes a long text to a mailbox: its parts go out one after the other, over any
    /// link.
    pub(crate) fn parts_from_mobile(&self, at: Instant, total: u8) {
        let number = self.stage.next_recipient();
        let mut shared = self.shared.lock().unwrap();
        for part in 1..=total {
            let at = at + shared.random.time(0..1500);
            let kind = Kind::MobileToMail;
            shared.waiting.push_back((at, Outgoing::Message { kind, number, part: (part, total) }));
        }
    }

    fn chance(&self, permille: usize) -> bool {
        let chance = self.shared.lock().unwrap().random.chance(permille);
        chance && !self.stage.is_calm()
    }

    fn time(&self, ms: std::ops::Range<u64>) -> Duration {
        self.shared.lock().unwrap().random.time(ms)
    }

    /// The next thing to send, if it is time.
    fn take_waiting(&self) -> Option<Outgoing> {
        let mut shared = self.shared.lock().unwrap();
        let now = Instant::now();
        let place = shared.waiting.iter().position(|(at, _)| *at <= now)?;
        shared.out += 1;
        shared.waiting.remove(place).map(|(_, outgoing)| outgoing)
    }

    fn again(&self, outgoing: Outgoing) {
        let wait = self.time(500..3000);
        let mut shared = self.shared.lock().unwrap();
        shared.out -= 1;
        let outgoing = match outgoing {
            // The host may have taken it: this is another one, and of a long one the rest.
            Outgoing::Message { part: (_, total), .. } if total > 1 => return,
            Outgoing::Message { kind, part, .. } => {
                Outgoing::Message { kind, number: self.stage.next_recipient(), part }
            }
            other @ Outgoing::Receipt { .. } => other,
        };
        shared.waiting.push_back((Instant::now() + wait, outgoing));
    }
}

impl Link {
    async fn serve(mut self) {
        let (name, number) = (self.smsc.name, self.end.number());
        let ended = self.talk().await;
        self.smsc.stage.note(name, format_args!("#{number} ended: {ended:?}"));
        for (_, outgoing) in std::mem::take(&mut self.out).into_values() {
            self.smsc.again(outgoing);
        }
    }

    async fn talk(&mut self) -> io::Result<&'static str> {
        loop {
            while let Some(pdu) = Pdu::take(&mut self.input) {
                if let Some(end) = self.handle(pdu).await? {
                    return Ok(end);
                }
            }
            self.send_waiting().await?;
            let look = Instant::now() + LOOK;
            let next = self.due.keys().next().map_or(look, |(at, _)| (*at).min(look));
            tokio::select! {
                biased;
                () = sleep_until(next) => self.write_due().await?,
                more = read(&mut self.end, &mut self.input) => if !more? {
                    return Ok("closed");
                }
            }
        }
    }

    async fn write_due(&mut self) -> io::Result<()> {
        while let Some(first) = self.due.first_entry() {
            if first.key().0 > Instant::now() {
                break;
            }
            let (octets, answers) = first.remove();
            write(&mut self.end, &octets).await?;
            if let Some((recipient, sight)) = answers {
                self.smsc.stage.facts.answered(&recipient, sight);
            }
        }
        Ok(())
    }

    fn later(&mut self, after: Duration, pdu: &Pdu, answers: Answers) {
        self.dues += 1;
        self.due.insert((Instant::now() + after, self.dues), (pdu.octets(), answers));
    }

    async fn handle(&mut self, pdu: Pdu) -> io::Result<Option<&'static str>> {
        match pdu.command {
            BIND_TRANSCEIVER => {
                if self.smsc.chance(50) {
                    self.later(
                        Duration::ZERO,
                        &Pdu::answer(pdu.command, 0x0D, pdu.sequence, ""),
                        None,
                    );
                } else {
                    self.bound = true;
                    let answer = Pdu::answer(pdu.command, 0, pdu.sequence, self.smsc.name);
                    self.later(Duration::ZERO, &answer, None);
                }
            }
            SUBMIT_SM => return Ok(self.submit(&pdu)),
            ENQUIRE_LINK => {
                let answer = Pdu::new(ENQUIRE_LINK | RESP, 0, pdu.sequence, Vec::new());
                self.later(Duration::ZERO, &answer, None);
            }
            UNBIND => {
                let answer = Pdu::new(UNBIND | RESP, 0, pdu.sequence, Vec::new());
                write(&mut self.end, &answer.octets()).await?;
                return Ok(Some("unbound"));
            }
            command if command == DELIVER_SM | RESP => self.delivered(&pdu),
            command => {
                let what = format!("{}: unexpected command {command:#x}", self.smsc.name);
                self.smsc.stage.facts.wrong(what);
            }
        }
        Ok(None)
    }

    fn submit(&mut self, pdu: &Pdu) -> Option<&'static str> {
        let smsc = self.smsc.clone();
        let (name, habits) = (smsc.name, smsc.habits);
        let Some(sm) = Sm::read(&pdu.body) else {
            smsc.stage.facts.wrong(format!("{name}: a submit_sm that cannot be read"));
            return None;
        };
        let id = {
            let mut shared = smsc.shared.lock().unwrap();
            shared.ids += 1;
            format!("{name}-{}", shared.ids)
        };
        // Some numbers are never taken.
        let never = sm.destination.ends_with("00") || smsc.chance(habits.never);
        let refusal = if never {
            Some((Verdict::Never, 0x0B))
        } else if smsc.chance(habits.throttle) {
            Some((Verdict::Later, 0x58))
        } else {
            smsc.chance(habits.later).then_some((Verdict::Later, 0x08))
        };
        let verdict = refusal.map_or(Verdict::Taken, |(verdict, _)| verdict);
        let (at, written) = (Instant::now(), self.end.written());
        let connection = self.end.number();
        smsc.stage.note(
            name,
            format_args!(
                "#{connection} submit {} {:?}: {verdict:?} {id}",
                sm.destination,
                sm.part()
            ),
        );
        let sight = Sight {
            at,
            written,
            peer: name.to_owned(),
            connection,
            part: sm.part(),
            marked: false,
            verdict,
            tidied: is_tidied(&String::from_utf8_lossy(&sm.text)),
            answered: None,
            id: id.clone(),
        };
        let sight = smsc.stage.facts.sight(&sm.destination, sight);
        let answers = Some((sm.destination.clone(), sight));
        let soon = smsc.time(0..150);
        if let Some((_, status)) = refusal {
            let answer = Pdu::answer(SUBMIT_SM, status, pdu.sequence, "");
            self.later(soon, &answer, answers);
            return None;
        }
        let taken = |sequence| Pdu::answer(SUBMIT_SM, 0, sequence, &id);
        let mut answered_at = soon;
        if smsc.chance(habits.cut) {
            self.receipts(&sm, &id, Duration::ZERO);
            return Some("cut instead of an answer");
        } else if smsc.chance(habits.silent) {
            smsc.stage.note(name, format_args!("no answer to {id}"));
        } else if smsc.chance(habits.late) {
            answered_at = smsc.time(11_000..25_000);
            self.later(answered_at, &taken(pdu.sequence), None);
        } else if smsc.chance(habits.wrong_number) {
            self.later(soon, &taken(pdu.sequence + 5000), None);
        } else {
            self.later(soon, &taken(pdu.sequence), answers);
        }
        self.receipts(&sm, &id, answered_at);
        None
    }

    /// Receipts for a submit that was taken.
    fn receipts(&self, sm: &Sm, id: &str, answered: Duration) {
        let (smsc, habits) = (&self.smsc, self.smsc.habits);
        if sm.registered & 1 == 0 || smsc.chance(habits.receipt_lost) {
            return;
        }
        let wait = if smsc.chance(habits.receipt_early) {
            Duration::ZERO
        } else if smsc.chance(habits.receipt_late) {
            answered + smsc.time(20_000..90_000)
        } else {
            answered + smsc.time(50..4000)
        };
        let times = if smsc.chance(habits.receipt_twice) { 2 } else { 1 };
        let lies = smsc.chance(habits.receipt_lie);
        let mut shared = smsc.shared.lock().unwrap();
        let delivered = !shared.random.chance(habits.undelivered);
        let mut say = |id: String, known| {
            let recipient = sm.destination.clone();
            let receipt = Outgoing::Receipt { recipient, id, delivered, known };
            shared.waiting.push_back((Instant::now() + wait, receipt));
        };
        for _ in 0..times {
            say(id.to_owned(), true);
        }
        if lies {
            say(format!("{id}-of-nobody"), false);
        }
    }

    async fn send_waiting(&mut self) -> io::Result<()> {
        while self.bound && self.out.len() < WINDOW {
            let Some(outgoing) = self.smsc.take_waiting() else { return Ok(()) };
            self.sequence += 1;
            let sm = self.sm(&outgoing);
            self.out.insert(self.sequence, (Instant::now(), outgoing));
            let pdu = Pdu::new(DELIVER_SM, 0, self.sequence, sm.octets());
            write(&mut self.end, &pdu.octets()).await?;
        }
        Ok(())
    }

    fn sm(&self, outgoing: &Outgoing) -> Sm {
        match outgoing {
            Outgoing::Receipt { recipient, id, delivered, .. } => {
                self.smsc.stage.note(self.smsc.name, format_args!("receipt {id} {delivered}"));
                Sm {
                    source: recipient.clone(),
                    destination: "33700".to_owned(),
                    esm_class: 0x04,
                    text: receipt(id, *delivered),
                    ..Sm::default()
                }
            }
            Outgoing::Message { number, part, .. } if part.1 > 1 => self.part(*number, *part),
            Outgoing::Message { kind, number, .. } => {
                let (source, key) = (mobile(*number), key(*kind, *number));
                self.smsc.stage.note(self.smsc.name, format_args!("mobile {key}"));
                let to_mail = *kind == Kind::MobileToMail;
                let parcel = Parcel {
                    session: SESSIONS + self.end.number(),
                    place: usize::try_from(self.sequence).unwrap(),
                    validity: if to_mail { GIVE_UP } else { Duration::from_secs(86_400) },
                    refusable: self.smsc.stage.is_refusable(*number),
                    ..Parcel::new(*kind, self.smsc.name)
                };
                self.smsc.stage.facts.send(&key, parcel);
                let destination = if to_mail { key } else { "33700".to_owned() };
                let text = self.smsc.stage.text(*number).into_bytes();
                Sm { source, destination, text, ..Sm::default() }
            }
        }
    }

    /// One part of a long text; all of it is one parcel.
    fn part(&self, number: u64, (part, total): (u8, u8)) -> Sm {
        let stage = &self.smsc.stage;
        let key = key(Kind::MobileToMail, number);
        stage.note(self.smsc.name, format_args!("mobile {key}, part {part} of {total}"));
        if !stage.facts.all().parcels.contains_key(&key) {
            stage.facts.send(&key, Parcel::new(Kind::MobileToMail, self.smsc.name));
        }
        let reference = u8::try_from(number % 256).unwrap();
        let words = format!("T{number} P{part}of{total} ");
        let text = [&[5, 0, 3, reference, total, part], words.as_bytes()].concat();
        Sm { source: mobile(number), destination: key, esm_class: 0x40, text, ..Sm::default() }
    }

    /// A message is acknowledged when all its parts are.
    fn part_taken(&self, number: u64, (part, total): (u8, u8)) {
        let mut shared = self.smsc.shared.lock().unwrap();
        let taken = shared.taken.entry(number).or_default();
        taken.insert(part);
        if taken.len() == usize::from(total) {
            let key = key(Kind::MobileToMail, number);
            self.smsc.stage.facts.answer(&key, Answer::Accepted(Instant::now()));
        }
    }

    /// The host answered a receipt or a message.
    fn delivered(&mut self, pdu: &Pdu) {
        let facts = &self.smsc.stage.facts;
        let Some((_, outgoing)) = self.out.remove(&pdu.sequence) else {
            facts.wrong(format!("{}: answer {} to nothing", self.smsc.name, pdu.sequence));
            return;
        };
        let permanent = pdu.status == 0x66;
        match &outgoing {
            Outgoing::Message { number, part, .. } if part.1 > 1 => {
                if pdu.status == 0 {
                    self.part_taken(*number, *part);
                }
            }
            Outgoing::Message { kind, number, .. } => {
                let now = Instant::now();
                let taken = pdu.status == 0;
                let answer = if taken { Answer::Accepted(now) } else { Answer::Refused(now) };
                facts.answer(&key(*kind, *number), answer);
            }
            Outgoing::Receipt { recipient, id, delivered, known: true } if pdu.status == 0 => {
                facts.reported(recipient, id, *delivered);
            }
            Outgoing::Receipt { .. } => {}
        }
        if pdu.status == 0 || permanent {
            self.smsc.shared.lock().unwrap().out -= 1;
        } else {
            self.smsc.again(outgoing);
        }
    }
}

fn mobile(number: u64) -> String {
    format!("+4479{number:08}")
}

/// The key of the parcel that a message of a subscriber is.
fn key(kind: Kind, number: u64) -> String {
    if kind == Kind::MobileToMail { format!("+33{TAKEN}{number:08}") } else { mobile(number) }
}
