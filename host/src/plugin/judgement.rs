//! What goes into a plugin and what comes out: the call, the judgement, the verdict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use message::{Address, Message, MessageId, Timestamp};

use super::env::HostEnv;
use super::kv::Claims;

/// Where in its life the message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The peer waits: a reject is the peer's answer.
    Door,
    /// The message is ours: a reject tells the origin, a defer makes us retry.
    Queue,
}

/// One message for one plugin.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The message as the plugins before this one left it.
    pub message: &'a Arc<Message>,
    /// Whether the peer still waits.
    pub stage: Stage,
    /// 1 on the first run of the plugins over this message.
    pub run: u32,
    /// What the plugin may look at beyond the message.
    pub env: &'a Arc<dyn HostEnv>,
}

/// What a plugin decided. Nothing of it has happened yet: whoever asked commits it or drops it.
#[derive(Debug)]
pub struct Judgement {
    /// What shall become of the message.
    pub verdict: Verdict,
    /// The message as edited; `None` if the plugin changed nothing.
    pub message: Option<Arc<Message>>,
    /// Forks in the order in which they were emitted.
    pub forks: Vec<Fork>,
    /// Writes that belong into the message's commit.
    pub kv: Vec<KvWrite>,
    /// Keeps the keys that this message claimed from others; drop it when the commit was answered.
    pub claims: Claims,
    /// How long the call took, waiting for its turn included.
    pub duration: Duration,
}

/// A message that the plugin made of the one it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Fork {
    /// The copy with its edits. Its id is still the parent's: who commits it gives it its own.
    pub message: Arc<Message>,
    /// What shall become of it.
    pub verdict: Verdict,
    /// What the origin hears of it.
    pub answers: Answers,
}

/// What the origin hears of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Nothing: its outcome concerns nobody.
    Copy,
    /// It is folded into the origin's answer.
    Share,
}

/// What a plugin decides about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next plugin, then the route tables.
    Next,
    /// The route tables at once.
    Accept,
    /// These targets in this order instead of the route tables; later plugins still run.
    Route(Vec<Arc<str>>),
    /// Refused for good.
    Reject(Reply),
    /// Refused for now; the hint says when we try again, if we do.
    Defer(Reply, Option<Duration>),
    /// Acknowledged, then discarded, for this reason.
    Drop(Arc<str>),
    /// Quarantined, for this reason.
    Hold(Arc<str>),
    /// Not yet: these look-ups are asked, and the plugin is run again when they are answered.
    Wait(Arc<str>),
}

impl Verdict {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Accept => "accept",
            Self::Route(_) => "route",
            Self::Reject(_) => "reject",
            Self::Defer(..) => "defer",
            Self::Drop(_) => "drop",
            Self::Hold(_) => "hold",
            Self::Wait(_) => "wait",
        }
    }
}

/// The answer that the origin gets; what is left out is the host's choice. A reject has no code
/// outside 5xx and a defer none outside 4xx, and there are no control characters in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The SMTP reply code.
    pub smtp_code: Option<u16>,
    /// The enhanced status code (RFC 3463); its class is that of the verdict.
    pub enhanced: Option<Arc<str>>,
    /// The SMPP command_status; never 0.
    pub smpp_status: Option<u32>,
    /// The reason in words, at most [`REPLY_TEXT_CHARS_MAX`] characters; may be empty.
    pub text: Arc<str>,
}

/// Characters of a reply's or a reason's text; the rest is cut off.
pub const REPLY_TEXT_CHARS_MAX: usize = 400;

/// A receipt that came from a next hop, for the eyes of plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenReceipt {
    /// The id that the origin of the message knows.
    pub message: MessageId,
    /// The recipient that it is about.
    pub recipient: Address,
    /// The connector that it came from.
    pub target: Arc<str>,
    /// message_state (SMPP v3.4 §5.2.28).
    pub state: u8,
    /// Error code of the network, as text; empty if none.
    pub error: Arc<str>,
    /// Text of the receipt.
    pub text: Arc<str>,
}

/// One receipt for one plugin.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptCall<'a> {
    /// The receipt.
    pub receipt: &'a SeenReceipt,
    /// What the plugin may look at beyond it.
    pub env: &'a Arc<dyn HostEnv>,
}

/// What a plugin decided about a receipt. Nothing of it has happened yet.
#[derive(Debug)]
pub struct ReceiptJudgement {
    /// Whether the origin is told.
    pub tell: bool,
    /// Writes that belong into the receipt's commit.
    pub kv: Vec<KvWrite>,
    /// Drop it when the commit was answered.
    pub claims: Claims,
}

/// One write of a plugin to its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvWrite {
    /// Whose key it is.
    pub plugin: Arc<str>,
    /// The key, at most 256 octets.
    pub key: Arc<str>,
    /// What [`HostEnv::kv_find`] shall give back from now on; `None` removes the key.
    pub entry: Option<Bytes>,
    /// When the key may be forgotten.
    pub expires: Timestamp,
}
