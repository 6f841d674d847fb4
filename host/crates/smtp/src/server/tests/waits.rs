//! Answers that are held back: by the tarpit, or by a driver.

use super::*;

#[test]
fn a_peer_that_collects_refusals_is_slowed_down_and_sent_away() {
    let mut bench = Bench::new(|config| {
        config.limits.errors_before_tarpit = 2;
        config.limits.errors_max = 4;
    });
    bench.run();
    let unknown = "500 5.5.2 command unknown\r\n";
    assert_eq!(bench.say(b"FROB\r\nFROB\r\n"), [unknown, unknown].concat());
    assert_eq!(bench.say(b"FROB\r\n"), "");
    bench.now += Duration::from_secs(1);
    bench.session.handle_timeout(bench.now);
    assert_eq!(bench.run(), unknown);
    let heard = bench.say(b"FROB\r\nNOOP\r\n");
    assert_eq!(heard, "500 5.5.2 command unknown\r\n421 4.7.0 too many errors\r\n");
    assert_eq!(bench.told, ["closed TooManyErrors"]);
}

#[test]
fn pipelined_commands_wait_for_each_late_answer() {
    let mut bench = Bench::new(|config| config.limits.errors_before_tarpit = 1);
    bench.run();
    let unknown = "500 5.5.2 command unknown\r\n";
    assert_eq!(bench.say(&b"FROB\r\n".repeat(4)), unknown);
    bench.session.handle_eof();
    for _ in 0..3 {
        assert_eq!(bench.run(), "");
        assert!(!bench.session.wants_input(), "who has closed says nothing more");
        let due = bench.session.poll_timeout().unwrap();
        assert_eq!(due, bench.now + Duration::from_secs(1));
        bench.session.handle_timeout(bench.now);
        assert_eq!(bench.run(), "", "too early");
        bench.now = due;
        bench.session.handle_timeout(bench.now);
        assert_eq!(bench.session.output().split(), unknown.as_bytes());
    }
    assert_eq!(bench.run(), "");
    assert_eq!(bench.told, ["closed PeerGone"]);
}

#[test]
fn an_answer_that_the_driver_withholds_keeps_back_what_is_behind_it() {
    let mut bench = Bench::new(|config| config.extensions.auth = Auth::Always);
    bench.run();
    bench.say(b"EHLO c\r\n");
    bench.session.handle_bytes(bench.now, b"AUTH PLAIN AHUAcA==\r\nNOOP\r\n");
    assert!(matches!(bench.session.poll_event(bench.now), Some(Event::Auth(_))));
    let no = Reply::new(535, (5, 7, 8), "no");
    bench.session.reply_after(bench.now, Duration::from_secs(3), &no);
    assert_eq!(bench.run(), "");
    bench.now += Duration::from_secs(3);
    bench.session.handle_timeout(bench.now);
    assert_eq!(bench.run(), "535 5.7.8 no\r\n250 2.0.0 ok\r\n");
    bench.session.handle_bytes(bench.now, b"AUTH PLAIN AHUAcA==\r\n");
    assert!(matches!(bench.session.poll_event(bench.now), Some(Event::Auth(_))));
    bench.session.reply_after(bench.now, Duration::from_secs(3), &no);
    bench.session.handle_shutdown();
    assert!(bench.run().starts_with("421 "), "the end does not wait for it");
}

#[test]
fn who_is_to_hurry_has_seconds_since_he_was_heard_last() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    bench.say(b"EHLO c\r\n");
    let usual = bench.session.poll_timeout().unwrap();
    let hurried = bench.now + Duration::from_secs(10);
    bench.session.hurry(Some(Duration::from_secs(10)));
    assert_eq!(bench.session.poll_timeout(), Some(hurried));
    bench.session.hurry(None);
    assert_eq!(bench.session.poll_timeout(), Some(usual));
    bench.session.hurry(Some(Duration::from_secs(10)));
    bench.now += Duration::from_secs(9);
    bench.say(OPENING);
    let hurried = bench.now + Duration::from_secs(10);
    assert_eq!(bench.session.poll_timeout(), Some(hurried), "in a message too");
    bench.now = hurried;
    bench.session.handle_timeout(bench.now);
    assert!(bench.run().starts_with("421 4.4.2 timed out"));
}

#[test]
fn who_is_to_hurry_has_few_commands_that_lead_nowhere() {
    let mut bench = Bench::new(|_| {});
    bench.run();
    bench.session.hurry(Some(Duration::from_secs(10)));
    let heard = bench.say(&b"NOOP\r\n".repeat(21));
    assert!(heard.ends_with("ok\r\n421 4.7.0 too many commands without a message\r\n"), "{heard}");
}
