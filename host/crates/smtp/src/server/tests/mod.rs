//! Dialogues with a server session: what the peer says, what it is told.

mod chunks;
mod waits;

use proptest::prelude::*;

use super::*;

/// A session with a driver that accepts everything but what its test refuses.
struct Bench {
    session: ServerSession,
    now: Instant,
    refused_address: &'static str,
    message_reply: Reply,
    told: Vec<String>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::new("gw.example");
        change(&mut config);
        let now = Instant::now_for_tests();
        let mut session = ServerSession::new(Arc::new(config), now, false);
        session.greet(now);
        let message_reply = Reply::new(250, (2, 0, 0), "queued");
        Self { session, now, refused_address: "bad@x", message_reply, told: Vec::new() }
    }

    /// Answers what there is to answer and returns what the peer is told.
    fn run(&mut self) -> String {
        while let Some(event) = self.session.poll_event(self.now) {
            let ok = Reply::new(250, (2, 1, 0), "ok");
            let reply = match &event {
                Event::Mail { sender, .. } if sender.as_str() == self.refused_address => {
                    Some(Reply::new(550, (5, 1, 8), "not you"))
                }
                Event::Rcpt { recipient, .. } if recipient.as_str() == self.refused_address => {
                    Some(Reply::new(550, (5, 1, 1), "unknown"))
                }
                Event::Mail { .. } | Event::Rcpt { .. } | Event::Data => Some(ok),
                Event::Message { .. } => Some(self.message_reply.clone()),
                Event::Auth(credentials) if credentials.password == "right" => {
                    Some(Reply::new(235, (2, 7, 0), "welcome"))
                }
                Event::Auth(_) => Some(Reply::new(535, (5, 7, 8), "no")),
                _ => None,
            };
            self.told.push(match event {
                Event::Message { body } => format!("message {:?}", String::from_utf8_lossy(&body)),
                Event::Mail { sender, .. } => format!("mail <{}>", sender.as_str()),
                Event::Rcpt { recipient, .. } => format!("rcpt <{recipient}>"),
                Event::Hello { name, .. } => format!("hello {name}"),
                Event::Closed(reason) => format!("closed {reason:?}"),
                other => format!("{other:?}").to_lowercase(),
            });
            if let Some(reply) = reply {
                self.session.reply(self.now, &reply);
            }
        }
        let output = self.session.output().split();
        String::from_utf8(output.to_vec()).unwrap()
    }

    fn say(&mut self, text: &[u8]) -> String {
        self.session.handle_bytes(self.now, text);
        self.run()
    }
}

trait InstantForTests {
    fn now_for_tests() -> Self;
}

impl InstantForTests for Instant {
    #[expect(clippy::disallowed_methods, reason = "a session needs some instant to start from")]
    fn now_for_tests() -> Self {
        Self::now()
    }
}

/// Plays a dialogue. `C: ` lines are said, with CRLF; `S: ` lines are what must come back, `|`
/// standing for a line end within one answer; `...` ends the comparison of a line.
#[track_caller]
fn check(change: impl FnOnce(&mut ServerConfig), dialogue: &str) -> Vec<String> {
    let mut bench = Bench::new(change);
    let mut heard = bench.run();
    for line in dialogue.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(said) = line.strip_prefix("C:").map(str::trim_start) {
            heard.push_str(&bench.say(format!("{said}\r\n").as_bytes()));
        } else if let Some(expect) = line.strip_prefix("S: ") {
            let (first, rest) =
                heard.split_once("\r\n").unwrap_or_else(|| panic!("silence before {line}"));
            match expect.strip_suffix("...") {
                Some(start) => assert!(first.starts_with(start), "got {first}\nfor {expect}"),
                None => assert_eq!(first.trim_end(), expect),
            }
            heard = rest.to_owned();
        } else {
            panic!("neither C: nor S: in {line}");
        }
    }
    assert_eq!(heard, "", "more was said than expected");
    bench.told
}

