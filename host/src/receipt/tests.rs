//! The book's promises: receipts find their message, early ones wait, parts fold, repeats are known.

use std::collections::BTreeMap;

use message::{Content, Message, Protocol, Short, Wish};

use super::*;
use crate::delivery::Terms;

fn spool() -> Spool {
    Spool::open_memory(spool::Options::new(|| tokio::time::Instant::now().into_std())).unwrap()
}

fn queued() -> Queued {
    let id = MessageId::from_u64(77);
    let recipient = Recipient::new(Address::phone("+33612345678"), Wish::FINAL);
    let origin = Origin {
        door: "esmes".into(),
        protocol: Protocol::Smpp,
        peer: "".into(),
        account: "shop".into(),
        session: 1,
        helo: "".into(),
        tls: false,
    };
    let message = Message {
        id,
        parent: None,
        origin: Arc::new(origin),
        sender: Address::alphanumeric("SHOP"),
        recipients: vec![recipient.clone()],
        content: Content::Short(Short::from_text("hi")),
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: Timestamp::from_ms(1000),
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    };
    let delivery = Delivery {
        id,
        body: id,
        message: id,
        recipient,
        route: "".into(),
        targets: vec!["smsc".into()],
        cursor: 0,
        answers: Answers::Origin,
        sms: None,
        parts: None,
        attempts: 0,
        faults: 0,
        due: Timestamp::from_ms(0),
        expires: Timestamp::NEVER,
        priority: 0,
        account: "shop".into(),
        doubtful: false,
        known_as: None,
        last: None,
        terms: Terms::default(),
    };
    Queued { delivery, message: Arc::new(message) }
}

fn receipt(remote: &str, state: u8) -> Receipt {
    Receipt { remote: remote.into(), state, error: "000".into(), text: "".into(), done: None }
}

const KEEP: Keep = Keep {
    parked_until: Timestamp::NEVER,
    done_until: Timestamp::NEVER,
    book_until: Timestamp::NEVER,
};

/// Enters ids, commits, and returns early receipts.
async fn enter(book: &Book, spool: &Spool, ids: &[&str]) -> Vec<Receipt> {
    let remote: Vec<Arc<str>> = ids.iter().map(|&id| Arc::from(id)).collect();
    let mut batch = Batch::new();
    let early = book.enter(&mut batch, "smsc", &queued(), &remote, Timestamp::NEVER);
    drop(spool.commit(batch).await.unwrap());
    early
}

async fn find(book: &Book, spool: &Spool, receipt: Receipt) -> Match {
    let mut batch = Batch::new();
    let (found, _undo) = book.find(&mut batch, spool, "smsc", receipt, KEEP).unwrap();
    if !batch.is_empty() {
        drop(spool.commit(batch).await.unwrap());
    }
    found
}

#[tokio::test]
async fn a_receipt_finds_its_message_whatever_the_base_of_its_id() {
    let (book, spool) = (Book::default(), spool());
    assert!(enter(&book, &spool, &["00007B"]).await.is_empty());
    let found = find(&book, &spool, receipt("123", DELIVERED)).await;
    assert!(matches!(found, Match::Tell(entry, _) if entry.message == MessageId::from_u64(77)));
    let again = find(&book, &spool, receipt("123", DELIVERED)).await;
    assert!(matches!(again, Match::Repeated(_)), "the same receipt is told once");
}

#[tokio::test]
async fn a_receipt_finds_its_message_after_a_restart() {
    let spool = spool();
    enter(&Book::default(), &spool, &["5"]).await;
    let found = find(&Book::open(&spool).unwrap(), &spool, receipt("5", UNDELIVERABLE)).await;
    assert!(matches!(found, Match::Tell(_, told) if told.state == UNDELIVERABLE));
}

#[tokio::test]
async fn a_receipt_before_its_response_waits_even_across_a_restart() {
    let spool = spool();
    let found = find(&Book::default(), &spool, receipt("9", DELIVERED)).await;
    assert_eq!(found, Match::Parked);
    let book = Book::open(&spool).unwrap();
    assert_eq!(book.parked(), 1);
    assert_eq!(enter(&book, &spool, &["9"]).await, [receipt("9", DELIVERED)]);
    assert_eq!(book.parked(), 0);
}

