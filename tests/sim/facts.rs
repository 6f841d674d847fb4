//! What the peers saw, and nothing of what the host says about itself. The checkers judge by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// The facts of a run. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    facts: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
pub(crate) struct All {
    /// By recipient, which is different for each: a number or a mailbox.
    pub(crate) parcels: BTreeMap<String, Parcel>,
    /// What must not be: found by the peers themselves.
    pub(crate) wrong: Vec<String>,
    /// When the host's machine stopped, or its disk failed: the times of its deaths.
    pub(crate) deaths: Vec<Instant>,
    /// When it was stopped or reloaded in order.
    pub(crate) changes: Vec<Instant>,
    /// Targets that a reload removed, and when.
    pub(crate) removed: Vec<(&'static str, Instant)>,
    /// When plugins came and went, in order.
    pub(crate) swaps: Vec<Swap>,
    /// Times without an account.
    pub(crate) absences: Vec<Absence>,
    /// Positive answers to clients so far.
    pub(crate) accepted: usize,
    /// When the last report that may be awaited is given up.
    pub(crate) awaited: Option<Instant>,
}

/// A time without an account: what waits for it is discarded.
#[derive(Clone, Debug)]
pub(crate) struct Absence {
    pub(crate) account: &'static str,
    /// When it had to know.
    pub(crate) known: Instant,
    /// When it could know first that the account is back.
    pub(crate) until: Option<Instant>,
    /// When it had to know that.
    pub(crate) over: Option<Instant>,
}

/// A plugin came or went.
#[derive(Clone, Debug)]
pub(crate) struct Swap {
    pub(crate) plugin: &'static str,
    pub(crate) present: bool,
    /// When the host could know first, and when it had to know.
    pub(crate) from: Instant,
    pub(crate) known: Instant,
}

/// One recipient of one message.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) sent: Instant,
    /// Who sent it: an account, a mailbox, an SMSC.
    pub(crate) origin: String,
    /// The session that it was sent over, and its place there.
    pub(crate) session: u64,
    pub(crate) place: usize,
    pub(crate) kind: Kind,
    pub(crate) wants_success: bool,
    pub(crate) wants_failure: bool,
    /// How long after its acceptance it may be delivered.
    pub(crate) validity: Duration,
    pub(crate) answer: Answer,
    pub(crate) sights: Vec<Sight>,
    pub(crate) told: Vec<Told>,
    /// It has a word that a plugin refuses.
    pub(crate) refusable: bool,
    pub(crate) list: Option<List>,
    /// The members of the list share one answer, which is about the list.
    pub(crate) shares: bool,
    /// Its receipt waits for a report.
    pub(crate) reported: bool,
    /// Receipts and reports that the next hop sent for it and that the host took.
    pub(crate) receipts: Vec<ReceiptSent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mail,
    MailToSms,
    Sms,
    /// From a subscriber to an ESME.
    Mobile,
    /// From an ESME to a mailbox.
    SmsToMail,
    /// From a subscriber to a mailbox.
    MobileToMail,
}

impl Kind {
    /// It leaves the host as a mail, in which a possible duplicate is marked.
    pub(crate) const fn leaves_as_mail(self) -> bool {
        matches!(self, Self::Mail | Self::SmsToMail | Self::MobileToMail)
    }

    /// Its origin is told by mail.
    pub(crate) const fn is_told_by_mail(self) -> bool {
        matches!(self, Self::Mail | Self::MailToSms)
    }
}

/// A mailbox that a plugin splits.
#[derive(Clone, Debug)]
pub(crate) enum List {
    /// The mailbox: the keys of its members.
    Whole(Vec<String>),
    /// A member: the key of its list.
    Member(String),
}

/// What the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It did not hear: it may have been taken.
    Unknown,
    Accepted(Instant),
    Refused(Instant),
}

/// A next hop saw it.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) at: Instant,
    /// When the host wrote it.
    pub(crate) written: Instant,
    pub(crate) peer: String,
    pub(crate) connection: u64,
    /// Which part of how many.
    pub(crate) part: (u8, u8),
    /// The message is marked as one that may have arrived.
    pub(crate) marked: bool,
    pub(crate) verdict: Verdict,
    /// Whether a plugin changed it, if that can be seen.
    pub(crate) tidied: Option<bool>,
    /// When the answer left, if it did, in a form that the host can understand.
    pub(crate) answered: Option<Instant>,
    /// The id that the next hop gave.
    pub(crate) id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    Later,
    Never,
}

/// The origin was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) word: Word,
    pub(crate) connection: u64,
    /// When the host wrote it.
    pub(crate) written: Instant,
    /// Our id in it.
    pub(crate) id: String,
    /// When our answer to it left.
    pub(crate) answered: Option<Instant>,
    pub(crate) marked: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Delivered,
    Failed,
    /// Nobody knows.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct ReceiptSent {
    pub(crate) at: Instant,
    pub(crate) id: String,
    pub(crate) delivered: bool,
}

/// When the host gives up what has no validity of its own.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(7200);

/// How long a report is awaited.
pub(crate) const REPORT_WITHIN: Duration = Duration::from_secs(120);

/// How late that it did not come may be found.
pub(crate) const REPORT_SLACK: Duration = Duration::from_secs(10);

/// How long a report or a receipt waits for the answer that gives it a meaning.
pub(crate) const EARLY_WITHIN: Duration = Duration::from_secs(180);

/// How long after its answer an outcome may still be lost in a crash: the way of the answer, and the
/// time in which the mark is written and synced.
pub(crate) const MARK_WITHIN: Duration = Duration::from_secs(3);

