//! Dialogues: two sessions and a clock that only moves when told.
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::pdu::{Address, MessageResp, Outbind, QuerySm, QuerySmResp, Sm, decode};

const SECOND: Duration = Duration::from_secs(1);

/// Both ends of a link and the time.
struct Pair {
    esme: Session,
    smsc: Session,
    now: Instant,
}

impl Pair {
    /// Unbound.
    #[expect(clippy::disallowed_methods, reason = "an instant can only be had from the clock")]
    fn open(change: impl Fn(&mut Config)) -> Self {
        let now = Instant::now();
        let [esme, smsc] = [Role::Esme, Role::Smsc].map(|role| {
            let mut config = Config::new(role);
            change(&mut config);
            Session::new(config, now)
        });
        Self { esme, smsc, now }
    }

    /// Bound as a transceiver.
    fn bound(change: impl Fn(&mut Config)) -> Self {
        let mut pair = Self::open(change);
        pair.bind(BindMode::Transceiver);
        assert!(matches!(pair.esme.poll_event(), Some(Event::Bound { .. })));
        pair
    }

    fn bind(&mut self, mode: BindMode) {
        let version = self.esme.config.version;
        let bind = Bind { mode, interface_version: version, ..Bind::default() };
        self.esme.bind(self.now, bind).unwrap();
        self.carry_to_smsc();
        let (sequence, pdu) = request(&mut self.smsc);
        let Pdu::Bind(bind) = pdu else { panic!("{pdu:?}") };
        let system_id = Octets::from_static(b"wp");
        self.smsc.accept_bind(self.now, sequence, &bind, system_id).unwrap();
        self.carry_to_esme();
    }

    fn carry_to_smsc(&mut self) {
        let octets = self.esme.take_output();
        self.smsc.handle_bytes(self.now, &octets);
    }

    fn carry_to_esme(&mut self) {
        let octets = self.smsc.take_output();
        self.esme.handle_bytes(self.now, &octets);
    }

    /// Lets both know that time has passed.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.esme.handle_timeout(self.now);
        self.smsc.handle_timeout(self.now);
    }
}

#[track_caller]
fn request(session: &mut Session) -> (u32, Pdu) {
    match session.poll_event() {
        Some(Event::Request { sequence, pdu, .. }) => (sequence, pdu),
        other => panic!("no request but {other:?}"),
    }
}

fn submit() -> Pdu {
    let destination = Address::new(1, 1, Octets::from_static(b"33612345678"));
    Pdu::SubmitSm(Sm { destination, short_message: Bytes::from_static(b"hi"), ..Sm::default() })
}

fn id(text: &'static str) -> Pdu {
    Pdu::SubmitSmResp(MessageResp::new(Octets::from_static(text.as_bytes())))
}

/// The one PDU that a session wants to send.
#[track_caller]
fn sent(session: &mut Session) -> crate::pdu::Decoded {
    let mut framer = Framer::new(65_536);
    framer.extend(&session.take_output());
    let frame = framer.poll_frame().unwrap().expect("a PDU");
    assert_eq!(framer.poll_frame(), Ok(None), "one PDU");
    decode(&frame).unwrap()
}

fn raw(command: u32, status: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut octets: Vec<u8> =
        [length, command, status, sequence].iter().flat_map(|n| n.to_be_bytes()).collect();
    octets.extend_from_slice(body);
    octets
}

#[test]
fn a_submit_is_answered_and_matched_with_its_latency() {
    let mut pair = Pair::bound(|_| {});
    pair.esme.request(pair.now, &submit(), 77).unwrap();
    pair.carry_to_smsc();
    let (sequence, pdu) = request(&mut pair.smsc);
    assert_eq!((pdu, pair.smsc.unanswered()), (submit(), 1));
    pair.now += SECOND;
    pair.smsc.respond(pair.now, sequence, Status::ROK, &id("42")).unwrap();
    assert_eq!(pair.smsc.unanswered(), 0);
    pair.carry_to_esme();
    let event = pair.esme.poll_event().unwrap();
    let Event::Response { token: 77, status: Status::ROK, pdu, latency: SECOND, .. } = event else {
        panic!("{event:?}")
    };
    assert_eq!(pdu, id("42"));
    assert_eq!(pair.esme.pending(), 0);
}

