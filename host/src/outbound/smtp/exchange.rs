//! Deliveries of one message to what MAIL and RCPT say, and outcomes to attempts.

use std::sync::Arc;

use bytes::Bytes;
use message::{Content, Message, Wish};
use smtp::client::{Envelope, Outcome, RecipientOutcome, Stage, Verdict};
use smtp::{Body, MailParams, Mailbox, Notify, OriginalRecipient, RcptParams, Reply, Ret};
use smtp::{ReversePath, Xtext};

use crate::delivery::{Answers, Attempt, Cause, Defer, Delivery, Queued};

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
            let params = rcpt_params(queued);
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
    pub(super) fn attempts(self, outcome: &Outcome, peer: &str) -> Vec<(Queued, Attempt)> {
        let peer: Arc<str> = peer.into();
        let attempts = self.items.into_iter().zip(&outcome.recipients).map(|(queued, of)| {
            let attempt = attempt_of(of, outcome.dsn_relayed, &peer);
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

/// Whether a reused connection turned out dead before the relay heard of the message, or the relay had
/// enough of it: some end a connection by 421 after a number of messages.
pub(super) fn is_stale(outcomes: &[RecipientOutcome]) -> bool {
    let is_over = |outcome: &RecipientOutcome| outcome.local || outcome.reply.code == 421;
    outcomes.iter().all(|outcome| outcome.stage == Stage::Mail && is_over(outcome))
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

fn rcpt_params(queued: &Queued) -> RcptParams {
    let Delivery { recipient, answers, terms, .. } = &queued.delivery;
    let Wish { success, failure, delay, .. } = recipient.wish;
    let notify = match recipient.wish {
        _ if *answers == Answers::Copy => Some(Notify::NEVER),
        _ if terms.report_within.is_some() => Some(Notify { success: true, failure: true, delay }),
        // Several answers are folded here: the relay tells of failures only.
        _ if terms.shared.is_some() => Some(Notify { success: false, failure, delay: false }),
        // The sender of an SMS has its receipt as soon as the relay takes the mail.
        _ if queued.was_short() => None,
        // What a relay does without being asked.
        Wish::FAILURE => None,
        _ => Some(Notify { success, failure, delay }),
    };
    let orcpt = recipient.original.as_deref().and_then(OriginalRecipient::parse);
    RcptParams { notify, orcpt }
}

fn attempt_of(outcome: &RecipientOutcome, dsn_relayed: bool, peer: &Arc<str>) -> Attempt {
    let RecipientOutcome { verdict, stage, reply, local } = outcome;
    let cause = cause_of(reply, *local, peer);
    match verdict {
        Verdict::Delivered => {
            Attempt::Delivered { remote: Vec::new(), reply: cause, tells: dsn_relayed }
        }
        Verdict::Failed => Attempt::Failed { cause },
        Verdict::Unknown => Attempt::Unknown { cause },
        Verdict::Deferred => {
            let connection_lost = (*local && *stage != Stage::Offer) || reply.code == 421;
            // The peer had greeted us: what it could not stand may be this message.
            let class = if connection_lost { Defer::Session } else { Defer::Temporary };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use message::{Address, MessageId, Origin, Protocol, Recipient, Timestamp};

    use super::*;
    use crate::delivery::Terms;

    fn message(sender: &str) -> Arc<Message> {
        let origin = Origin {
            door: "mail".into(),
            protocol: Protocol::Smtp,
            peer: "".into(),
            account: "".into(),
            session: 1,
            helo: "".into(),
            tls: false,
        };
        Arc::new(Message {
            id: MessageId::from_u64(7),
            parent: None,
            origin: Arc::new(origin),
            sender: Address::mailbox(sender),
            recipients: Vec::new(),
            content: Content::Mail(Bytes::from_static(b"hi\r\n")),
            envid: Some("a b".into()),
            ret: Some(message::Ret::Headers),
            smtputf8: false,
            eight_bit: true,
            meta: BTreeMap::new(),
            received: Timestamp::from_ms(0),
            not_before: None,
            expires: Timestamp::NEVER,
            priority: 0,
            hops: 0,
        })
    }

    fn queued(message: &Arc<Message>, recipient: Recipient, answers: Answers) -> Queued {
        let delivery = Delivery {
            id: MessageId::from_u64(8),
            body: message.id,
            message: message.id,
            recipient,
            route: "r".into(),
            targets: vec!["relay".into()],
            cursor: 0,
            answers,
            sms: None,
            parts: None,
            attempts: 0,
            faults: 0,
            due: Timestamp::from_ms(0),
            expires: Timestamp::NEVER,
            priority: 0,
            account: "".into(),
            doubtful: false,
            known_as: None,
            last: None,
            terms: Terms::default(),
        };
        Queued { delivery, message: Arc::clone(message) }
    }

    fn to(address: &str, wish: Wish) -> Recipient {
        Recipient::new(Address::mailbox(address), wish)
    }

    fn outcome(verdict: Verdict, stage: Stage, code: u16, local: bool) -> RecipientOutcome {
        let reply = Reply::new(code, (5, 7, 1), "a\nb");
        RecipientOutcome { verdict, stage, reply, local }
    }

    #[test]
    fn wishes_become_notify_and_a_copy_wants_nothing() {
        let message = message("a@x");
        let mut original = to("b@y", Wish::FINAL);
        original.original = Some("rfc822;c@z".into());
        let group = Group::new(vec![
            queued(&message, to("a@y", Wish::FAILURE), Answers::Origin),
            queued(&message, original, Answers::Origin),
            queued(&message, to("c@y", Wish::NOTHING), Answers::Origin),
            queued(&message, to("d@y", Wish::FINAL), Answers::Copy),
            queued(&message, to("e@y", Wish { unsaid: false, ..Wish::FAILURE }), Answers::Origin),
        ]);
        let envelope = group.envelope().unwrap();
        let notify: Vec<String> = envelope
            .recipients
            .iter()
            .map(|(_, params)| params.notify.map_or("-".to_owned(), |notify| notify.to_string()))
            .collect();
        assert_eq!(notify, ["-", "SUCCESS,FAILURE", "NEVER", "NEVER", "FAILURE"]);
        let orcpt = envelope.recipients[1].1.orcpt.as_ref().map(ToString::to_string);
        assert_eq!(orcpt.as_deref(), Some("rfc822;c@z"));
        assert_eq!(envelope.params.ret, Some(Ret::Headers));
        assert_eq!(envelope.params.envid.as_ref().map(Xtext::as_encoded), Some("a+20b"));
        assert!(envelope.prefix.is_empty());
    }

    #[test]
    fn a_possible_duplicate_says_so() {
        let message = message("");
        let mut doubtful = queued(&message, to("a@y", Wish::FAILURE), Answers::Origin);
        doubtful.delivery.doubtful = true;
        let envelope = Group::new(vec![doubtful]).envelope().unwrap();
        assert_eq!(envelope.sender, ReversePath::Null);
        assert_eq!(&envelope.prefix[..], POSSIBLE_DUPLICATE);
    }

    #[test]
    fn what_no_relay_understands_fails_without_one() {
        let message = message("a@x");
        let number = Recipient::new(Address::phone("+33612345678"), Wish::FAILURE);
        let group = Group::new(vec![
            queued(&message, number, Answers::Origin),
            queued(&message, to("a@y", Wish::FAILURE), Answers::Origin),
        ]);
        let delivered = Outcome {
            recipients: vec![outcome(Verdict::Delivered, Stage::Body, 250, false)],
            dsn_relayed: false,
            eight_bit_unannounced: false,
        };
        let attempts = group.attempts(&delivered, "relay");
        assert!(matches!(&attempts[0].1, Attempt::Failed { cause } if &*cause.enhanced == "5.1.3"));
        assert!(matches!(&attempts[1].1, Attempt::Delivered { reply, .. } if reply.code == 250));
    }

    #[test]
    fn outcomes_become_attempts() {
        let peer: Arc<str> = "relay".into();
        let check = |verdict, stage, code, local| {
            attempt_of(&outcome(verdict, stage, code, local), true, &peer)
        };
        let class = |attempt| match attempt {
            Attempt::Deferred { class, .. } => class,
            other => panic!("{other:?}"),
        };
        let deferred = Verdict::Deferred;
        assert_eq!(class(check(deferred, Stage::Rcpt, 451, false)), Defer::Temporary);
        assert_eq!(class(check(deferred, Stage::Rcpt, 421, false)), Defer::Session);
        assert_eq!(class(check(deferred, Stage::Data, 451, true)), Defer::Session);
        let unknown = check(Verdict::Unknown, Stage::Body, 451, true);
        assert!(
            matches!(unknown, Attempt::Unknown { cause } if cause.code == 0 && &*cause.text == "a b")
        );
        assert!(matches!(check(Verdict::Failed, Stage::Mail, 550, false), Attempt::Failed { .. }));
        assert!(is_stale(&[outcome(deferred, Stage::Mail, 451, true)]));
        assert!(is_stale(&[outcome(deferred, Stage::Mail, 421, false)]));
        assert!(!is_stale(&[outcome(deferred, Stage::Mail, 451, false)]));
        assert!(!is_stale(&[outcome(deferred, Stage::Rcpt, 421, false)]));
        assert!(!is_stale(&[outcome(deferred, Stage::Data, 451, true)]));
    }
}
