//! Dialogues with a client session, from the server's mouth, and with our own server.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::server::{Event as ServerEvent, ServerConfig};
use crate::{MailParams, Mailbox, RcptParams, ReversePath, ServerSession};

#[expect(clippy::disallowed_methods, reason = "a session needs some instant to start from")]
fn some_instant() -> Instant {
    Instant::now()
}

fn envelope(recipients: &[&str], body: &str) -> Envelope {
    let mailbox = |text: &&str| (Mailbox::parse(text).unwrap(), RcptParams::default());
    Envelope {
        sender: ReversePath::Mailbox(Mailbox::parse("from@a.example").unwrap()),
        params: MailParams::default(),
        recipients: recipients.iter().map(mailbox).collect(),
        prefix: Bytes::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Ready(_) => "ready".to_owned(),
        Event::StartTls => "starttls".to_owned(),
        Event::Alive => "alive".to_owned(),
        Event::Sent(outcome) => {
            let words = outcome.recipients.iter().map(|recipient| {
                let RecipientOutcome { verdict, stage, reply, local } = recipient;
                format!(
                    "{verdict:?} at {stage:?} {}{}",
                    reply.code,
                    if *local { " (ours)" } else { "" }
                )
            });
            words.collect::<Vec<_>>().join(", ")
        }
        Event::Closed { reason, reply } => format!("closed {reason:?} {}", reply.code),
    }
}

struct Bench {
    session: ClientSession,
    now: Instant,
    envelopes: VecDeque<Envelope>,
    told: Vec<String>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut ClientConfig), envelopes: Vec<Envelope>) -> Self {
        let mut config = ClientConfig::new("gw.example");
        change(&mut config);
        let now = some_instant();
        let session = ClientSession::new(Arc::new(config), now, false);
        Self { session, now, envelopes: envelopes.into(), told: Vec::new() }
    }

    /// Sends what there is to send and returns what the server is told.
    fn run(&mut self) -> String {
        let mut said = Vec::new();
        loop {
            while let Some(event) = self.session.poll_event() {
                self.told.push(told(&event));
                if event == Event::StartTls {
                    self.session.handle_tls_started(self.now);
                }
            }
            if self.session.is_ready()
                && let Some(next) = self.envelopes.pop_front()
            {
                self.session.send(self.now, next).unwrap();
                continue;
            }
            let output = self.session.output(self.now).split();
            said.extend_from_slice(&output);
            if output.is_empty() && (self.envelopes.is_empty() || !self.session.is_ready()) {
                return String::from_utf8(said).unwrap();
            }
        }
    }
}

/// Plays a dialogue: what the server says (`S:`) and all that the client says then (`C:` lines).
#[track_caller]
fn check(
    change: impl FnOnce(&mut ClientConfig),
    envelopes: Vec<Envelope>,
    dialogue: &str,
    expect: &[&str],
) {
    let mut bench = Bench::new(change, envelopes);
    let mut heard = bench.run();
    for line in dialogue.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(said) = line.strip_prefix("S: ") {
            assert_eq!(heard, "", "more was said before {line}");
            bench.session.handle_bytes(bench.now, format!("{said}\r\n").as_bytes());
            heard = bench.run();
        } else if let Some(expect) = line.strip_prefix("C:").map(str::trim_start) {
            let (first, rest) =
                heard.split_once("\r\n").unwrap_or_else(|| panic!("silence for {line}"));
            assert_eq!(first, expect);
            heard = rest.to_owned();
        }
    }
    assert_eq!(heard, "", "more was said than expected");
    assert_eq!(bench.told, expect);
}

#[test]
fn everything_goes_in_one_write_where_pipelining_is_offered() {
    check(
        |_| {},
        vec![envelope(&["a@x", "b@x", "c@x"], ".hi\r\n")],
        "S: 220 mx
         C: EHLO gw.example
         S: 250-mx
         S: 250-SIZE 1000
         S: 250 pipelining
         C: MAIL FROM:<from@a.example> SIZE=5
         C: RCPT TO:<a@x>
         C: RCPT TO:<b@x>
         C: RCPT TO:<c@x>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 550 5.1.1 unknown
         S: 451 4.2.0 later
         S: 354 go
         C: ..hi
         C: .
         S: 250 2.0.0 taken",
        &["ready", "Delivered at Body 250, Failed at Rcpt 550, Deferred at Rcpt 451"],
    );
}

