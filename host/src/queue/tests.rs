//! The queue's promises: order, priority, retries, expiry, throttling.

use std::collections::BTreeMap;
use std::sync::Arc;

use message::{Address, Content, Message, Origin, Protocol, Recipient, Short, Wish};

use super::*;
use crate::delivery::{Answers, Delivery, Terms};

fn t(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn queued(id: u64, body: u64, priority: u8) -> Box<Queued> {
    let origin = Origin {
        door: "door".into(),
        protocol: Protocol::Smpp,
        peer: "".into(),
        account: "".into(),
        session: 0,
        helo: "".into(),
        tls: false,
    };
    let recipient = Recipient::new(Address::phone("+33612345678"), Wish::NOTHING);
    let message = Message {
        id: MessageId::from_u64(body),
        parent: None,
        origin: Arc::new(origin),
        sender: Address::alphanumeric("X"),
        recipients: vec![recipient.clone()],
        content: Content::Short(Short::from_text("hi")),
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: t(0),
        not_before: None,
        expires: Timestamp::NEVER,
        priority,
        hops: 0,
    };
    let delivery = Delivery {
        id: MessageId::from_u64(id),
        body: message.id,
        message: message.id,
        recipient,
        route: "".into(),
        targets: vec!["t".into()],
        cursor: 0,
        answers: Answers::Origin,
        sms: None,
        parts: None,
        attempts: 0,
        faults: 0,
        due: t(0),
        expires: Timestamp::NEVER,
        priority,
        account: "".into(),
        doubtful: false,
        known_as: None,
        last: None,
        terms: Terms::default(),
    };
    Box::new(Queued { delivery, message: Arc::new(message) })
}

fn ids(taken: &[Taken]) -> Vec<u64> {
    taken.iter().map(|item| item.id().as_u64()).collect()
}

#[expect(clippy::vec_box, reason = "the queue takes boxes back")]
fn loaded(taken: Vec<Taken>) -> Vec<Box<Queued>> {
    taken
        .into_iter()
        .filter_map(|item| match item {
            Taken::Loaded(queued) => Some(queued),
            Taken::Stored(_) => None,
        })
        .collect()
}

#[test]
fn first_attempts_keep_the_order_of_acceptance_and_priority_goes_first() {
    let mut queue = Queue::new(None);
    for (id, priority) in [(1, 0), (2, 0), (3, 2), (4, 0)] {
        queue.push(queued(id, id, priority), t(0));
    }
    assert_eq!(ids(&queue.take(t(0), 10)), [3, 1, 2, 4]);
    assert_eq!(queue.in_flight(), 4);
}

#[test]
fn a_retry_overtakes_nobody_and_blocks_nobody() {
    let mut queue = Queue::new(None);
    for id in [1, 2, 3] {
        queue.push(queued(id, id, 0), t(0));
    }
    let mut first = loaded(queue.take(t(0), 1)).remove(0);
    first.delivery.due = t(1000);
    queue.reschedule(first, t(0));
    assert_eq!(ids(&queue.take(t(500), 1)), [2], "it does not block");
    queue.push(queued(4, 4, 0), t(900));
    assert_eq!(ids(&queue.take(t(1000), 10)), [3, 4, 1], "it goes behind what is ready");
}

#[test]
fn what_was_not_tried_keeps_its_place() {
    let mut queue = Queue::new(None);
    for id in [1, 2, 3] {
        queue.push(queued(id, id, 0), t(0));
    }
    for item in loaded(queue.take(t(0), 2)).into_iter().rev() {
        queue.give_back(item);
    }
    assert_eq!(ids(&queue.take(t(0), 10)), [1, 2, 3]);
}

#[test]
fn recipients_of_one_message_go_together() {
    let mut queue = Queue::new(None);
    for (id, body) in [(1, 7), (2, 7), (3, 8), (4, 7)] {
        queue.push(queued(id, body, 0), t(0));
    }
    assert_eq!(ids(&queue.take_group(t(0), 10)), [1, 2]);
    assert_eq!(ids(&queue.take_group(t(0), 10)), [3]);
    assert_eq!(ids(&queue.take_group(t(0), 10)), [4]);
}

#[test]
fn expiry_finds_what_is_ready_and_what_is_scheduled_but_not_what_is_in_flight() {
    let mut queue = Queue::new(None);
    for id in [1, 2, 3] {
        let mut item = queued(id, id, 0);
        item.delivery.expires = t(100);
        item.delivery.due = t(if id == 2 { 5000 } else { 0 });
        queue.push(item, t(0));
    }
    assert_eq!(ids(&queue.take(t(0), 1)), [1]);
    assert!(queue.take_expired(t(99), 10).is_empty());
    assert_eq!(ids(&queue.take_expired(t(100), 10)), [2, 3]);
    assert!(queue.take_expired(t(100), 10).is_empty());
    for id in [1, 2, 3] {
        queue.finish(MessageId::from_u64(id));
    }
    assert!(queue.is_empty() && queue.in_flight() == 0);
}

#[test]
fn a_throttled_window_pauses_once_and_a_success_ends_it() {
    let mut queue = Queue::new(None);
    queue.push(queued(1, 1, 0), t(0));
    for _ in 0..50 {
        queue.throttled(t(0));
    }
    assert_eq!(queue.waiting(t(0)), Waiting::Throttled(t(200)));
    assert!(queue.take(t(199), 1).is_empty());
    queue.throttled(t(200));
    assert_eq!(queue.waiting(t(200)), Waiting::Throttled(t(600)), "the pause doubles");
    queue.succeeded();
    assert_eq!(ids(&queue.take(t(201), 1)), [1]);
}

#[test]
fn a_broken_target_gets_one_probe() {
    let mut queue = Queue::new(None);
    for id in [1, 2, 3] {
        queue.push(queued(id, id, 0), t(0));
    }
    queue.broke(t(0));
    assert!(queue.take(t(999), 3).is_empty());
    let probe = loaded(queue.take(t(1000), 3));
    assert_eq!(probe.len(), 1);
    assert!(queue.take(t(1000), 3).is_empty());
    queue.succeeded();
    assert_eq!(queue.take(t(1001), 3).len(), 2);
}

#[test]
fn more_than_memory_holds_is_read_again_later() {
    let mut queue = Queue::new(None);
    let count = u64::try_from(LOADED_MAX).unwrap() + 5;
    for id in 1..=count {
        queue.push(queued(id, id, 0), t(0));
    }
    let taken = queue.take(t(0), usize::MAX);
    let stored = taken.iter().filter(|item| matches!(item, Taken::Stored(_))).count();
    assert_eq!((taken.len(), stored), (LOADED_MAX + 5, 5));
}

#[test]
fn an_operator_can_withdraw_and_retry() {
    let mut queue = Queue::new(None);
    let mut later = queued(1, 1, 0);
    later.delivery.due = t(9000);
    queue.push(later, t(0));
    queue.push(queued(2, 2, 0), t(0));
    assert_eq!(queue.retry_now(Some(MessageId::from_u64(1))), 1);
    assert_eq!(queue.withdraw(MessageId::from_u64(2)).map(|item| item.id().as_u64()), Some(2));
    assert!(queue.withdraw(MessageId::from_u64(2)).is_none(), "it is in flight now");
    assert_eq!(ids(&queue.take(t(0), 5)), [1]);
}
