//! Deliveries over a session of the crate, with the SMSC's answers by hand.

use message::MessageId;
use smpp::pdu::Bind;
use smpp::session::{Config, Role};
use smpp::{Event, Octets, Tlvs};

use super::*;
use crate::delivery::Parts;
use crate::sms::compose::tests::{composing, text};

const NOW: Timestamp = Timestamp::from_ms(1_769_860_800_000);

struct Run {
    flight: Flight,
    esme: Session,
    smsc: Session,
    now: Instant,
}

impl Run {
    #[expect(clippy::disallowed_methods, reason = "an instant can only be had from the clock")]
    fn new(window: usize) -> Self {
        let now = Instant::now();
        let [mut esme, mut smsc] = [Role::Esme, Role::Smsc]
            .map(|role| Session::new(Config { window, ..Config::new(role) }, now));
        esme.bind(now, Bind::default()).unwrap();
        smsc.handle_bytes(now, &esme.take_output());
        let Some(Event::Request { sequence, pdu: Pdu::Bind(bind), .. }) = smsc.poll_event() else {
            panic!("no bind")
        };
        smsc.accept_bind(now, sequence, &bind, Octets::new()).unwrap();
        esme.handle_bytes(now, &smsc.take_output());
        assert!(matches!(esme.poll_event(), Some(Event::Bound { .. })));
        let references = Arc::new(References::starting_at(1));
        let flight = Flight::new(composing(), Judge::Esme, true, "smsc-a".into(), references);
        Self { flight, esme, smsc, now }
    }

    /// Takes deliveries and gives what the SMSC sees.
    fn start(&mut self, deliveries: Vec<Queued>) -> Vec<(u32, Sm)> {
        for queued in deliveries {
            self.flight.start(queued, NOW);
        }
        self.seen()
    }