#[test]
fn without_pipelining_it_is_one_by_one() {
    check(
        |_| {},
        vec![envelope(&["a@x", "b@x"], "hi"), envelope(&["a@x"], "hi"), envelope(&["a@x"], "hi")],
        "S: 220 mx
         C: EHLO gw.example
         S: 500 what
         C: HELO gw.example
         S: 250 mx
         C: MAIL FROM:<from@a.example>
         S: 250 ok
         C: RCPT TO:<a@x>
         S: 550 no
         C: RCPT TO:<b@x>
         S: 250 ok
         C: DATA
         S: 354 go
         C: hi
         C: .
         S: 451 later
         C: MAIL FROM:<from@a.example>
         S: 250 ok
         C: RCPT TO:<a@x>
         S: 550 no
         C: RSET
         S: 250 ok
         C: MAIL FROM:<from@a.example>
         S: 421 bye",
        &[
            "ready",
            "Failed at Rcpt 550, Deferred at Body 451",
            "Failed at Rcpt 550",
            "Deferred at Mail 421",
            "closed Refused 421",
        ],
    );
}

const HELLO: &str = "S: 220 mx
    C: EHLO gw.example
    S: 250-mx
    S: 250 PIPELINING
    C: MAIL FROM:<from@a.example>
    C: RCPT TO:<a@x>
    C: DATA\n";

#[track_caller]
fn check_after_hello(dialogue: &str, expect: &[&str]) {
    check(|_| {}, vec![envelope(&["a@x"], "hi")], &format!("{HELLO}{dialogue}"), expect);
}

#[test]
fn pipelined_answers_are_drained_whatever_they_are() {
    check_after_hello("S: 550 no\nS: 503 no\nS: 503 no", &["ready", "Failed at Mail 550"]);
    check_after_hello("S: 250 ok\nS: 550 no\nS: 554 none", &["ready", "Failed at Rcpt 550"]);
    check_after_hello(
        "S: 250 ok\nS: 550 no\nS: 354 go\nC: .\nS: 554 empty",
        &["ready", "Failed at Rcpt 550"],
    );
    check_after_hello("S: 250 ok\nS: 250 ok\nS: 451 no", &["ready", "Deferred at Data 451"]);
    check_after_hello("S: 250 ok\nS: 250 ok\nS: 250 what", &["ready", "Deferred at Data 250"]);
    check_after_hello(
        "S: 250 ok\nS: 421 bye",
        &["ready", "Deferred at Rcpt 421", "closed Refused 421"],
    );
    check_after_hello(
        "S: 250 ok\nS: this is not SMTP",
        &["ready", "Deferred at Rcpt 451 (ours)", "closed Violation 451"],
    );
}

#[test]
fn silence_after_the_end_is_unknown_and_before_it_deferred() {
    for (answers, expect) in [
        ("250 ok\r\n", "Deferred at Rcpt 451 (ours)"),
        ("250 ok\r\n250 ok\r\n", "Deferred at Data 451 (ours)"),
        ("250 ok\r\n250 ok\r\n354 go\r\n", "Unknown at Body 451 (ours)"),
    ] {
        for by_time in [false, true] {
            let mut bench = Bench::new(|_| {}, vec![envelope(&["a@x"], "hi")]);
            bench.session.handle_bytes(bench.now, b"220 mx\r\n");
            bench.session.handle_bytes(bench.now, b"250-mx\r\n250 PIPELINING\r\n");
            bench.run();
            bench.session.handle_bytes(bench.now, answers.as_bytes());
            bench.run();
            if by_time {
                bench.session.handle_timeout(bench.now + Duration::from_secs(119));
                assert!(!bench.session.is_closed());
                bench.session.handle_timeout(bench.now + Duration::from_mins(10));
            } else {
                bench.session.handle_eof();
            }
            bench.run();
            assert_eq!(bench.told[1], expect);
            assert!(bench.told[2].starts_with("closed "), "{:?}", bench.told);
        }
    }
}