#[test]
fn a_message_is_taken() {
    let told = check(
        |_| {},
        "S: 220 gw.example ESMTP
         C: EHLO client.example
         S: 250-gw.example
         S: 250-PIPELINING
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-DSN
         S: 250-CHUNKING
         S: 250-ENHANCEDSTATUSCODES
         S: 250 SIZE 26214400
         C: MAIL FROM:<a@b.example> SIZE=100 BODY=8BITMIME
         S: 250 2.1.0 ok
         C: RCPT TO:<bad@x>
         S: 550 5.1.1 unknown
         C: RCPT TO:<+15551234567> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y
         S: 250 2.1.0 ok
         C: DATA
         S: 354 end data with <CR><LF>.<CR><LF>
         C: Subject: x
         C:
         C: ..dot
         C: .
         S: 250 2.0.0 queued
         C: QUIT
         S: 221 2.0.0 bye",
    );
    assert_eq!(
        told,
        [
            "hello client.example",
            "mail <a@b.example>",
            "rcpt <bad@x>",
            "rcpt <+15551234567>",
            "data",
            "message \"Subject: x\\r\\n\\r\\n.dot\\r\\n\"",
            "closed Quit"
        ]
    );
}

#[test]
fn commands_out_of_order_are_refused_and_change_nothing() {
    check(
        |config| config.limits.tarpit_delay = Duration::ZERO,
        "S: 220 gw...
         C: MAIL FROM:<a@b>
         S: 503 5.5.1 say EHLO or HELO first
         C: HELO c
         S: 250 gw.example
         C: RCPT TO:<a@b>
         S: 503 5.5.1 say MAIL first
         C: DATA
         S: 503 5.5.1 say MAIL first
         C: MAIL FROM:<a@b> SIZE=1
         S: 555 5.5.4...
         C: MAIL FROM:<>
         S: 250 2.1.0 ok
         C: MAIL FROM:<>
         S: 503 5.5.1 a transaction is open already
         C: DATA
         S: 503 5.5.1 say RCPT first
         C: RCPT TO:<bad@x>
         S: 550 5.1.1 unknown
         C: DATA
         S: 554 5.5.1 no recipient was accepted
         C: RSET
         S: 250 2.0.0 ok
         C: VRFY a
         S: 252 2.0.0...
         C: EXPN a
         S: 502 5.5.1...
         C: NOOP x
         S: 250 2.0.0 ok
         C: HELP
         S: 214 2.0.0...
         C: STARTTLS
         S: 502 5.5.1...
         C: FROB
         S: 500 5.5.2 command unknown
         C: MAIL FROM:<a@b c>
         S: 501 5.1.7 bad sender address: not a mailbox
         C: RCPT TO:<>
         S: 501 5.1.3 bad recipient address: not a mailbox
         C: MAIL TO:<a@b>
         S: 501 5.5.4 syntax: MAIL FROM:<sender> [parameters]
         C: MAIL FROM:<a@b> X=1
         S: 555 5.5.4 parameter not supported",
    );
}

#[test]
fn addresses_in_utf8_need_smtputf8() {
    check(
        |_| {},
        "S: 220 gw...
         C: EHLO c
         S: 250-gw...
         S: 250-P...
         S: 250-8...
         S: 250-SMTPUTF8
         S: 250-D...
         S: 250-C...
         S: 250-E...
         S: 250 S...
         C: MAIL FROM:<ü@x>
         S: 553 5.6.7...
         C: MAIL FROM:<a@x>
         S: 250 2.1.0 ok
         C: RCPT TO:<ü@x>
         S: 553 5.6.7...
         C: RSET
         S: 250 2.0.0 ok
         C: MAIL FROM:<ü@x> SMTPUTF8
         S: 250 2.1.0 ok
         C: RCPT TO:<ü@x>
         S: 250 2.1.0 ok",
    );
}

#[test]
fn limits_are_answered_with_their_codes() {
    let told = check(
        |config| {
            config.limits.message_bytes_max = 10;
            config.limits.recipients_max = 1;
            config.limits.line_octets_max = 40;
        },
        "S: 220 gw...
         C: HELO c
         S: 250 gw.example
         C: MAIL FROM:<a@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa>
         S: 500 5.5.2 command line too long
         C: MAIL FROM:<a@b>
         S: 250 2.1.0 ok
         C: RCPT TO:<a@b>
         S: 250 2.1.0 ok
         C: RCPT TO:<b@b>
         S: 452 4.5.3...
         C: DATA
         S: 354 e...
         C: 123456789
         C: .
         S: 552 5.3.4 message too large
         C: RSET
         S: 250 2.0.0 ok",
    );
    assert_eq!(told, ["hello c", "mail <a@b>", "rcpt <a@b>", "data", "reset"]);
    check(
        |config| config.limits.message_bytes_max = 10,
        "S: 220 gw...
         C: EHLO c
         S: 250-gw...
         S: 250-P...
         S: 250-8...
         S: 250-SMTPUTF8
         S: 250-D...
         S: 250-C...
         S: 250-E...
         S: 250 SIZE 10
         C: MAIL FROM:<a@b> SIZE=99999999999999999999999999
         S: 552 5.3.4 message too large",
    );
}

