//! `routes`: which messages go where, as checked rules. How they are found is `route`'s.

use std::sync::Arc;
use std::time::Duration;

use message::mail::{Strip, Template};
use message::{Protocol, Timestamp};
use serde::{Deserialize, Serialize};

mod condition;
mod hours;
mod read;
mod reach;

pub(super) use read::{TOP, read_all, read_usual_options};

use super::address_template::AddressTemplate;
use super::pattern::{AddressPattern, TextPattern};
use super::retry::Retry;
use super::scalar::Name;

/// One entry of `routes`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// Its name in logs, metrics and `explain`.
    pub name: Name,
    /// Which messages it takes.
    pub when: Condition,
    /// What happens to them.
    pub action: Action,
    /// How they are sent.
    pub options: Arc<RouteOptions>,
    /// The file and line that it stands in, for `explain`.
    pub place: Arc<str>,
}

/// Which messages a route takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Each of them holds; none at all holds always.
    All(Vec<Self>),
    /// One of them holds.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// It came in by one of these doors.
    Door(Vec<Name>),
    /// One of these accounts sent it.
    Account(Vec<Name>),
    /// It came in by this protocol.
    Protocol(Protocol),
    /// The sender.
    From(Vec<AddressPattern>),
    /// The recipient.
    To(Vec<AddressPattern>),
    /// A note of a plugin.
    Meta(Arc<str>, Vec<TextPattern>),
    /// The subject of a mail.
    Subject(Vec<TextPattern>),
    /// A header field of a mail.
    Header(Arc<str>, Vec<TextPattern>),
    /// The text of the message.
    Text(Vec<TextPattern>),
    /// Octets of the message, both ends included.
    Size(u64, u64),
    /// The data_coding of a short message.
    DataCoding(Vec<u8>),
    /// An optional parameter of a short message: there, or with one of these values.
    Tlv(u16, Option<Vec<Arc<[u8]>>>),
    /// It is one of these times.
    Time(Vec<TimeWindow>),
    /// A plugin made it of another message, or it came so.
    Fork(bool),
    /// So many of ten thousand messages, always the same ones for one message id.
    Share(u16),
}

/// Hours of the week at a fixed offset from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    /// Bit 0 is Monday, bit 6 Sunday.
    pub days: u8,
    /// Minute of the day at which it begins.
    pub from_minute: u16,
    /// Minute of the day before which it ends; not after `from_minute` means on the next day.
    pub until_minute: u16,
    /// Minutes east of UTC.
    pub offset_minutes: i16,
}

/// What a route does with a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It goes to one of these.
    Send(Strategy, Vec<TargetRef>),
    /// It is accepted and forgotten.
    Drop(DropAnswer),
    /// It is refused.
    Reject(Reply),
    /// It waits for an operator.
    Hold(Arc<str>),
}

/// In which order targets are tried.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// As written.
    Failover,
    /// Each message begins with the next one.
    RoundRobin,
    /// Begins with one drawn by weight.
    Weighted,
    /// The same recipient always begins with the same one.
    Hash,
    /// The cheapest first, by longest prefix of the recipient.
    LeastCost(Arc<super::table::Prices>),
}

/// A target in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRef {
    /// A connector or an account.
    pub name: Name,
    /// Its share under [`Strategy::Weighted`]; otherwise 1.
    pub weight: u32,
}

/// What the sender of a dropped message is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropAnswer {
    /// Nothing beyond the acceptance.
    Silent,
    /// That it was delivered.
    Delivered,
    /// That it was rejected, later.
    Rejected,
}

/// A refusal in the terms of either peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 4xx or 5xx.
    pub smtp_code: u16,
    /// For example `5.7.1` (RFC 3463).
    pub enhanced: Arc<str>,
    /// command_status (SMPP v3.4 §5.1.3).
    pub smpp_status: u32,
    /// One line of ASCII.
    pub text: Arc<str>,
}

/// How the messages of a route are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteOptions {
    /// The border between mail and SMS.
    pub convert: Convert,
    /// 0 to 3, as in SMPP; `None` keeps the message's.
    pub priority: Option<u8>,
    /// The longest time that the message may take; `None` keeps the message's.
    pub validity: Option<Duration>,
    /// Instead of the target's schedule.
    pub retry: Option<Arc<Retry>>,
    /// The recipient becomes this before the message is sent.
    pub rewrite_to: Option<AddressTemplate>,
    /// The sender becomes this before the message is sent.
    pub rewrite_from: Option<AddressTemplate>,
    /// Nothing is sent in these hours; it waits for their end.
    pub quiet: Vec<TimeWindow>,
    /// Whether receipts are asked for.
    pub receipts: Receipts,
}

impl RouteOptions {
    /// When a message may be sent that is ready at `now`: at the end of the quiet hours that `now` is
    /// in, else at once. Hours that leave no time at all are taken to be a mistake, and do not count.
    #[must_use]
    pub fn not_before(&self, now: Timestamp) -> Timestamp {
        const WEEK_MINUTES: u64 = 7 * 24 * 60;
        let start = now.as_secs() / 60;
        let mut minute = start;
        while let Some(window) = self.quiet.iter().find(|window| window.contains(minute)) {
            minute = minute.saturating_add(window.minutes_left(minute).max(1));
            if minute - start > WEEK_MINUTES {
                return now;
            }
        }
        if minute == start { now } else { Timestamp::from_ms(minute.saturating_mul(60_000)) }
    }
}

/// Whether a route asks its targets for receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Receipts {
    /// If the sender wants to know.
    #[default]
    AsWished,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `convert`: what happens when a mail becomes an SMS or an SMS a mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Convert {
    /// The text of the SMS.
    pub text: Template,
    /// Parts of one SMS at most.
    pub parts_max: u8,
    /// What happens to a text that needs more.
    pub on_excess: OnExcess,
    /// What of the mail's text is left out.
    pub strip: Strip,
    /// Characters outside the GSM alphabet are replaced by similar ones where that saves parts.
    pub transliterate: bool,
    /// The sender of the SMS; `None` is the account's or the connector's.
    pub sender: Option<Arc<str>>,
    /// How long an SMS that answers goes back to the mail's sender.
    pub conversation: Option<Duration>,
    /// The subject of the mail that an SMS becomes.
    pub subject: Template,
    /// The mailbox that a mail made from an SMS comes from.
    pub mail_from: Option<AddressTemplate>,
    /// When the sender of an SMS that became a mail gets its receipt.
    pub receipt: MailReceipt,
    /// How long a report is waited for.
    pub receipt_within: Duration,
    /// Auto-submitted and null-sender mail becomes SMS too.
    pub auto_submitted: bool,
}

/// When the sender of an SMS that became a mail gets its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailReceipt {
    /// As soon as a relay takes the mail.
    Taken,
    /// When a report comes back, or does not come in time.
    Reported,
}

/// What happens to a text that needs more parts than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExcess {
    /// It is cut.
    Truncate,
    /// It is refused, at the door if that is known there.
    Reject,
}