#[test]
fn a_break_in_the_middle_of_a_message_is_deferred() {
    let mut bench = Bench::new(|_| {}, vec![envelope(&["a@x"], &"x\r\n".repeat(100_000))]);
    bench.session.handle_bytes(bench.now, b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n");
    bench.run();
    bench.session.handle_bytes(bench.now, b"250 ok\r\n250 ok\r\n354 go\r\n");
    let first = bench.session.output(bench.now).split();
    assert!(first.len() < 100_000, "a block of {} octets", first.len());
    bench.session.handle_bytes(bench.now, b"452 4.3.1 disk full\r\n");
    assert_eq!(bench.run(), "");
    assert_eq!(bench.told, ["ready", "Deferred at Body 452", "closed Violation 452"]);
}

#[test]
fn starttls_follows_the_policy() {
    let offer = "S: 220 mx\nC: EHLO gw.example\nS: 250-mx\nS: 250 STARTTLS\n";
    let policy = |tls| move |config: &mut ClientConfig| config.tls = tls;
    let run = |tls, rest: &str, expect: &[&str]| {
        check(policy(tls), vec![], &format!("{offer}{rest}"), expect);
    };
    run(TlsPolicy::None, "", &["ready"]);
    let secured = "C: STARTTLS\nS: 220 go\nC: EHLO gw.example\nS: 250 mx";
    run(TlsPolicy::Opportunistic, secured, &["starttls", "ready"]);
    run(TlsPolicy::Required, secured, &["starttls", "ready"]);
    run(TlsPolicy::Opportunistic, "C: STARTTLS\nS: 454 no", &["ready"]);
    run(TlsPolicy::Required, "C: STARTTLS\nS: 454 no", &["closed Refused 454"]);
    let plain = "S: 220 mx\nC: EHLO gw.example\nS: 250 mx";
    check(policy(TlsPolicy::Required), vec![], plain, &["closed NoTls 451"]);
    check(policy(TlsPolicy::Opportunistic), vec![], plain, &["ready"]);
}

#[test]
fn answers_said_before_tls_do_not_count() {
    let mut bench = Bench::new(|config| config.tls = TlsPolicy::Required, vec![]);
    bench.session.handle_bytes(bench.now, b"220 mx\r\n");
    bench.session.handle_bytes(bench.now, b"250-mx\r\n250 STARTTLS\r\n");
    bench.session.handle_bytes(bench.now, b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n");
    bench.run();
    assert_eq!(bench.told, ["starttls"]);
}

#[test]
fn credentials_go_over_tls_only_unless_allowed() {
    let credentials = || Some(Credentials { user: "u".to_owned(), password: "p".to_owned() });
    let hello = "S: 220 mx\nC: EHLO gw.example\nS: 250-mx\n";
    check(
        |config| config.credentials = credentials(),
        vec![],
        &format!("{hello}S: 250 AUTH PLAIN"),
        &["closed NoAuth 451"],
    );
    let clear = |config: &mut ClientConfig| {
        config.credentials = credentials();
        config.auth_in_clear = true;
    };
    check(
        clear,
        vec![],
        &format!("{hello}S: 250 AUTH LOGIN PLAIN\nC: AUTH PLAIN AHUAcA==\nS: 235 ok"),
        &["ready"],
    );
    check(
        clear,
        vec![],
        &format!(
            "{hello}S: 250 AUTH=LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcg==\nC: dQ==\nS: 334 x\nC: cA==\nS: 535 no"
        ),
        &["closed Refused 535"],
    );
}

#[test]
fn what_the_server_lacks_is_refused_here() {
    let hello = "S: 220 mx\nC: EHLO gw.example\nS: 250-mx\nS: 250 SIZE 4\n";
    check(
        |_| {},
        vec![envelope(&["a@x"], "12345")],
        hello,
        &["ready", "Failed at Offer 552 (ours)"],
    );
    check(
        |_| {},
        vec![envelope(&["ü@x", "a@x"], "1")],
        &format!("{hello}C: MAIL FROM:<from@a.example> SIZE=1\nS: 451 x"),
        &["ready", "Failed at Offer 553 (ours), Deferred at Mail 451"],
    );
}

#[test]
fn wishes_for_reports_go_where_dsn_is_offered() {
    let mut wanted = envelope(&["a@x"], "ü");
    wanted.params.ret = Some(crate::Ret::Headers);
    wanted.params.envid = crate::Xtext::encode("a b");
    wanted.recipients[0].1.notify = Some(crate::Notify::NEVER);
    wanted.recipients[0].1.orcpt = crate::OriginalRecipient::parse("rfc822;b@y");
    check(
        |_| {},
        vec![wanted],
        "S: 220 mx
         C: EHLO gw.example
         S: 250-mx
         S: 250-PIPELINING
         S: 250-8BITMIME
         S: 250 DSN
         C: MAIL FROM:<from@a.example> BODY=8BITMIME RET=HDRS ENVID=a+20b
         C: RCPT TO:<a@x> NOTIFY=NEVER ORCPT=rfc822;b@y
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 354 go
         C: ü
         C: .
         S: 250 ok",
        &["ready", "Delivered at Body 250"],
    );
}

#[test]
fn a_session_ends_after_its_share_of_messages() {
    let mut bench = Bench::new(|config| config.messages_max = 1, vec![envelope(&["a@x"], "x")]);
    bench.session.handle_bytes(bench.now, b"220 mx\r\n");
    bench.session.handle_bytes(bench.now, b"250-mx\r\n250 PIPELINING\r\n");
    bench.run();
    bench.session.handle_bytes(bench.now, b"250 ok\r\n250 ok\r\n354 go\r\n");
    bench.run();
    bench.session.handle_bytes(bench.now, b"250 ok\r\n");
    bench.run();
    assert!(!bench.session.is_ready());
    bench.session.quit(bench.now);
    assert_eq!(bench.run(), "QUIT\r\n");
    bench.session.handle_bytes(bench.now, b"221 bye\r\n");
    bench.run();
    assert_eq!(bench.told.last().unwrap(), "closed Quit 221");
}

#[test]
fn a_probe_finds_out_whether_the_server_is_there() {
    let mut bench = Bench::new(|_| {}, vec![]);
    bench.session.handle_bytes(bench.now, b"220 mx\r\n");
    bench.session.handle_bytes(bench.now, b"250 mx\r\n");
    bench.session.probe(bench.now);
    bench.session.handle_bytes(bench.now, b"250 ok\r\n");
    bench.run();
    bench.session.handle_bytes(bench.now, b"421 idle too long\r\n");
    bench.run();
    assert_eq!(bench.told, ["ready", "alive", "closed Refused 421"]);
}

/// Carries messages from a client session to a server session, in pieces of `octets`.
fn carry(pipelining: bool, octets: usize, bodies: &[&str]) -> Vec<Bytes> {
    let now = some_instant();
    let envelopes = bodies.iter().map(|body| envelope(&["a@x", "b@x"], body)).collect();
    let mut client = Bench::new(|config| config.pipelining = pipelining, envelopes);
    let mut server = ServerSession::new(Arc::new(ServerConfig::new("mx")), now, false);
    server.greet(now);
    let mut taken = Vec::new();
    for _ in 0..100_000 {
        let said = client.run();
        for piece in said.as_bytes().chunks(octets) {
            server.handle_bytes(now, piece);
            while let Some(event) = server.poll_event(now) {
                if let ServerEvent::Message { body } = event {
                    taken.push(body);
                }
                server.reply(now, &Reply::new(250, (2, 0, 0), "ok"));
            }
        }
        let answered = server.output().split();
        for piece in answered.chunks(octets) {
            client.session.handle_bytes(now, piece);
        }
        if said.is_empty() && answered.is_empty() {
            break;
        }
    }
    let delivered = client.told.iter().filter(|event| event.starts_with("Delivered")).count();
    assert_eq!(delivered, bodies.len(), "{:?}", client.told);
    taken
}

proptest! {
    #[test]
    fn our_client_and_our_server_understand_each_other(
        bodies in prop::collection::vec("([.a-c]{0,3}\r\n){0,6}", 1..4),
        octets in 1_usize..200,
        pipelining: bool,
    ) {
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        let taken = carry(pipelining, octets, &bodies);
        prop_assert_eq!(taken, bodies);
    }

    #[test]
    fn any_answer_is_survived(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20),
                prop::sample::select(vec![
                    &b"220 mx\r\n"[..], b"250 ok\r\n", b"250-mx\r\n250 PIPELINING\r\n", b"354 go\r\n",
                    b"451 no\r\n", b"550 no\r\n", b"421 bye\r\n",
                ]).prop_map(<[u8]>::to_vec),
            ], 0..30),
    ) {
        let mut bench = Bench::new(|_| {}, vec![envelope(&["a@x", "b@x"], "hi"), envelope(&["c@x"], "ho")]);
        for piece in pieces {
            bench.session.handle_bytes(bench.now, &piece);
            bench.run();
        }
        bench.session.handle_eof();
        bench.run();
        prop_assert!(bench.told.last().unwrap().starts_with("closed"));
    }
}