#[test]
fn commands_that_lead_nowhere_end() {
    let mut bench = Bench::new(|config| config.limits.idle_commands_max = 3);
    bench.run();
    let heard = bench.say(b"NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n");
    assert!(heard.ends_with("ok\r\n421 4.7.0 too many commands without a message\r\n"), "{heard}");
}

#[test]
fn a_prefix_stands_before_the_next_message_only() {
    let mut bench = Bench::new(|config| config.limits.message_bytes_max = 6);
    bench.run();
    bench.session.set_prefix(b"Received: x\r\n".to_vec());
    bench.say(OPENING);
    bench.say(b"abcd\r\n.\r\n");
    assert_eq!(bench.told.last().unwrap(), "message \"Received: x\\r\\nabcd\\r\\n\"");
    bench.say(OPENING);
    bench.say(b"abcd\r\n.\r\n");
    assert_eq!(bench.told.last().unwrap(), "message \"abcd\\r\\n\"");
}

#[test]
fn a_connection_ends_after_its_share_of_messages() {
    let mut bench = Bench::new(|config| config.limits.messages_max = 1);
    bench.run();
    bench.say(OPENING);
    let heard = bench.say(b".\r\nMAIL FROM:<a@b>\r\n");
    assert!(heard.starts_with("250 2.0.0 queued\r\n421 4.7.0 enough"), "{heard}");
}

const OPENING: &[u8] = b"HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";

#[track_caller]
fn check_smuggling(data: &str, expect: &str) {
    let mut bench = Bench::new(|_| {});
    bench.run();
    bench.say(OPENING);
    let heard = bench.say(data.as_bytes());
    assert!(heard.starts_with(expect), "{data:?} gave {heard:?}");
    assert_eq!(bench.told.iter().filter(|event| event.starts_with("mail")).count(), 1, "{data:?}");
}

#[test]
fn no_second_message_can_hide_in_a_first_one() {
    let inner = "MAIL FROM:<evil@x>\r\nRCPT TO:<v@x>\r\nDATA\r\nfake";
    for end in
        ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r\r\n", "\r.\r", "\r\n.\r", "\n\n.\r\n"]
    {
        check_smuggling(&format!("x{end}{inner}\r\n.\r\n"), "550 5.6.11 ");
    }
    // Whoever drops a NUL reads the end of a message here.
    for end in ["\r\n\0.\r\n", "\r\n.\0\r\n", "\r\0\n.\r\n", "\0"] {
        check_smuggling(&format!("x{end}{inner}\r\n.\r\n"), "550 5.6.11 ");
    }
    check_smuggling("x\r\n..\r\nMAIL FROM:<evil@x>\r\n.\r\n", "250 2.0.0 queued");
}

#[test]
fn bare_newlines_in_commands_are_refused_unless_asked_for() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    let heard = bench.say(b"HELO c\nHELO c\rHELO d\r\nHELO c\r\n");
    assert!(heard.starts_with("500 5.5.2 commands must end in"), "{heard}");
    assert_eq!(bench.told, ["hello c"]);
    let mut bench = Bench::new(|config| config.bare_newline = BareNewline::Normalize);
    bench.run();
    bench.say(b"HELO c\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nx\ny\n.\n\r\n.\r\n");
    assert_eq!(bench.told.last().unwrap(), "message \"x\\r\\ny\\r\\n.\\r\\n\\r\\n\"");
    bench.say(b"MAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nx\r\n\0.\r\n.\0\r\n.\r\n");
    assert_eq!(bench.told.last().unwrap(), "message \"x\\r\\n?.\\r\\n?\\r\\n\"");
}

