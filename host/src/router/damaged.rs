//! Deliveries of which the disk gives back nothing readable: they leave their queues, are held where
//! an operator sees them, and stay until one deletes them.

use std::sync::Arc;

use bytes::Bytes;
use message::{Address, Content, Message, MessageId, Origin, Protocol, Timestamp};
use spool::{Entry, ReadError};

use super::Router;
use super::accept::undecided;
use super::acts::Claimed;
use super::work::Work;
use crate::delivery::{Answers, Cause, Delivery, HELD, Queued, STATE_HELD};
use crate::observe::event::{Event, What};
use crate::spooler::{LoadError, delivery_of, load_entry};

/// How many are held in one commit.
const AT_ONCE: usize = 1000;

impl Router {
    /// Holds what was found to be unreadable since the last call.
    pub(super) async fn hold_damaged(&self) {
        let ids = self.shelf.take_damaged(AT_ONCE);
        if ids.is_empty() {
            return;
        }
        let mut work = Work::default();
        let mut claimed = Claimed::new(self);
        for &id in &ids {
            if !claimed.claim(id) {
                self.shelf.note_damaged(id);
                continue;
            }
            match self.spool.entry(id.as_u64()) {
                Ok(Some(entry)) => self.hold_entry(entry, &mut work),
                Err(ReadError::Io(_)) => self.shelf.note_damaged(id),
                // It has ended meanwhile, or the spool has put the entry itself aside.
                Ok(None) | Err(ReadError::Corrupt { .. }) => {}
            }
        }
        let batch = std::mem::take(&mut work.batch);
        if batch.is_empty() {
            return work.act(self);
        }
        match self.spool.commit(batch).await {
            Ok(_durable) => work.act(self),
            Err(error) => {
                tracing::error!(event = "spool.refused", target = HELD, %error);
                ids.into_iter().for_each(|id| self.shelf.note_damaged(id));
            }
        }
    }

    fn hold_entry(&self, mut entry: Entry, work: &mut Work) {
        if entry.state == STATE_HELD {
            return;
        }
        let (id, now) = (MessageId::from_u64(entry.id), self.clock.now());
        let why = match load_entry(&self.spool, &entry) {
            // It was only a bad moment: it goes back to where it waited.
            Ok(queued) => return work.pushes.push((entry.target, queued)),
            Err(LoadError::Io(_)) => return self.shelf.note_damaged(id),
            Err(error) => in_words(&error),
        };
        tracing::error!(
            event = "message.damaged",
            id = %id,
            target = &*entry.target,
            reason = &*why,
            "it is held; `wirepost queue show` says more, `wirepost queue delete` gives it up",
        );
        let until = now.after(self.generation().config.spool.held_ttl);
        if let Ok(mut delivery) = delivery_of(&entry) {
            delivery.last = Some(Cause::ours("5.3.0", &*why));
            delivery.expires = until;
            if let Ok(bytes) = message::record::encode(&delivery) {
                entry.bytes = bytes;
            }
        }
        (entry.state, entry.target, entry.expires_ms) =
            (STATE_HELD, Arc::from(HELD), until.as_ms());
        work.events.push(Event::new(now, id, What::Held { reason: why }));
        work.batch.put_entry(entry);
    }
}

/// What is known of a delivery without what cannot be read, for operators.
pub(super) fn remains(entry: &Entry, error: &LoadError) -> Queued {
    let id = MessageId::from_u64(entry.id);
    let known = delivery_of(entry).ok();
    let message = Message {
        id: MessageId::from_u64(entry.body),
        parent: None,
        origin: Arc::new(Origin {
            door: Arc::from(""),
            // Nobody is told of what becomes of it: it is not known who would be.
            protocol: Protocol::Internal,
            peer: Arc::from(""),
            account: Arc::clone(&entry.account),
            session: 0,
            helo: Arc::from(""),
            tls: false,
        }),
        sender: Address::null_sender(),
        recipients: known.iter().map(|delivery| delivery.recipient.clone()).collect(),
        content: Content::Mail(Bytes::new()),
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: Default::default(),
        received: known.as_ref().map_or(id, |delivery| delivery.message).time(),
        not_before: None,
        expires: Timestamp::from_ms(entry.expires_ms),
        priority: entry.priority,
        hops: 0,
    };
    let mut delivery = known.unwrap_or_else(|| Delivery {
        id,
        message: id,
        targets: vec![Arc::clone(&entry.target)],
        answers: Answers::Copy,
        due: Timestamp::from_ms(entry.due_ms),
        ..undecided(&message, Arc::from(""), 0, Timestamp::from_ms(entry.due_ms))
    });
    delivery.last = Some(Cause::ours("5.3.0", in_words(error)));
    Queued { delivery, message: Arc::new(message) }
}

/// The entry is there: what is gone is its content.
fn in_words(error: &LoadError) -> Arc<str> {
    match error {
        LoadError::Gone => "its content is not in the spool any more".into(),
        error => error.to_string().into(),
    }
}