    fn seen(&mut self) -> Vec<(u32, Sm)> {
        self.flight.send(&mut self.esme, self.now);
        self.smsc.handle_bytes(self.now, &self.esme.take_output());
        let events = std::iter::from_fn(|| self.smsc.poll_event());
        events
            .map(|event| match event {
                Event::Request { sequence, pdu: Pdu::SubmitSm(sm), .. } => (sequence, sm),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn answer(&mut self, sequence: u32, status: Status, id: &'static str) {
        let message_id = Octets::from_static(id.as_bytes());
        let pdu = Pdu::SubmitSmResp(MessageResp { message_id, tlvs: Tlvs::new() });
        self.smsc.respond(self.now, sequence, status, &pdu).unwrap();
        self.esme.handle_bytes(self.now, &self.smsc.take_output());
        while let Some(event) = self.esme.poll_event() {
            match event {
                Event::Response { token, status, pdu, .. } => {
                    self.flight.answered(token, status, &pdu, NOW);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn results(&mut self) -> Vec<Attempt> {
        self.flight.take_results().into_iter().map(|(_, attempt)| attempt).collect()
    }
}

fn numbered(id: u64, body: &str) -> Queued {
    let mut queued = text(body);
    queued.delivery.id = MessageId::from_u64(id);
    queued
}

fn remote(attempt: &Attempt) -> Vec<&str> {
    match attempt {
        Attempt::Delivered { remote, .. } => remote.iter().map(|id| &**id).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delivery_comes_back_with_its_id() {
    let mut run = Run::new(10);
    let seen = run.start(vec![text("hi")]);
    run.answer(seen[0].0, Status::ROK, "42");
    let results = run.results();
    assert_eq!((results.len(), remote(&results[0])), (1, vec!["42"]));
    assert_eq!(run.flight.flying(), 0);
}

#[test]
fn parts_wait_for_the_window_and_come_back_as_one() {
    let mut run = Run::new(1);
    let seen = run.start(vec![text(&"x".repeat(400))]);
    assert_eq!((seen.len(), run.flight.room(&run.esme)), (1, 0));
    run.answer(seen[0].0, Status::ROK, "1");
    for id in ["2", "3"] {
        assert_eq!(run.flight.room(&run.esme), 0, "parts of earlier ones wait");
        let seen = run.seen();
        assert_eq!(seen.len(), 1);
        run.answer(seen[0].0, Status::ROK, id);
    }
    let results = run.results();
    assert_eq!(remote(&results[0]), ["1", "2", "3"]);
}

#[test]
fn what_was_taken_is_told_of_once_while_other_parts_are_out() {
    let mut run = Run::new(3);
    let seen = run.start(vec![text(&"x".repeat(400))]);
    assert_eq!((seen.len(), run.flight.take_progress().len()), (3, 0));
    run.answer(seen[1].0, Status::ROK, "2");
    let progress = run.flight.take_progress();
    let parts: Vec<_> = progress[0].parts.iter().flat_map(|parts| &parts.sent).collect();
    assert!(
        matches!(*parts, [Part::Missing, Part::Sent(id), Part::Missing] if &**id == "2"),
        "{parts:?}"
    );
    assert_eq!(run.flight.take_progress().len(), 0, "told once");
    run.answer(seen[0].0, Status::ROK, "1");
    run.answer(seen[2].0, Status::ROK, "3");
    assert_eq!(run.flight.take_progress().len(), 0, "the result tells the rest");
    assert_eq!(run.results().len(), 1);
}

#[test]
fn only_missing_parts_are_sent_again() {
    let mut run = Run::new(10);
    let seen = run.start(vec![text(&"x".repeat(400))]);
    run.answer(seen[0].0, Status::ROK, "1");
    run.answer(seen[1].0, Status::RTHROTTLED, "");
    run.answer(seen[2].0, Status::ROK, "3");
    let (queued, attempt) = run.flight.take_results().pop().unwrap();
    assert!(matches!(attempt, Attempt::Deferred { class: Defer::Throttled, .. }));
    let Some(Parts { sent, .. }) = &queued.delivery.parts else { panic!() };
    assert_eq!(sent[..], [Part::Sent("1".into()), Part::Missing, Part::Sent("3".into())]);
    let seen = run.start(vec![queued]);
    let [(sequence, sm)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(sm.short_message[5], 2, "the second part");
    run.answer(*sequence, Status::ROK, "2");
    assert_eq!(remote(&run.results()[0]), ["1", "2", "3"]);
}

#[test]
fn behind_a_refused_part_nothing_more_is_sent() {
    let mut run = Run::new(1);
    let seen = run.start(vec![text(&"x".repeat(400))]);
    run.answer(seen[0].0, Status::RINVDSTADR, "");
    assert_eq!(run.seen(), []);
    let results = run.results();
    assert!(matches!(&results[..], [Attempt::Failed { cause }] if cause.code == 0x0B));
}

#[test]
fn a_cut_link_resolves_everything_at_once() {
    let mut run = Run::new(2);
    let long = "x".repeat(400);
    let seen = run.start(vec![
        numbered(1, "answered"),
        numbered(2, "out"),
        numbered(3, "waits"),
        numbered(4, &long),
    ]);
    run.answer(seen[0].0, Status::ROK, "1");
    assert_eq!(remote(&run.results()[0]), ["1"]);
    run.seen();
    let tokens = run.esme.close();
    let cut = run.flight.cut(&tokens);
    let ids = |list: Vec<u64>| list;
    let unknown: Vec<u64> = cut
        .results
        .iter()
        .map(|(queued, attempt)| {
            assert!(matches!(attempt, Attempt::Unknown { .. }), "{attempt:?}");
            queued.delivery.id.as_u64()
        })
        .collect();
    let untried = cut.untried.iter().map(|queued| queued.delivery.id.as_u64()).collect();
    assert_eq!((ids(unknown), ids(untried)), (vec![2, 3], vec![4]));
}

#[test]
fn a_link_that_ends_between_two_parts_keeps_what_was_sent() {
    let mut run = Run::new(1);
    let seen = run.start(vec![text(&"x".repeat(400))]);
    run.answer(seen[0].0, Status::ROK, "1");
    let tokens = run.esme.close();
    assert!(tokens.is_empty());
    let mut cut = run.flight.cut(&tokens);
    let (queued, attempt) = cut.results.pop().unwrap();
    assert!(matches!(attempt, Attempt::Deferred { class: Defer::Connector, .. }));
    let parts = queued.delivery.parts.unwrap();
    assert_eq!(parts.sent[..2], [Part::Sent("1".into()), Part::Missing]);
    assert!(cut.untried.is_empty());
}

#[test]
fn no_answer_in_time_is_an_unknown_outcome() {
    let mut run = Run::new(10);
    run.start(vec![text("x")]);
    run.esme.handle_timeout(run.now + std::time::Duration::from_secs(30));
    let Some(Event::Timeout { token }) = run.esme.poll_event() else { panic!() };
    run.flight.timed_out(token);
    assert!(matches!(&run.results()[..], [Attempt::Unknown { .. }]));
}

#[test]
fn optional_tlvs_are_left_out_once_if_the_peer_does_not_like_them() {
    let mut run = Run::new(10);
    let mut queued = text("x");
    let message = Arc::get_mut(&mut queued.message).unwrap();
    let message::Content::Short(short) = &mut message.content else { panic!() };
    short.tlvs.push(message::Tlv { tag: 0x1400, value: bytes::Bytes::from_static(b"pe") });
    let seen = run.start(vec![queued]);
    assert!(!seen[0].1.tlvs.is_empty());
    run.answer(seen[0].0, Status(0xC1), "");
    let seen = run.seen();
    assert!(seen[0].1.tlvs.is_empty());
    run.answer(seen[0].0, Status(0xC1), "");
    assert!(matches!(&run.results()[..], [Attempt::Failed { .. }]));
}

#[test]
fn what_cannot_be_sent_fails_without_a_word_on_the_wire() {
    let mut run = Run::new(10);
    let mut queued = text("x");
    queued.delivery.recipient.address = message::Address::mailbox("a@b.example");
    let mut long = text("x");
    long.delivery.recipient.address = message::Address::phone("+1234567890123456789012345");
    assert_eq!(run.start(vec![queued, long]), []);
    let results = run.results();
    assert!(matches!(&results[..], [Attempt::Failed { .. }, Attempt::Unfit { .. }]), "{results:?}");
}