#[test]
fn starttls_forgets_everything_said_before() {
    let mut bench = Bench::new(|config| config.extensions.starttls = StartTls::Required);
    bench.run();
    assert!(bench.say(b"EHLO c\r\n").contains("250-STARTTLS\r\n"));
    assert_eq!(bench.say(b"MAIL FROM:<a@b>\r\n"), "530 5.7.0 say STARTTLS first\r\n");
    assert_eq!(bench.say(b"STARTTLS\r\n"), "220 2.0.0 go ahead\r\n");
    assert!(!bench.session.wants_input());
    bench.session.handle_tls_started(bench.now);
    assert_eq!(bench.say(b"MAIL FROM:<a@b>\r\n"), "503 5.5.1 say EHLO or HELO first\r\n");
    assert!(!bench.say(b"EHLO c\r\n").contains("STARTTLS"));
    assert_eq!(bench.say(b"STARTTLS\r\n"), "503 5.5.1 TLS is on already\r\n");
    assert_eq!(bench.say(b"MAIL FROM:<a@b>\r\n"), "250 2.1.0 ok\r\n");
}

#[test]
fn nothing_may_follow_starttls_in_the_clear() {
    let mut bench = Bench::new(|config| config.extensions.starttls = StartTls::Offered);
    bench.run();
    bench.say(b"EHLO c\r\n");
    let heard = bench.say(b"STARTTLS\r\nMAIL FROM:<evil@x>\r\n");
    assert!(heard.starts_with("554 5.5.0 "), "{heard}");
    assert_eq!(bench.told, ["hello c", "closed Violation"]);
}

#[test]
fn auth_plain_and_login() {
    let told = check(
        |config| config.extensions.auth = Auth::Always,
        "S: 220 gw...
         C: AUTH PLAIN AHUAcmlnaHQ=
         S: 503 5.5.1 say EHLO or HELO first
         C: EHLO c
         S: 250-gw...
         S: 250-P...
         S: 250-8...
         S: 250-SMTPUTF8
         S: 250-D...
         S: 250-C...
         S: 250-E...
         S: 250-AUTH PLAIN LOGIN
         S: 250 S...
         C: AUTH CRAM-MD5
         S: 504 5.5.4...
         C: AUTH PLAIN =
         S: 501 5.5.2...
         C: AUTH PLAIN
         S: 334
         C: *
         S: 501 5.7.0 AUTH cancelled
         C: AUTH PLAIN
         S: 334
         C: AHUAd3Jvbmc=
         S: 535 5.7.8 no
         C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: dQ==
         S: 334 UGFzc3dvcmQ6
         C: cmlnaHQ=
         S: 235 2.7.0 welcome
         C: AUTH PLAIN AHUAcmlnaHQ=
         S: 503 5.5.1 authenticated already
         C: MAIL FROM:<a@b> AUTH=<>
         S: 250 2.1.0 ok",
    );
    assert!(!format!("{told:?}").contains("right"), "a password in {told:?}");
    check(
        |config| config.extensions.auth = Auth::OverTls,
        "S: 220 gw...
         C: AUTH PLAIN AHUAcmlnaHQ=
         S: 538 5.7.11 AUTH is offered over TLS only",
    );
}

#[test]
fn browsers_are_sent_away() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    bench.say(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n");
    assert_eq!(bench.told, ["closed Violation"]);
}

#[test]
fn an_early_talker_is_refused_when_configured() {
    let config = ServerConfig { refuse_early_talkers: true, ..ServerConfig::new("gw") };
    let now = Instant::now_for_tests();
    let mut session = ServerSession::new(Arc::new(config), now, false);
    session.handle_bytes(now, b"EHLO x\r\n");
    session.greet(now);
    assert_eq!(&session.output()[..], b"554 5.5.0 wait for the greeting\r\n");
    assert_eq!(session.poll_event(now), Some(Event::Closed(CloseReason::Violation)));
}

#[test]
fn a_shutdown_lets_a_message_in_flight_finish() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    bench.say(OPENING);
    bench.session.handle_shutdown();
    assert_eq!(bench.run(), "");
    let heard = bench.say(b"x\r\n.\r\nNOOP\r\n");
    assert_eq!(heard, "250 2.0.0 queued\r\n421 4.3.2 shutting down, try again\r\n");
    let mut idle = Bench::new(|_| {});
    idle.run();
    idle.session.handle_shutdown();
    assert_eq!(idle.run(), "421 4.3.2 shutting down, try again\r\n");
}