#[test]
fn the_version_is_what_both_speak_and_v33_gets_no_tlvs() {
    let mut pair = Pair::open(|config| {
        if config.role == Role::Esme {
            config.version = InterfaceVersion::V33;
        }
    });
    pair.bind(BindMode::Transceiver);
    let Some(Event::Bound { resp, version }) = pair.esme.poll_event() else { panic!() };
    assert_eq!((resp.sc_interface_version(), version), (None, InterfaceVersion::V33));
    assert!(!pair.smsc.dialect().tlvs && !pair.esme.dialect().tlvs);
    let mut pair = Pair::open(|config| config.version = InterfaceVersion::V50);
    pair.bind(BindMode::Transceiver);
    let Some(Event::Bound { resp, .. }) = pair.esme.poll_event() else { panic!() };
    assert_eq!(resp.sc_interface_version(), Some(InterfaceVersion::V50));
}

#[test]
fn a_hundred_submits_in_one_read_are_a_hundred_events() {
    let mut pair = Pair::bound(|config| config.window = 100);
    for token in 0..100 {
        pair.esme.request(pair.now, &submit(), token).unwrap();
    }
    assert_eq!(pair.esme.window_free(), 0);
    assert_eq!(pair.esme.request(pair.now, &submit(), 100), Err(RequestError::WindowFull));
    pair.carry_to_smsc();
    assert_eq!(pair.smsc.unanswered(), 100);
    for _ in 0..100 {
        let (sequence, _) = request(&mut pair.smsc);
        pair.smsc.respond(pair.now, sequence, Status::ROK, &id("1")).unwrap();
    }
    pair.carry_to_esme();
    for expect in 0..100 {
        let event = pair.esme.poll_event();
        assert!(matches!(event, Some(Event::Response { token, .. }) if token == expect));
    }
    assert_eq!((pair.esme.window_free(), pair.smsc.unanswered()), (100, 0));
}

#[test]
fn enquire_link_does_not_wait_for_the_window() {
    let mut pair = Pair::bound(|config| config.window = 1);
    pair.esme.request(pair.now, &submit(), 1).unwrap();
    pair.esme.take_output();
    pair.now += 29 * SECOND;
    pair.esme.handle_timeout(pair.now);
    assert!(pair.esme.output().is_empty());
    pair.now += SECOND;
    pair.esme.handle_timeout(pair.now);
    assert_eq!(pair.esme.poll_event(), Some(Event::Timeout { token: 1 }));
    assert_eq!(sent(&mut pair.esme).pdu, Pdu::EnquireLink);
}

#[test]
fn enquire_link_is_answered_in_every_state() {
    let enquiry = raw(0x15, 0, 0x8000_0009, b"");
    let mut pair = Pair::open(|_| {});
    for session in [&mut pair.esme, &mut pair.smsc] {
        session.handle_bytes(pair.now, &enquiry);
        let answer = sent(session);
        let header = answer.header;
        assert_eq!((answer.pdu, header.sequence_number), (Pdu::EnquireLinkResp, 0x8000_0009));
    }
    let mut pair = Pair::bound(|_| {});
    pair.esme.unbind(pair.now);
    pair.esme.take_output();
    pair.esme.handle_bytes(pair.now, &enquiry);
    assert_eq!(sent(&mut pair.esme).pdu, Pdu::EnquireLinkResp);
}

#[test]
fn a_silent_peer_is_dead_after_two_questions_and_any_word_is_an_answer() {
    let mut pair = Pair::bound(|_| {});
    pair.pass(30 * SECOND);
    assert_eq!(sent(&mut pair.esme).pdu, Pdu::EnquireLink);
    pair.pass(30 * SECOND);
    assert_eq!(sent(&mut pair.esme).pdu, Pdu::EnquireLink);
    // Something other than the answer comes: it is there.
    pair.esme.handle_bytes(pair.now, &raw(0x15, 0, 1, b""));
    pair.esme.take_output();
    pair.pass(30 * SECOND);
    pair.pass(30 * SECOND);
    assert_eq!(pair.esme.poll_event(), None);
    pair.pass(30 * SECOND);
    assert_eq!(pair.esme.poll_event(), Some(Event::LinkDead(Dead::EnquireLink)));
    assert_eq!(pair.esme.poll_timeout(), None);
}

