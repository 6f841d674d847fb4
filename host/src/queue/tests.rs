//! The queue's promises: order, priority, retries, expiry, throttling.

use std::collections::BTreeMap;
use std::sync::Arc;

use message::{Address, Content, Message, Origin, Protocol, Recipient, Short, Wish};

use super::loaded::{LOADED_BYTES_MAX, LOADED_MAX};
use super::*;
use crate::delivery::{Answers, Cause, Terms};

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

fn queue() -> Queue {
    new_queue(Arc::default())
}

fn new_queue(room: Arc<Room>) -> Queue {
    Queue::new(&Arc::from("t"), None, room)
}

fn of(account: &str, id: u64) -> Box<Queued> {
    let mut item = queued(id, id, 0);
    item.delivery.account = account.into();
    item
}

fn id(id: u64) -> MessageId {
    MessageId::from_u64(id)
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
    let mut queue = queue();
    for (id, priority) in [(1, 0), (2, 0), (3, 2), (4, 0)] {
        queue.push(queued(id, id, priority), t(0));
    }
    assert_eq!(ids(&queue.take(t(0), 10)), [3, 1, 2, 4]);
    assert_eq!(queue.in_flight(), 4);
}

#[test]
fn a_retry_overtakes_nobody_and_blocks_nobody() {
    let mut queue = queue();
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
    let mut queue = queue();
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
    let mut queue = queue();
    for (id, body) in [(1, 7), (2, 7), (3, 8), (4, 7)] {
        queue.push(queued(id, body, 0), t(0));
    }
    assert_eq!(ids(&queue.take_group(t(0), 10)), [1, 2]);
    assert_eq!(ids(&queue.take_group(t(0), 10)), [3]);
    assert_eq!(ids(&queue.take_group(t(0), 10)), [4]);
}