#[test]
fn a_refused_message_ends_its_transaction_only() {
    let mut bench = Bench::new(|_| {});
    bench.message_reply = Reply::new(451, (4, 3, 0), "spool full");
    bench.run();
    bench.say(OPENING);
    assert_eq!(bench.say(b"x\r\n.\r\n"), "451 4.3.0 spool full\r\n");
    assert_eq!(bench.say(b"MAIL FROM:<a@b>\r\n"), "250 2.1.0 ok\r\n");
    bench.message_reply = Reply::new(421, (4, 3, 0), "going");
    bench.say(b"RCPT TO:<a@b>\r\nDATA\r\n");
    assert_eq!(bench.say(b".\r\n"), "421 4.3.0 going\r\n");
    assert_eq!(bench.told.last().unwrap(), "closed Refused");
}

#[test]
fn a_peer_that_closes_is_still_answered_for_what_it_sent() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    bench.session.handle_bytes(bench.now, b"NOOP\r\nNOO");
    bench.session.handle_eof();
    assert_eq!(bench.run(), "250 2.0.0 ok\r\n");
    assert_eq!(bench.told, ["closed PeerGone"]);
}

#[test]
fn a_peer_that_trickles_runs_out_of_time() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    let greeting = bench.session.poll_timeout().unwrap();
    bench.now += Duration::from_secs(59);
    bench.say(b"HEL");
    assert_eq!(bench.session.poll_timeout(), Some(greeting));
    bench.now = greeting;
    bench.session.handle_timeout(bench.now);
    assert_eq!(bench.run(), "421 4.4.2 timed out\r\n");

    let mut slow = Bench::new(|_| {});
    slow.run();
    slow.say(OPENING);
    let mut ended = false;
    for _ in 0..1000 {
        slow.now += Duration::from_secs(2);
        slow.session.handle_timeout(slow.now);
        if slow.say(b"0123456789").starts_with("421 4.4.2 message comes too slowly") {
            ended = true;
            break;
        }
    }
    assert!(ended);
}

#[test]
fn the_hosts_time_is_not_the_peers() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    bench.session.handle_bytes(bench.now, b"HELO c\r\nMAIL FROM:<a@b>\r\nNOOP\r\n");
    assert!(matches!(bench.session.poll_event(bench.now), Some(Event::Hello { .. })));
    assert!(matches!(bench.session.poll_event(bench.now), Some(Event::Mail { .. })));
    assert_eq!(bench.session.poll_event(bench.now), None);
    assert_eq!(bench.session.poll_timeout(), None);
    bench.session.handle_timeout(bench.now + Duration::from_hours(1));
    bench.session.reply(bench.now, &Reply::new(250, (2, 1, 0), "ok"));
    assert!(bench.run().ends_with("250 2.1.0 ok\r\n250 2.0.0 ok\r\n"));
}

#[test]
fn reading_ahead_has_a_bound() {
    let mut bench = Bench::new(|config| config.limits.buffered_octets_max = 100);
    bench.run();
    bench.session.handle_bytes(bench.now, b"HELO c\r\nMAIL FROM:<a@b>\r\n");
    while bench.session.poll_event(bench.now).is_some() {}
    bench.session.handle_bytes(bench.now, &[b'x'; 100]);
    assert!(!bench.session.wants_input());
}

proptest! {
    #[test]
    fn any_octets_in_any_pieces_are_survived(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..30),
                prop::sample::select(vec![
                    &b"EHLO c\r\n"[..], b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n",
                    b".\r\n", b"\r\n.\r\n", b"RSET\r\n", b"BDAT 4\r\nQUIT", b"BDAT 2 LAST\r\n", b"QUIT\r\n", b"\r", b"\n", b"STARTTLS\r\n",
                ]).prop_map(<[u8]>::to_vec),
            ], 0..30),
        chunk_octets in 1_usize..64,
    ) {
        let input = pieces.concat();
        let mut whole = Bench::new(|_| {});
        let mut heard_whole = whole.say(&input);
        whole.session.handle_eof();
        heard_whole.push_str(&whole.run());
        let mut chunked = Bench::new(|_| {});
        let mut heard_chunked = chunked.run();
        for chunk in input.chunks(chunk_octets) {
            heard_chunked.push_str(&chunked.say(chunk));
        }
        chunked.session.handle_eof();
        heard_chunked.push_str(&chunked.run());
        prop_assert_eq!(whole.told, chunked.told);
        prop_assert_eq!(heard_whole, heard_chunked);
    }
}