#[test]
fn poll_timeout_never_asks_for_the_past_for_ever() {
    let mut pair = Pair::bound(|config| config.inactivity = Some(300 * SECOND));
    pair.esme.request(pair.now, &submit(), 1).unwrap();
    let mut steps = 0;
    while let Some(due) = pair.esme.poll_timeout() {
        assert!(due >= pair.now, "what is due is done");
        pair.now = due;
        pair.esme.handle_timeout(due);
        steps += 1;
        assert!(steps < 10);
    }
    assert_eq!(pair.esme.poll_event(), Some(Event::Timeout { token: 1 }));
    assert_eq!(pair.esme.poll_event(), Some(Event::LinkDead(Dead::EnquireLink)));
}

#[test]
fn a_link_without_a_bind_is_given_up() {
    let mut pair = Pair::open(|_| {});
    assert_eq!(pair.smsc.poll_timeout(), Some(pair.now + 5 * SECOND));
    pair.pass(5 * SECOND);
    assert_eq!(pair.smsc.poll_event(), Some(Event::LinkDead(Dead::SessionInit)));
}

#[test]
fn a_session_without_messages_ends_after_the_inactivity_time() {
    let mut pair = Pair::bound(|config| config.inactivity = Some(40 * SECOND));
    pair.pass(30 * SECOND);
    pair.carry_to_smsc();
    pair.carry_to_esme();
    pair.carry_to_smsc();
    pair.pass(10 * SECOND);
    assert_eq!(pair.esme.poll_event(), Some(Event::LinkDead(Dead::Inactivity)));
}

#[test]
fn a_late_answer_finds_nobody_and_its_request_has_timed_out_once() {
    let mut pair = Pair::bound(|_| {});
    let sequence = pair.esme.request(pair.now, &submit(), 5).unwrap();
    pair.carry_to_smsc();
    pair.pass(30 * SECOND);
    assert_eq!(pair.esme.poll_event(), Some(Event::Timeout { token: 5 }));
    pair.esme.take_output();
    request(&mut pair.smsc);
    pair.smsc.respond(pair.now, sequence, Status::ROK, &id("1")).unwrap();
    pair.carry_to_esme();
    let command = CommandId::SUBMIT_SM.response();
    let orphan = Event::Orphan { command, sequence, status: Status::ROK };
    assert_eq!(pair.esme.poll_event(), Some(orphan));
    assert_eq!(pair.esme.close(), Vec::<u64>::new());
}

#[test]
fn a_cut_link_names_everything_pending_at_once_oldest_first() {
    let mut pair = Pair::bound(|config| config.window = 50);
    for token in 100..150 {
        pair.esme.request(pair.now, &submit(), token).unwrap();
    }
    assert_eq!(pair.esme.close(), (100..150).collect::<Vec<u64>>());
    assert_eq!((pair.esme.pending(), pair.esme.poll_timeout()), (0, None));
    assert_eq!(pair.esme.request(pair.now, &submit(), 1), Err(RequestError::NotBound));
}

#[test]
fn a_nack_answers_any_request_and_one_for_nothing_is_told() {
    let mut pair = Pair::bound(|_| {});
    let sequence = pair.esme.request(pair.now, &submit(), 9).unwrap();
    pair.esme.handle_bytes(pair.now, &raw(0x8000_0000, 3, sequence, b""));
    let event = pair.esme.poll_event();
    assert!(
        matches!(event, Some(Event::Response { token: 9, status: Status::RINVCMDID, .. })),
        "{event:?}"
    );
    pair.esme.handle_bytes(pair.now, &raw(0x8000_0000, 3, 0, b""));
    assert!(matches!(pair.esme.poll_event(), Some(Event::Orphan { sequence: 0, .. })));
    // An answer to another command with the same number is none, and a nack is never a yes.
    let sequence = pair.esme.request(pair.now, &submit(), 10).unwrap();
    pair.esme.handle_bytes(pair.now, &raw(0x8000_0003, 0, sequence, b""));
    assert!(matches!(pair.esme.poll_event(), Some(Event::Orphan { .. })));
    pair.esme.handle_bytes(pair.now, &raw(0x8000_0000, 0, sequence, b""));
    let event = pair.esme.poll_event();
    assert!(
        matches!(event, Some(Event::Response { token: 10, status: Status::RUNKNOWNERR, .. })),
        "{event:?}"
    );
}

#[track_caller]
fn check_answer(session: &mut Session, now: Instant, pdu: &[u8], expect: (u32, u32, u32)) {
    session.handle_bytes(now, pdu);
    let Some(Event::Refused { status, .. }) = session.poll_event() else { panic!() };
    let header = sent(session).header;
    assert_eq!((header.command.0, header.status.0, header.sequence_number), expect);
    assert_eq!(status.0, expect.1);
    assert_eq!(session.unanswered(), 0);
}