#[tokio::test]
async fn parts_fold_into_one_outcome() {
    let (book, spool) = (Book::default(), spool());
    enter(&book, &spool, &["1", "2", "3"]).await;
    assert!(matches!(find(&book, &spool, receipt("2", DELIVERED)).await, Match::Part(..)));
    assert!(matches!(find(&book, &spool, receipt("1", EXPIRED)).await, Match::Part(..)));
    let last = find(&book, &spool, receipt("3", DELIVERED)).await;
    assert!(matches!(last, Match::Tell(_, told) if told.state == EXPIRED), "one part failed");
}

#[tokio::test]
async fn ids_of_other_targets_are_other_ids() {
    let (book, spool) = (Book::default(), spool());
    enter(&book, &spool, &["1"]).await;
    let mut batch = Batch::new();
    let (found, _undo) =
        book.find(&mut batch, &spool, "other", receipt("1", DELIVERED), KEEP).unwrap();
    assert_eq!(found, Match::Parked);
}

#[test]
fn a_receipt_whose_commit_failed_is_no_repetition() {
    let (book, spool) = (Book::default(), spool());
    let mut batch = Batch::new();
    let early = book.enter(&mut batch, "smsc", &queued(), &["1".into()], Timestamp::NEVER);
    assert!(early.is_empty());
    let ask = |target: &str, id: &str| {
        let receipt = receipt(id, DELIVERED);
        book.find(&mut Batch::new(), &spool, target, receipt, KEEP).unwrap()
    };
    let (found, undo) = ask("smsc", "1");
    assert!(matches!(found, Match::Tell(..)));
    let (_, parked) = ask("smsc", "unknown");
    book.undo([undo, parked].into_iter());
    assert_eq!(book.parked(), 0);
    let (found, _undo) = ask("smsc", "1");
    assert!(matches!(found, Match::Tell(..)), "{found:?}");
    let (found, _undo) = ask("smsc", "1");
    assert!(matches!(found, Match::Repeated(..)), "{found:?}");
}

/// Enters the mail that the delivery is, and returns a report that came before.
async fn enter_report(book: &Book, spool: &Spool, told: bool) -> Option<Receipt> {
    let mut batch = Batch::new();
    let early = book.enter_report(&mut batch, &queued(), told, Timestamp::NEVER);
    drop(spool.commit(batch).await.unwrap());
    early
}

async fn report(book: &Book, spool: &Spool, state: u8) -> Match {
    let mut batch = Batch::new();
    let (found, _undo) = book.find(&mut batch, spool, REPORTS, receipt("77", state), KEEP).unwrap();
    drop(spool.commit(batch).await.ok());
    found
}

#[tokio::test]
async fn a_report_may_come_before_the_answer_of_the_relay() {
    let (book, spool) = (Book::default(), spool());
    assert_eq!(report(&book, &spool, DELIVERED).await, Match::Parked);
    assert_eq!(enter_report(&book, &spool, false).await, Some(receipt("77", DELIVERED)));
    assert!(matches!(report(&book, &spool, DELIVERED).await, Match::Tell(..)));
}

#[tokio::test]
async fn a_report_that_waits_is_not_lost_to_one_that_is_not_final() {
    let (book, spool) = (Book::default(), spool());
    for state in [ENROUTE, UNDELIVERABLE, ENROUTE] {
        assert_eq!(report(&book, &spool, state).await, Match::Parked);
    }
    assert_eq!(Book::open(&spool).unwrap().parked(), 1);
    assert_eq!(enter_report(&book, &spool, false).await, Some(receipt("77", UNDELIVERABLE)));
}

#[tokio::test]
async fn what_is_not_final_is_told_once_for_each_state() {
    let (book, spool) = (Book::default(), spool());
    enter_report(&book, &spool, false).await;
    for (state, repeated) in
        [(ENROUTE, false), (ENROUTE, true), (ACCEPTED, false), (DELIVERED, false), (ENROUTE, true)]
    {
        let found = report(&book, &spool, state).await;
        assert_eq!(matches!(found, Match::Repeated(..)), repeated, "{found:?}");
    }
}

#[tokio::test]
async fn who_was_told_or_given_up_hears_no_more() {
    for told in [true, false] {
        let spool = spool();
        enter_report(&Book::default(), &spool, told).await;
        let book = Book::open(&spool).unwrap();
        let mut batch = Batch::new();
        let given_up = book.give_up(&mut batch, &spool, (REPORTS, "77"), KEEP).unwrap();
        assert_eq!(given_up.is_some(), !told);
        drop(spool.commit(batch).await.ok());
        assert!(matches!(report(&book, &spool, UNDELIVERABLE).await, Match::Repeated(..)));
    }
}