/// How long after its first failure the host goes on with a failed disk before it is stopped.
pub(crate) const FAILING_DISK: Duration = Duration::from_secs(10);

impl Facts {
    pub(crate) fn all(&self) -> MutexGuard<'_, All> {
        self.facts.lock().unwrap()
    }

    pub(crate) fn send(&self, recipient: &str, parcel: Parcel) {
        self.all().parcels.insert(recipient.to_owned(), parcel);
    }

    pub(crate) fn answer(&self, recipient: &str, answer: Answer) {
        let mut all = self.all();
        all.accepted += usize::from(matches!(answer, Answer::Accepted(_)));
        let Some(parcel) = all.parcels.get_mut(recipient) else { return };
        parcel.answer = answer;
        if let Some(List::Whole(members)) = parcel.list.clone() {
            for member in members {
                if let Some(member) = all.parcels.get_mut(&member) {
                    member.answer = answer;
                }
            }
        }
    }

    /// A next hop saw a parcel; the place of the sight, to say later when it was answered.
    pub(crate) fn sight(&self, recipient: &str, sight: Sight) -> Option<usize> {
        let mut all = self.all();
        let Some(parcel) = all.parcels.get_mut(recipient) else {
            all.wrong.push(format!("{}: got {recipient}, which nobody sent", sight.peer));
            return None;
        };
        let awaited = parcel.reported && sight.verdict == Verdict::Taken;
        parcel.sights.push(sight);
        let place = parcel.sights.len() - 1;
        if awaited {
            all.awaited = Some(Instant::now() + REPORT_WITHIN + REPORT_SLACK);
        }
        Some(place)
    }

    pub(crate) fn answered(&self, recipient: &str, sight: Option<usize>) {
        let mut all = self.all();
        let parcel = all.parcels.get_mut(recipient);
        if let (Some(parcel), Some(sight)) = (parcel, sight) {
            parcel.sights[sight].answered = Some(Instant::now());
        }
    }

    /// An origin was told about a parcel.
    pub(crate) fn told(&self, who: &str, recipient: &str, told: Told) {
        let mut all = self.all();
        let Some(parcel) = all.parcels.get_mut(recipient) else {
            all.wrong.push(format!("{who} was told of {recipient}, which nobody sent"));
            return;
        };
        let origin = parcel.origin.clone();
        parcel.told.push(told);
        if origin != who {
            all.wrong.push(format!("{who} was told of {recipient}, which {origin} sent"));
        }
    }

    /// An account could not bind in all of this time.
    pub(crate) fn is_absent(&self, account: &str, from: Instant, to: Instant) -> bool {
        self.all().absences.iter().any(|absence| {
            absence.account == account
                && absence.known <= from
                && absence.until.is_none_or(|until| to < until)
        })
    }

    /// A next hop reported what became of a parcel, and the host took it.
    pub(crate) fn reported(&self, recipient: &str, id: &str, delivered: bool) {
        let taken = ReceiptSent { at: Instant::now(), id: id.to_owned(), delivered };
        if let Some(parcel) = self.all().parcels.get_mut(recipient) {
            parcel.receipts.push(taken);
        }
    }

    pub(crate) fn wrong(&self, what: String) {
        self.all().wrong.push(what);
    }
}

impl All {
    /// Whether a plugin ran, or did not, for all of this time; none if it was swapped meanwhile.
    pub(crate) fn runs(&self, plugin: &str, from: Instant, to: Instant) -> Option<bool> {
        let swaps: Vec<&Swap> = self.swaps.iter().filter(|swap| swap.plugin == plugin).collect();
        let last = swaps.iter().rposition(|swap| swap.known <= from)?;
        let next = swaps.get(last + 1);
        next.is_none_or(|next| to < next.from).then_some(swaps[last].present)
    }
}

impl Parcel {
    /// A parcel of which nothing is known yet.
    pub(crate) fn new(kind: Kind, origin: &str) -> Self {
        Self {
            sent: Instant::now(),
            origin: origin.to_owned(),
            session: 0,
            place: 0,
            kind,
            wants_success: false,
            wants_failure: false,
            validity: GIVE_UP,
            answer: Answer::Unknown,
            sights: Vec::new(),
            told: Vec::new(),
            refusable: false,
            list: None,
            shares: false,
            reported: false,
            receipts: Vec::new(),
        }
    }

    /// When it must not be delivered any more, as far as the peers can know.
    pub(crate) fn expires(&self) -> Option<Instant> {
        match self.answer {
            Answer::Accepted(at) => Some(at + self.validity),
            Answer::Unknown | Answer::Refused(_) => None,
        }
    }

    /// Whether a next hop has all of it.
    pub(crate) fn is_taken(&self) -> bool {
        self.takers().next().is_some()
    }

    /// Totals for which every part was taken.
    fn takers(&self) -> impl Iterator<Item = u8> {
        let taken = self.sights.iter().filter(|sight| sight.verdict == Verdict::Taken);
        let mut parts: BTreeMap<(u8, String), Vec<u8>> = BTreeMap::new();
        for sight in taken {
            parts.entry((sight.part.1, sight.peer.clone())).or_default().push(sight.part.0);
        }
        parts.into_iter().filter_map(|((total, _), parts)| {
            (1..=total).all(|part| parts.contains(&part)).then_some(total)
        })
    }

    pub(crate) fn saw(&self, verdict: Verdict) -> bool {
        self.sights.iter().any(|sight| sight.verdict == verdict)
    }
}