#[test]
fn what_cannot_be_served_is_answered_and_the_session_goes_on() {
    let mut pair = Pair::open(|_| {});
    let now = pair.now;
    // Before the bind: its own response, not a nack.
    check_answer(&mut pair.smsc, now, &raw(0x04, 0, 5, b""), (0x8000_0004, 0x04, 5));
    check_answer(&mut pair.smsc, now, &raw(0x06, 0, 6, b""), (0x8000_0006, 0x04, 6));
    // An unknown command with an odd number, and a bind that makes no sense.
    check_answer(&mut pair.smsc, now, &raw(0x77, 0, 0xFFFF_FFFF, b"x"), (0x8000_0000, 3, u32::MAX));
    check_answer(&mut pair.smsc, now, &raw(0x09, 0, 7, b"abc\0"), (0x8000_0009, 2, 7));
    pair.bind(BindMode::Transmitter);
    check_answer(&mut pair.smsc, now, &raw(0x04, 0, 8, b"\0"), (0x8000_0004, 2, 8));
    check_answer(&mut pair.smsc, now, &raw(0x02, 0, 9, b"\0\0\0\0\0\0\0"), (0x8000_0002, 5, 9));
    check_answer(&mut pair.smsc, now, &raw(0x05, 0, 10, b""), (0x8000_0005, 4, 10));
    // A transmitter gets no messages.
    assert!(matches!(pair.esme.poll_event(), Some(Event::Bound { .. })));
    check_answer(&mut pair.esme, now, &raw(0x05, 0, 11, b""), (0x8000_0005, 4, 11));
    let deliver = Pdu::DeliverSm(Sm::default());
    let refused = pair.smsc.request(now, &deliver, 1);
    assert_eq!(refused, Err(RequestError::NotAllowed(CommandId::DELIVER_SM)));
    // And after all this it still works.
    pair.esme.request(now, &submit(), 1).unwrap();
    pair.carry_to_smsc();
    assert_eq!(request(&mut pair.smsc).1, submit());
}

#[test]
fn an_unknown_response_is_not_answered() {
    let mut pair = Pair::bound(|_| {});
    pair.smsc.handle_bytes(pair.now, &raw(0x8000_0077, 0, 1, b""));
    assert!(matches!(pair.smsc.poll_event(), Some(Event::Orphan { .. })));
    assert!(pair.smsc.output().is_empty());
}

#[test]
fn what_comes_behind_a_bind_waits_for_its_answer() {
    let mut pair = Pair::open(|_| {});
    let bind = Bind { mode: BindMode::Transceiver, ..Bind::default() };
    let mut octets = BytesMut::new();
    for (pdu, sequence) in [(Pdu::Bind(bind.clone()), 1), (submit(), 2), (Pdu::EnquireLink, 3)] {
        encode(&pdu, sequence, Status::ROK, &Dialect::default(), &mut octets).unwrap();
    }
    pair.smsc.handle_bytes(pair.now, &octets);
    let (sequence, _) = request(&mut pair.smsc);
    assert_eq!(pair.smsc.poll_event(), None);
    pair.smsc.accept_bind(pair.now, sequence, &bind, Octets::new()).unwrap();
    assert_eq!(request(&mut pair.smsc), (2, submit()));
    // And behind the answer: a deliver_sm in the same read.
    let mut pair = Pair::open(|_| {});
    pair.esme.bind(pair.now, bind.clone()).unwrap();
    pair.carry_to_smsc();
    let (sequence, _) = request(&mut pair.smsc);
    pair.smsc.accept_bind(pair.now, sequence, &bind, Octets::new()).unwrap();
    pair.smsc.request(pair.now, &Pdu::DeliverSm(Sm::default()), 1).unwrap();
    pair.carry_to_esme();
    assert!(matches!(pair.esme.poll_event(), Some(Event::Bound { .. })));
    assert!(matches!(request(&mut pair.esme).1, Pdu::DeliverSm(_)));
}

#[test]
fn a_refused_bind_is_told_and_can_be_tried_again() {
    let mut pair = Pair::open(|_| {});
    pair.esme.bind(pair.now, Bind::default()).unwrap();
    pair.carry_to_smsc();
    let (sequence, pdu) = request(&mut pair.smsc);
    pair.smsc.refuse(pair.now, sequence, pdu.command(), Status::RINVPASWD);
    assert_eq!(pair.smsc.mode(), None);
    pair.carry_to_esme();
    let status = Status::RINVPASWD;
    assert_eq!(pair.esme.poll_event(), Some(Event::BindRefused { status }));
    pair.bind(BindMode::Receiver);
    assert_eq!(pair.smsc.mode(), Some(BindMode::Receiver));
}

