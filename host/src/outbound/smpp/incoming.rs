//! What an SMSC sends us: receipts for the book, messages for the intake.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use message::{Content, Message, Origin, Recipient};
use smpp::{CommandId, Sm, Status};

use super::session::Answers;
use crate::intake::{Draft, Outcome};
use crate::receipt::Receipt;
use crate::router::Router;
use crate::sms::read::{self, Reading};

/// Requests of one read.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Receipts; `None` names no message.
    receipts: Vec<(u32, CommandId, Option<Receipt>)>,
    messages: Vec<(u32, CommandId, Sm)>,
}

impl Incoming {
    /// Adds a `deliver_sm`, or a `data_sm` in its form.
    pub(super) fn add(&mut self, sequence: u32, command: CommandId, sm: Sm) {
        match smpp::receipt::Receipt::of(&sm) {
            Some(receipt) => {
                if receipt.disagrees {
                    tracing::debug!(event = "smpp.receipt_disagrees", ?receipt);
                }
                self.receipts.push((sequence, command, read::receipt(&receipt)));
            }
            None => self.messages.push((sequence, command, sm)),
        }
    }
}

/// Takes everything in. The answers come when it is durable: an SMSC repeats what is not answered.
pub(super) fn accept(
    router: &Arc<Router>,
    origin: &Arc<Origin>,
    reading: Reading,
    incoming: Incoming,
) -> Vec<BoxFuture<'static, Answers>> {
    let mut accepting: Vec<BoxFuture<'static, Answers>> = Vec::new();
    if !incoming.receipts.is_empty() {
        let (router, connector) = (Arc::clone(router), Arc::clone(&origin.door));
        accepting.push(Box::pin(receipts(router, connector, incoming.receipts)));
    }
    if !incoming.messages.is_empty() {
        let (router, origin) = (Arc::clone(router), Arc::clone(origin));
        accepting.push(Box::pin(messages(router, origin, reading, incoming.messages)));
    }
    accepting
}

async fn receipts(
    router: Arc<Router>,
    connector: Arc<str>,
    given: Vec<(u32, CommandId, Option<Receipt>)>,
) -> Answers {
    let mut answers: Answers = Vec::with_capacity(given.len());
    let mut receipts = Vec::with_capacity(given.len());
    for (sequence, command, receipt) in given {
        match receipt {
            Some(receipt) => receipts.push(receipt),
            // Nothing that a repetition could change.
            None => tracing::warn!(event = "smpp.receipt_without_id", connector = &*connector),
        }
        answers.push((sequence, command, Status::ROK));
    }
    if let Err(refusal) = router.receipts(&connector, receipts).await {
        tracing::warn!(event = "smpp.receipts", connector = &*connector, reason = &*refusal.text);
        for answer in &mut answers {
            answer.2 = Status::RX_T_APPN;
        }
    }
    answers
}

async fn messages(
    router: Arc<Router>,
    origin: Arc<Origin>,
    reading: Reading,
    given: Vec<(u32, CommandId, Sm)>,
) -> Answers {
    let generation = router.generation();
    let mut answers: Answers = Vec::with_capacity(given.len());
    let (mut waiting, mut drafts) = (Vec::new(), Vec::new());
    for (sequence, command, sm) in given {
        match message(&router, &origin, &reading, &sm) {
            Ok((mut message, recipient)) => {
                match router.admit_answer(&generation, &origin, &mut message, recipient) {
                    Ok(recipient) => {
                        message.recipients.push(recipient);
                        waiting.push((sequence, command));
                        drafts.push(Draft { message });
                    }
                    Err(refusal) => answers.push((sequence, command, refused(&refusal))),
                }
            }
            Err(status) => answers.push((sequence, command, status)),
        }
    }
    let outcomes = router.accept(&generation, drafts).await;
    for ((sequence, command), outcome) in waiting.into_iter().zip(outcomes) {
        let status = match outcome {
            Outcome::Accepted(_proof) => Status::ROK,
            Outcome::Refused(refusal) => refused(&refusal),
        };
        answers.push((sequence, command, status));
    }
    answers
}

/// An SMSC gives up a message for every answer that does not say "later".
const fn refused(refusal: &crate::intake::Refusal) -> Status {
    if refusal.permanent { Status::RX_R_APPN } else { Status::RX_T_APPN }
}

fn message(
    router: &Router,
    origin: &Arc<Origin>,
    reading: &Reading,
    sm: &Sm,
) -> Result<(Message, Recipient), Status> {
    let now = router.clock.now();
    let incoming = read::read(sm, reading, now).or_else(|_odd_time| {
        // What an SMSC writes into times that mean nothing here loses nobody a message.
        let sm = Sm {
            schedule_delivery_time: smpp::Octets::new(),
            validity_period: smpp::Octets::new(),
            ..sm.clone()
        };
        read::read(&sm, reading, now)
    })?;
    let recipient = Recipient::new(read::address(&sm.destination, reading.dest), incoming.wish);
    let message = Message {
        id: router.next_id(),
        parent: None,
        origin: Arc::clone(origin),
        sender: incoming.sender,
        recipients: Vec::with_capacity(1),
        content: Content::Short(incoming.content),
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: now,
        not_before: None,
        expires: incoming.expires,
        priority: incoming.priority,
        hops: 0,
    };
    Ok((message, recipient))
}