#[test]
fn a_throttled_window_pauses_once_and_a_success_ends_it() {
    let mut queue = queue();
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
    let mut queue = queue();
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
fn a_message_at_which_the_connection_ends_is_not_the_targets_fault() {
    let mut queue = queue();
    for id in 1..=9 {
        queue.push(queued(id, id, 0), t(0));
    }
    let tried = |queue: &mut Queue, now: u64, expect: &[u64]| {
        let taken = queue.take(t(now), 1);
        assert_eq!(ids(&taken), expect, "at {now}");
        loaded(taken)
    };
    let later = |queue: &mut Queue, mut tried: Vec<Box<Queued>>, now: u64| {
        let mut queued = tried.remove(0);
        queued.delivery.due = t(now + 30_000);
        queue.reschedule(queued, t(now));
    };
    // One message, twice: nobody else waits.
    for now in [0, 1] {
        let poison = tried(&mut queue, now, &[1 + now]);
        queue.suspect(t(now), MessageId::from_u64(1));
        assert!(!queue.is_on_probation());
        later(&mut queue, poison, now);
    }
    // Another one: the next is the probe, and the wait does not grow.
    for (now, id) in [(2, 3), (1_002, 4), (2_002, 5), (3_002, 6)] {
        let poison = tried(&mut queue, now, &[id]);
        queue.suspect(t(now), MessageId::from_u64(id));
        assert!(queue.is_on_probation());
        later(&mut queue, poison, now);
        assert!(queue.take(t(now + 999), 5).is_empty());
    }
    tried(&mut queue, 4_002, &[7]);
    queue.succeeded();
    assert!(!queue.is_on_probation());
    tried(&mut queue, 4_003, &[8]);
}

#[test]
fn more_than_memory_holds_is_read_again_later() {
    let mut queue = queue();
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
    let mut queue = queue();
    let mut later = queued(1, 1, 0);
    later.delivery.due = t(9000);
    queue.push(later, t(0));
    queue.push(queued(2, 2, 0), t(0));
    assert!(queue.retry_now(id(1)) && !queue.retry_now(id(2)));
    assert_eq!(queue.withdraw(MessageId::from_u64(2)).map(|item| item.id().as_u64()), Some(2));
    assert!(queue.withdraw(MessageId::from_u64(2)).is_none(), "it is in flight now");
    assert_eq!(ids(&queue.take(t(0), 5)), [1]);
}

#[test]
fn a_hundred_thousand_of_one_account_do_not_delay_the_single_message_of_another() {
    let mut queue = queue();
    for n in 1..=100_000 {
        queue.push(of("flood", n), t(0));
    }
    assert_eq!(queue.take(t(0), 1000).len(), 1000);
    queue.push(of("alarm", 200_000), t(0));
    let next = ids(&queue.take(t(0), 2));
    assert!(next.contains(&200_000), "{next:?}");
}

#[test]
fn each_account_keeps_its_own_order_and_all_get_equal_turns() {
    let mut queue = queue();
    for n in 0..30 {
        queue.push(of(if n < 20 { "a" } else { "b" }, n + 1), t(0));
    }
    let taken = ids(&queue.take(t(0), 20));
    let (a, b): (Vec<u64>, Vec<u64>) = taken.into_iter().partition(|id| *id <= 20);
    assert_eq!((a, b), ((1..=10).collect(), (21..=30).collect()));
}

#[test]
fn the_recipients_of_one_message_are_one_group_whoever_waits_beside_them() {
    let mut queue = queue();
    for n in 1..=3 {
        let mut item = of("a", n);
        item.delivery.body = id(1);
        queue.push(item, t(0));
        queue.push(of("b", 10 + n), t(0));
    }
    assert_eq!(ids(&queue.take_group(t(0), 10)), [1, 2, 3]);
    assert_eq!(ids(&queue.take_group(t(0), 10)), [11]);
}

#[test]
fn a_probe_that_says_nothing_about_the_target_makes_way_for_the_next() {
    let ways: [fn(&mut Queue, Box<Queued>); 4] = [
        |queue, item| queue.finish(item.delivery.id),
        |queue, item| queue.give_back(item),
        |queue, item| queue.put_off(item.delivery.id),
        |queue, item| queue.reschedule(item, t(1000)),
    ];
    for comes_back in ways {
        let mut queue = queue();
        for n in [1, 2] {
            queue.push(queued(n, n, 0), t(0));
        }
        queue.broke(t(0));
        let probe = loaded(queue.take(t(1000), 5)).remove(0);
        assert_eq!(queue.waiting(t(1000)), Waiting::Breaker(None));
        comes_back(&mut queue, probe);
        assert_eq!(queue.take(t(1000), 5).len(), 1);
    }
}

#[test]
fn a_probe_whose_answer_is_lost_counts_against_the_target() {
    let mut queue = queue();
    queue.push(queued(1, 1, 0), t(0));
    queue.unanswered(t(0));
    assert_eq!(queue.waiting(t(0)), Waiting::Ready, "a lost answer alone says nothing");
    queue.broke(t(0));
    let probe = loaded(queue.take(t(1000), 1)).remove(0);
    queue.unanswered(t(1000));
    queue.reschedule(probe, t(1000));
    assert_eq!(queue.waiting(t(1000)), Waiting::Breaker(Some(t(3000))));
}

#[test]
fn content_in_memory_is_bounded_in_octets_over_all_queues() {
    let room = Arc::new(Room::default());
    let mut queues: Vec<_> = (0..3).map(|_| new_queue(Arc::clone(&room))).collect();
    let raw = vec![b'x'; 1024 * 1024];
    for n in 1..=200 {
        let mut item = queued(n, n, 0);
        Arc::make_mut(&mut item.message).content = Content::Mail(raw.clone().into());
        queues[usize::try_from(n % 3).unwrap()].push(item, t(0));
        assert!(room.bytes() <= LOADED_BYTES_MAX);
    }
    assert!(room.bytes() > LOADED_BYTES_MAX / 2);
    let mut taken = 0;
    for queue in &mut queues {
        taken += queue.take(t(0), 1000).len();
    }
    assert_eq!((taken, room.bytes()), (200, 0));
}

#[test]
fn what_waits_long_is_not_kept_in_memory() {
    let room = Arc::new(Room::default());
    let mut queue = new_queue(Arc::clone(&room));
    let mut later = queued(1, 1, 0);
    later.delivery.due = t(3_600_000);
    queue.push(later, t(0));
    assert_eq!(room.bytes(), 0);
    assert!(matches!(queue.take(t(3_600_000), 1)[..], [Taken::Stored(_)]));
}

#[test]
fn reasons_are_counted_over_the_whole_queue() {
    let mut queue = queue();
    for n in 1..=5000 {
        let mut item = queued(n, n, 0);
        let text = if n % 5 == 0 { "busy" } else { "greylisted" };
        item.delivery.last = (n > 1000).then(|| Cause::ours("4.0.0", text));
        queue.push(item, t(0));
    }
    let counts = |queue: &Queue| -> Vec<(Option<String>, usize)> {
        let reasons = queue.reasons().into_iter();
        reasons.map(|it| (it.why.map(|why| why.to_string()), it.count)).collect()
    };
    let expect =
        [(Some("greylisted".to_owned()), 3200), (None, 1000), (Some("busy".to_owned()), 800)];
    assert_eq!(counts(&queue), expect);
    for item in queue.take(t(0), 1000) {
        queue.finish(item.id());
    }
    assert_eq!(counts(&queue), [expect[0].clone(), expect[2].clone()]);
}

#[test]
fn only_what_has_another_way_is_movable_wherever_it_stands() {
    let mut queue = queue();
    for n in 1..=3000 {
        let mut item = queued(n, n, 0);
        if n > 2990 {
            item.delivery.targets.push("b".into());
        }
        queue.push(item, t(0));
    }
    assert!(queue.movable(|_| false, 10).is_empty(), "nothing else is well");
    let to_b = |list: &[Arc<str>]| list.iter().any(|name| &**name == "b");
    let found = queue.movable(to_b, 4);
    assert_eq!(found, [2991, 2992, 2993, 2994].map(id));
    for id in found {
        let Some(Taken::Loaded(item)) = queue.withdraw(id) else { panic!("it waits") };
        queue.pin(id);
        queue.give_back(item);
    }
    assert_eq!(queue.movable(to_b, 100).len(), 6);
    assert!(queue.movable(to_b, 100).is_empty(), "it begins anew with the next call");
    assert_eq!(queue.movable(to_b, 100).len(), 6, "what is pinned is not found again");
}

#[test]
fn a_clock_that_is_set_back_makes_no_retry_wait_longer() {
    let mut queue = queue();
    let hour = Duration::from_secs(3600);
    let now = t(0).after(hour * 10);
    let mut retried = queued(1, 1, 0);
    retried.delivery.due = now.after(Duration::from_secs(30));
    retried.delivery.last = Some(Cause::ours("4.0.0", "busy"));
    let mut planned = queued(2, 2, 0);
    planned.delivery.due = now.after(hour);
    queue.push(retried, now);
    queue.push(planned, now);
    queue.broke(now);
    let earlier = t(0).after(hour * 8);
    queue.set_back(hour * 2);
    assert_eq!(queue.waiting(earlier), Waiting::Due(earlier.after(Duration::from_secs(30))));
    let due = earlier.after(Duration::from_secs(31));
    assert_eq!(ids(&queue.take(due, 5)), [1], "the breaker does not wait longer either");
    queue.finish(id(1));
    assert_eq!(
        queue.waiting(due),
        Waiting::Due(now.after(hour)),
        "a time that was asked for stays"
    );
}

#[test]
fn the_oldest_is_known() {
    let mut queue = queue();
    for n in [5, 3, 9] {
        queue.push(queued(n, n, 0), t(0));
    }
    assert_eq!(queue.oldest(), Some(id(3)));
    queue.finish(id(3));
    assert_eq!(queue.oldest(), Some(id(5)));
}

#[test]
fn what_an_account_gets_keeps_its_order_whether_receipt_or_message() {
    let mut queue = queue();
    for n in 1..=10 {
        queue.push(of(if n % 3 == 0 { "t" } else { "" }, n), t(0));
    }
    assert_eq!(ids(&queue.take(t(0), 10)), (1..=10).collect::<Vec<_>>());
}

#[test]
fn what_is_taken_out_and_put_back_wins_neither_tokens_nor_turns() {
    let rate = TokenBucket::new(1.0, 1, t(0));
    let mut queue = Queue::new(&Arc::from("t"), Some(rate), Arc::default());
    for n in 1..=3 {
        queue.push(of(if n == 1 { "a" } else { "b" }, n), t(0));
    }
    assert_eq!(ids(&queue.take(t(0), 5)), [1]);
    for _ in 0..5 {
        let Some(Taken::Loaded(item)) = queue.withdraw(id(2)) else { panic!("it waits") };
        assert!(queue.withdraw(id(2)).is_none(), "it is out");
        queue.give_back(item);
    }
    assert!(queue.take(t(0), 5).is_empty(), "the rate has no token");
    let mut later = of("b", 4);
    later.delivery.due = t(9000);
    queue.push(later, t(0));
    let Some(Taken::Loaded(item)) = queue.withdraw(id(4)) else { panic!("it waits") };
    queue.give_back(item);
    assert_eq!(queue.scheduled(), 1, "what has its time keeps it");
    assert_eq!(ids(&queue.take(t(1001), 5)), [2]);
}