#[test]
fn an_outbind_asks_for_a_bind() {
    let mut pair = Pair::open(|_| {});
    pair.smsc.request(pair.now, &Pdu::Outbind(Outbind::default()), 1).unwrap();
    pair.carry_to_esme();
    assert!(matches!(request(&mut pair.esme).1, Pdu::Outbind(_)));
    assert_eq!((pair.esme.unanswered(), pair.smsc.pending()), (0, 0));
    pair.bind(BindMode::Receiver);
    assert_eq!(pair.smsc.mode(), Some(BindMode::Receiver));
}

#[test]
fn our_unbind_waits_for_the_answers_to_our_requests() {
    let mut pair = Pair::bound(|_| {});
    pair.esme.request(pair.now, &submit(), 1).unwrap();
    pair.carry_to_smsc();
    pair.esme.unbind(pair.now);
    assert_eq!(pair.esme.request(pair.now, &submit(), 2), Err(RequestError::Closing));
    assert!(pair.esme.output().is_empty());
    let (sequence, _) = request(&mut pair.smsc);
    pair.smsc.respond(pair.now, sequence, Status::ROK, &id("1")).unwrap();
    pair.carry_to_esme();
    assert!(matches!(pair.esme.poll_event(), Some(Event::Response { token: 1, .. })));
    pair.carry_to_smsc();
    assert_eq!(pair.smsc.poll_event(), Some(Event::Unbound));
    pair.carry_to_esme();
    assert_eq!(pair.esme.poll_event(), Some(Event::Unbound));
}

#[test]
fn an_unbind_that_nobody_answers_ends_all_the_same() {
    let mut pair = Pair::bound(|_| {});
    pair.esme.request(pair.now, &submit(), 1).unwrap();
    pair.esme.unbind(pair.now);
    pair.pass(30 * SECOND);
    assert_eq!(pair.esme.poll_event(), Some(Event::Timeout { token: 1 }));
    pair.pass(30 * SECOND);
    assert_eq!(pair.esme.poll_event(), Some(Event::LinkDead(Dead::Unbind)));
}

#[test]
fn the_peers_unbind_waits_for_our_answers_to_its_requests() {
    let mut pair = Pair::bound(|_| {});
    pair.esme.request(pair.now, &submit(), 1).unwrap();
    pair.carry_to_smsc();
    pair.smsc.handle_bytes(pair.now, &raw(0x06, 0, 70, b""));
    pair.smsc.handle_bytes(pair.now, &raw(0x04, 0, 71, b""));
    let (sequence, _) = request(&mut pair.smsc);
    assert!(matches!(pair.smsc.poll_event(), Some(Event::Refused { sequence: 71, .. })));
    let deliver = Pdu::DeliverSm(Sm::default());
    assert_eq!(pair.smsc.request(pair.now, &deliver, 1), Err(RequestError::Closing));
    pair.smsc.take_output();
    pair.smsc.respond(pair.now, sequence, Status::ROK, &id("1")).unwrap();
    assert_eq!(pair.smsc.poll_event(), Some(Event::Unbound));
    let octets = pair.smsc.take_output();
    assert!(octets.ends_with(&raw(0x8000_0006, 0, 70, b"")));
}

#[test]
fn lost_framing_is_answered_and_ends_the_session() {
    let mut pair = Pair::bound(|_| {});
    pair.smsc.handle_bytes(pair.now, b"GET / HTTP/1.1\r\n\r\n");
    assert!(matches!(pair.smsc.poll_event(), Some(Event::FramingLost(_))));
    let nack = sent(&mut pair.smsc).header;
    assert_eq!((nack.command, nack.status), (CommandId::GENERIC_NACK, Status::RINVCMDLEN));
    pair.smsc.handle_bytes(pair.now, &raw(0x15, 0, 1, b""));
    assert_eq!((pair.smsc.poll_event(), pair.smsc.output().len()), (None, 0));
}

