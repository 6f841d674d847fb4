//! Another text for a message that waits (replace_sm, SMPP v3.4 §4.10).
//!
//! The message is decided again, so that the new text passes the plugins that the old one passed.

use std::sync::Arc;

use message::{Content, Message, MessageId, Protocol, Recipient, Short, Timestamp};
use smpp::pdu::ReplaceSm;
use smpp::{EsmClass, RegisteredDelivery, Sm, Status, tag};

use super::Router;
use super::accept::undecided;
use super::work::Work;
use crate::delivery::{DECIDER, Part, Queued, STATE_HELD, STATE_UNDECIDED};
use crate::sms::read::{self, Reading};
use crate::spooler::load;

/// The SMSC's predefined messages, of which we have none (v3.4 §4.10.1).
const NO_DEFAULT_MESSAGE: Status = Status(0x63);

impl Router {
    /// Gives a message of the account another text and, where it says so, other times and receipts.
    /// When this returns, the new text is durable.
    ///
    /// # Errors
    /// The status to answer with: it is not the account's or not from this source, does not wait any
    /// more, may have gone out in part, or the new times make no sense.
    pub async fn replace(
        &self,
        account: &str,
        id: MessageId,
        replace: &ReplaceSm,
        reading: &Reading,
    ) -> Result<(), Status> {
        let now = self.clock.now();
        let queued = load(&self.spool, id).map_err(|_gone| Status::RREPLACEFAIL)?;
        if &*queued.delivery.account != account {
            return Err(Status::RREPLACEFAIL);
        }
        replaced(&queued, replace, reading, now)?;
        let entry = self.spool.entry(id.as_u64()).ok().flatten();
        let entry = entry.filter(|entry| entry.state != STATE_HELD).ok_or(Status::RREPLACEFAIL)?;
        let (target, queued) = self.take_out(id, &entry.target).ok_or(Status::RREPLACEFAIL)?;
        // What was read above may be older than what waited.
        let message = match replaced(&queued, replace, reading, now) {
            Ok(message) => Arc::new(message),
            Err(status) => {
                target.give_back(vec![queued]);
                return Err(status);
            }
        };
        let mut delivery = undecided(&message, "replaced by its sender".into(), 0, now);
        (delivery.attempts, delivery.due, delivery.last) = (0, now, None);
        let mut work = Work::default();
        work.events.push(self.operated(&queued, "replace", "by the account that sent it"));
        let put = work.put(delivery, &message, (STATE_UNDECIDED, Arc::from(DECIDER)));
        let batch = std::mem::take(&mut work.batch);
        let written = match put {
            Ok(()) => self.spool.commit(batch).await.map(drop).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::error!(event = "spool.refused", id = %id, %error);
            target.give_back(vec![queued]);
            return Err(Status::RSYSERR);
        }
        target.finish(id);
        work.act(self);
        Ok(())
    }
}

/// The message as its sender would have submitted it with the new text.
fn replaced(
    queued: &Queued,
    replace: &ReplaceSm,
    reading: &Reading,
    now: Timestamp,
) -> Result<Message, Status> {
    let Queued { delivery, message } = queued;
    let sender = delivery.origin_sender(message);
    let source = read::address(&replace.source, reading.source);
    if replace.sm_default_msg_id != 0 {
        return Err(NO_DEFAULT_MESSAGE);
    }
    if !is_replaceable(queued) || source != *sender {
        return Err(Status::RREPLACEFAIL);
    }
    let old = match &message.content {
        Content::Short(short) => short.clone(),
        // It was to become a mail; what it was before, only its text said.
        Content::Mail(_) => Short::from_text(""),
    };
    let sm = Sm {
        data_coding: old.data_coding,
        protocol_id: old.protocol_id,
        esm_class: EsmClass(old.esm_class),
        schedule_delivery_time: replace.schedule_delivery_time.clone(),
        validity_period: replace.validity_period.clone(),
        registered_delivery: RegisteredDelivery(replace.registered_delivery.0),
        short_message: replace.short_message.clone(),
        tlvs: replace.tlvs.clone(),
        ..Sm::default()
    };
    let new = read::read(&sm, reading, now)?;
    let expires = if replace.validity_period.is_empty() { message.expires } else { new.expires };
    let not_before =
        if replace.schedule_delivery_time.is_empty() { message.not_before } else { new.not_before };
    if not_before.is_some_and(|at| at >= expires) {
        return Err(Status::RINVEXPIRY);
    }
    let content = Short { service_type: old.service_type, tlvs: old.tlvs, ..new.content };
    Ok(Message {
        id: delivery.id,
        sender: sender.clone(),
        recipients: vec![Recipient { wish: new.wish, ..delivery.origin_recipient(message) }],
        content: Content::Short(content),
        not_before,
        expires,
        ..(**message).clone()
    })
}

/// Whether it is one message to one recipient of which nothing can have gone out.
fn is_replaceable(queued: &Queued) -> bool {
    let Queued { delivery, message } = queued;
    let is_part = match &message.content {
        Content::Short(short) => short.has_udh() || short.tlv(tag::SAR_MSG_REF_NUM).is_some(),
        Content::Mail(_) => false,
    };
    let untried = |parts: &crate::delivery::Parts| {
        parts.sent.iter().all(|part| matches!(part, Part::Missing))
    };
    message.origin.protocol == Protocol::Smpp
        && delivery.id == delivery.message
        && message.recipients.len() == 1
        && !is_part
        && !delivery.doubtful
        && delivery.parts.as_ref().is_none_or(untried)
}
