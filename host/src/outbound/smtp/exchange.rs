//! Deliveries of one message to what MAIL and RCPT say, and outcomes to attempts.

use std::sync::Arc;

use bytes::Bytes;
use message::{Content, Message, Recipient, Wish};
use smtp::client::{Envelope, RecipientOutcome, Stage, Verdict};
use smtp::{Body, MailParams, Mailbox, Notify, OriginalRecipient, RcptParams, Reply, Ret};
use smtp::{ReversePath, Xtext};

use crate::delivery::{Answers, Attempt, Cause, Defer, Queued};

/// Put in front of a message that may have arrived already (RFC 5321 has no field for it).
const POSSIBLE_DUPLICATE: &[u8] = b"X-Possible-Duplicate: yes\r\n";

/// Deliveries that go over one connection together, and those that cannot go at all.
pub(super) struct Group {
    pub(super) items: Vec<Queued>,
    pub(super) refused: Vec<(Queued, Attempt)>,
}

impl Group {
    /// Sorts out what no relay would understand.
    pub(super) fn new(queued: Vec<Queued>) -> Self {
        let (mut items, mut refused) = (Vec::with_capacity(queued.len()), Vec::new());
        for queued in queued {
            match unsendable(&queued) {
                None => items.push(queued),
                Some(cause) => refused.push((queued, Attempt::Failed { cause })),
            }
        }
        Self { items, refused }
    }

    /// The envelope; none if nothing is left to send.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let first = self.items.first()?;
        let message = &*first.message;
        let Content::Mail(body) = &message.content else { return None };
        let doubtful = self.items.iter().any(|queued| queued.delivery.doubtful);
        let recipients = self.items.iter().filter_map(|queued| {
            let recipient = &queued.delivery.recipient;
            let params = rcpt_params(recipient, queued.delivery.answers);
            Some((Mailbox::parse(&recipient.address.value).ok()?, params))
        });
        Some(Envelope {
            sender: reverse_path(message)?,
            params: mail_params(message),
            recipients: recipients.collect(),
            prefix: Bytes::from_static(if doubtful { POSSIBLE_DUPLICATE } else { b"" }),
            body: body.clone(),
        })
    }

    /// What came of it, in the order of the items.
    pub(super) fn attempts(
        self,
        outcomes: &[RecipientOutcome],
        peer: &str,
    ) -> Vec<(Queued, Attempt)> {
        let peer: Arc<str> = peer.into();
        let attempts = self.items.into_iter().zip(outcomes).map(|(queued, outcome)| {
            let attempt = attempt_of(outcome, &peer);
            (queued, attempt)
        });
        self.refused.into_iter().chain(attempts).collect()
    }

    /// The same for all: no connection.
    pub(super) fn broken(self, reply: &Reply, local: bool, peer: &str) -> Vec<(Queued, Attempt)> {
        let cause = cause_of(reply, local, &peer.into());
        let deferred = Attempt::Deferred { cause, class: Defer::Connector };
        let attempts = self.items.into_iter().map(|queued| (queued, deferred.clone()));
        self.refused.into_iter().chain(attempts).collect()
    }
}

/// Whether a reused connection turned out dead before the relay heard of the message.
pub(super) fn is_stale(outcomes: &[RecipientOutcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.local && outcome.stage == Stage::Mail)
}

fn unsendable(queued: &Queued) -> Option<Cause> {
    let recipient = &queued.delivery.recipient.address;
    if !matches!(queued.message.content, Content::Mail(_)) {
        Some(Cause::ours("5.6.1", "a relay takes mail only, and this is none"))
    } else if !recipient.is_mailbox() || Mailbox::parse(&recipient.value).is_err() {
        Some(Cause::ours("5.1.3", "the recipient is no mailbox"))
    } else if reverse_path(&queued.message).is_none() {
        Some(Cause::ours("5.1.7", "the sender is no mailbox"))
    } else {
        None
    }
}

fn reverse_path(message: &Message) -> Option<ReversePath> {
    if message.sender.is_null() {
        return Some(ReversePath::Null);
    }
    Mailbox::parse(&message.sender.value).ok().map(ReversePath::Mailbox)
}

fn mail_params(message: &Message) -> MailParams {
    MailParams {
        size_bytes: None,
        body: message.eight_bit.then_some(Body::EightBitMime),
        smtputf8: message.smtputf8,
        ret: message.ret.map(|ret| match ret {
            message::Ret::Full => Ret::Full,
            message::Ret::Headers => Ret::Headers,
        }),
        envid: message.envid.as_deref().and_then(Xtext::encode),
        auth: None,
    }
}

fn rcpt_params(recipient: &Recipient, answers: Answers) -> RcptParams {
    let Wish { success, failure, delay } = recipient.wish;
    let notify = match recipient.wish {
        _ if answers == Answers::Copy => Some(Notify::NEVER),
        // What a relay does without being asked.
        Wish::FAILURE => None,
        _ => Some(Notify { success, failure, delay }),
    };
    let orcpt = recipient.original.as_deref().and_then(OriginalRecipient::parse);
    RcptParams { notify, orcpt }
}

fn attempt_of(outcome: &RecipientOutcome, peer: &Arc<str>) -> Attempt {
    let RecipientOutcome { verdict, stage, reply, local } = outcome;
    let cause = cause_of(reply, *local, peer);
    match verdict {
        Verdict::Delivered => Attempt::Delivered { remote: Vec::new(), reply: cause },
        Verdict::Failed => Attempt::Failed { cause },
        Verdict::Unknown => Attempt::Unknown { cause },
        Verdict::Deferred => {
            let connection_lost = (*local && *stage != Stage::Offer) || reply.code == 421;
            let class = if connection_lost { Defer::Connector } else { Defer::Temporary };
            Attempt::Deferred { cause, class }
        }
    }
}

fn cause_of(reply: &Reply, local: bool, peer: &Arc<str>) -> Cause {
    let enhanced = match reply.enhanced {
        Some(enhanced) => enhanced.to_string(),
        None => format!("{}.0.0", reply.code / 100),
    };
    Cause {
        code: if local { 0 } else { u32::from(reply.code) },
        enhanced: enhanced.into(),
        text: reply.text.replace('\n', " ").into(),
        peer: Arc::clone(peer),
    }
}