#[test]
fn a_query_with_an_error_needs_no_body() {
    let mut pair = Pair::bound(|_| {});
    pair.esme.request(pair.now, &Pdu::QuerySm(QuerySm::default()), 3).unwrap();
    pair.carry_to_smsc();
    let (sequence, pdu) = request(&mut pair.smsc);
    pair.smsc.refuse(pair.now, sequence, pdu.command(), Status::RQUERYFAIL);
    pair.carry_to_esme();
    let event = pair.esme.poll_event().unwrap();
    let Event::Response { token: 3, status: Status::RQUERYFAIL, pdu, .. } = event else {
        panic!("{event:?}")
    };
    assert_eq!(pdu, Pdu::QuerySmResp(QuerySmResp::default()));
}

#[test]
fn sequence_numbers_wrap_below_the_sign_and_skip_what_is_still_out() {
    let mut table = PendingTable::new(1);
    let pair = Pair::open(|_| {});
    let first = table.next_sequence();
    table.insert(first, CommandId::SUBMIT_SM, Kind::Request(1), pair.now);
    for _ in 0..1000 {
        assert_ne!(table.next_sequence() % 32, first % 32, "its place is taken");
    }
    let mut seen = Vec::new();
    table.set_last_sequence(0x7FFF_FFFD);
    for _ in 0..3 {
        seen.push(table.next_sequence());
    }
    assert_eq!(seen, [0x7FFF_FFFE, 0x7FFF_FFFF, 2], "1 is still out");
}

proptest! {
    /// However the stream is cut, each PDU is answered and the next one is found.
    #[test]
    fn any_bodies_in_any_pieces_never_desynchronise(
        pdus in prop::collection::vec(
            (prop_oneof![0u32..0x25, 0x100u32..0x115, any::<u32>()],
             prop::collection::vec(any::<u8>(), 0..60)), 1..20),
        cuts in prop::collection::vec(1usize..50, 1..20),
    ) {
        let mut pair = Pair::bound(|_| {});
        let mut octets: Vec<u8> = Vec::new();
        for (command, body) in &pdus {
            let command = if *command == 0x06 { 0x15 } else { *command };
            octets.extend(raw(command, 0, 5, body));
        }
        octets.extend(raw(0x15, 0, 0x1234_5678, b""));
        let mut rest = &octets[..];
        for cut in cuts.iter().cycle() {
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            pair.smsc.handle_bytes(pair.now, piece);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        let output = pair.smsc.take_output();
        prop_assert!(output.ends_with(&raw(0x8000_0015, 0, 0x1234_5678, b"")));
        let mut framer = Framer::new(65_536);
        framer.extend(&output);
        while let Some(frame) = framer.poll_frame().unwrap() {
            prop_assert!(decode(&frame).is_ok());
        }
    }
}

#[test]
fn who_has_not_bound_says_little_and_nothing_long() {
    let mut pair = Pair::open(|_| {});
    let enquire = [0, 0, 0, 16, 0, 0, 0, 0x15, 0, 0, 0, 0, 0, 0, 0, 1];
    let max = usize::try_from(UNBOUND_PDUS_MAX).unwrap();
    pair.smsc.handle_bytes(pair.now, &enquire.repeat(max));
    assert_eq!(pair.smsc.poll_event(), None);
    pair.smsc.handle_bytes(pair.now, &enquire);
    assert_eq!(pair.smsc.poll_event(), Some(Event::LinkDead(Dead::NotBound)));
    assert_eq!(pair.smsc.take_output().len(), 16 * max);

    let long = [0, 0, 0x10, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut pair = Pair::open(|_| {});
    pair.smsc.handle_bytes(pair.now, &long);
    assert!(matches!(pair.smsc.poll_event(), Some(Event::FramingLost(_))));
    let mut pair = Pair::bound(|_| {});
    pair.smsc.handle_bytes(pair.now, &long);
    pair.smsc.handle_bytes(pair.now, &enquire.repeat(max));
    assert_eq!(pair.smsc.poll_event(), None, "who has bound may");
}

#[test]
fn nothing_is_read_behind_a_bind_and_our_own_wait_is_not_the_peers() {
    let mut pair = Pair::open(|_| {});
    pair.esme.bind(pair.now, Bind::default()).unwrap();
    assert!(pair.smsc.wants_input());
    pair.carry_to_smsc();
    assert!(!pair.smsc.wants_input());
    let (sequence, _) = request(&mut pair.smsc);
    pair.now += SECOND * 60;
    pair.smsc.handle_timeout(pair.now);
    assert_eq!(pair.smsc.poll_event(), None);
    pair.smsc.refuse(pair.now, sequence, BindMode::default().command(), Status::RBINDFAIL);
    assert!(pair.smsc.wants_input());
}
