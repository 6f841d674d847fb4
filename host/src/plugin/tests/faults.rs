//! A plugin that misbehaves harms nobody but its own call.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::{World, config, judge, load, note_of, sms, try_load};
use crate::plugin::{Fault, Verdict};

#[tokio::test]
async fn a_panic_is_told_with_file_and_line_and_leaves_nothing() {
    let world = World::new();
    let plugin = load("trap", "{}", &world).await;
    let message = sms("this is a trap");
    let Err(Fault::Trap { reason, backtrace }) = judge(&plugin, &message, &world).await else {
        panic!("no trap")
    };
    assert!(reason.contains("trap/src/lib.rs:11") && reason.contains("asked to"), "{reason}");
    assert!(
        backtrace.contains("<trap::Filter as wirepost_sdk::plugin::Plugin>::process"),
        "{backtrace}"
    );
    assert!(world.lines().iter().any(|line| line.starts_with("error panicked at")));
    assert!(message.meta.is_empty());
    // The next one gets a new instance.
    let made = plugin.instances_made();
    let judgement = judge(&plugin, &sms("hello"), &world).await.unwrap();
    assert_eq!(note_of(&judgement, "trap").as_deref(), Some("passed"));
    assert_eq!(plugin.instances_made(), made + 1);
}

#[tokio::test]
async fn what_a_plugin_says_is_cut_and_in_one_line() {
    let world = World::new();
    let liar = load("liar", "{}", &world).await;
    let fault = judge(&liar, &sms("long-error"), &world).await.unwrap_err();
    let Fault::Error(text) = &fault else { panic!("{fault}") };
    assert!(text.len() < 1100 && !text.chars().any(char::is_control), "{text:?}");
    assert!(text.ends_with("… (2.4 MiB in all)"), "{text:?}");
}

#[tokio::test]
async fn a_field_that_calls_a_line_a_panic_lifts_no_limit() {
    let world = World::new();
    let liar = load("liar", "{}", &world).await;
    judge(&liar, &sms("false-alarms"), &world).await.unwrap();
    let lines = world.lines();
    assert_eq!(lines.len(), 33);
    assert_eq!(lines[32], "warn 968 lines of plugin liar left out");
}

#[tokio::test]
async fn lines_have_a_limit_over_all_calls() {
    let world = World::new();
    let mut quiet = config("liar", "{}");
    quiet.limits.log_lines = 40;
    let liar = try_load(quiet, &world).await.unwrap();
    for _ in 0..5 {
        judge(&liar, &sms("flood"), &world).await.unwrap();
    }
    let told = |lines: &[String]| lines.iter().filter(|line| line.contains("left out")).count();
    assert_eq!((world.lines().len(), told(&world.lines())), (41, 1));
    world.advance(Duration::from_secs(1));
    judge(&liar, &sms("flood"), &world).await.unwrap();
    let lines = world.lines();
    assert_eq!((lines.len(), told(&lines)), (41 + 32 + 1, 2));
    assert_eq!(lines.last().unwrap(), "warn 4960 lines of plugin liar left out");
    assert_eq!(liar.figures().lines_left_out, 968 + 4960);
}

#[tokio::test]
async fn a_stack_that_is_used_up_is_called_that() {
    let world = World::new();
    let plugin = load("trap", "{}", &world).await;
    let fault = judge(&plugin, &sms("go deep"), &world).await.unwrap_err();
    let text = fault.to_string();
    assert!(text.contains("its stack is used up") && text.contains("; in trap::deep"), "{text}");
    assert!(text.len() < 5000, "{}", text.len());
}

#[tokio::test]
async fn an_error_keeps_the_instance_and_drops_the_edits() {
    let world = World::new();
    let plugin = load("liar", "{}", &world).await;
    let message = sms("edit-and-fail");
    let fault = judge(&plugin, &message, &world).await.unwrap_err();
    assert_eq!(fault, Fault::Error("I did it anyway".to_owned()));
    assert!(message.meta.is_empty());
    assert!(judge(&plugin, &sms("hello"), &world).await.unwrap().message.is_none());
    assert_eq!(plugin.instances_made(), 1);
}

/// On one thread: the loop has to give way by itself.
#[tokio::test]
async fn a_loop_does_not_stop_other_messages() {
    let world = World::new();
    let mut looping = config("spin", "{}");
    looping.limits.cpu = Duration::from_secs(2);
    let (spin, trap) = (try_load(looping, &world).await.unwrap(), load("trap", "{}", &world).await);
    let (endless, message) = (sms("spin"), sms("hello"));
    let endless = judge(&spin, &endless, &world);
    tokio::pin!(endless);
    let others = async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
            assert!(judge(&trap, &message, &world).await.is_ok());
            assert!(judge(&spin, &message, &world).await.is_ok());
        }
    };
    tokio::select! {
        biased;
        fault = &mut endless => panic!("the loop ended first: {fault:?}"),
        () = others => {}
    }
    let fault = endless.await.unwrap_err();
    assert_eq!(fault, Fault::CpuBudget(Duration::from_secs(2)));
    assert!(judge(&spin, &message, &world).await.is_ok());
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_nothing_behind() {
    let world = World::new();
    let mut limited = config("spin", "{}");
    limited.limits.time = Duration::from_millis(50);
    let spin = try_load(limited, &world).await.unwrap();
    let fault = judge(&spin, &sms("spin"), &world).await.unwrap_err();
    assert_eq!(fault, Fault::Timeout(Duration::from_millis(50)));
    let endless = sms("spin");
    let dropped = judge(&spin, &endless, &world);
    let given_up = tokio::time::timeout(Duration::from_millis(5), dropped).await;
    assert!(given_up.is_err());
    assert!(judge(&spin, &sms("hello"), &world).await.is_ok());
}

/// Old ticks must not end a harmless call on an instance that is used again.
#[tokio::test]
async fn the_budget_is_whole_again_for_every_call() {
    let world = World::new();
    let mut limited = config("spin", "{}");
    limited.limits.cpu = Duration::from_millis(20);
    let spin = try_load(limited, &world).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(15)).await;
        assert!(judge(&spin, &sms("hello"), &world).await.is_ok());
    }
    assert_eq!(spin.instances_made(), 1);
}

#[tokio::test]
async fn memory_ends_at_the_limit_and_is_given_back() {
    let world = World::new();
    let hog = load("hog", "{}", &world).await;
    let fault = judge(&hog, &sms("hog"), &world).await.unwrap_err();
    assert_eq!(fault, Fault::Memory(32 << 20));
    // 20 MiB are more than half of the limit: the instance is not kept.
    assert!(judge(&hog, &sms("nibble"), &world).await.is_ok());
    assert_eq!(hog.instances_idle(), 0);
    assert!(judge(&hog, &sms("fast"), &world).await.is_ok());
    assert_eq!(hog.instances_idle(), 1);
}

#[track_caller]
fn check_fault(fault: &Fault, kind: &str, text: &str) {
    assert_eq!(fault.kind(), kind, "{fault}");
    assert!(fault.to_string().contains(text), "{fault}");
}

#[tokio::test]
async fn what_is_not_known_or_not_granted_is_never_next() {
    let world = World::new();
    let liar = load("liar", "{}", &world).await;
    for (text, kind, part) in [
        ("unknown-verdict", "unknown", "77"),
        ("route mars", "unknown", "mars"),
        ("route secret", "denied", "secret"),
        ("no-route", "unknown", "without a target"),
        ("fork-lie", "unknown", "nowhere"),
        ("recipient 33700", "error", "denied"),
        ("grow", "error", "too large"),
    ] {
        check_fault(&judge(&liar, &sms(text), &world).await.unwrap_err(), kind, part);
    }
    assert!(judge(&liar, &sms("recipient +33999"), &world).await.unwrap().message.is_some());
}

#[tokio::test]
async fn nothing_is_granted_unless_the_operator_says_so() {
    let world = World::new();
    let mut bare = config("liar", "{}");
    bare.grants = crate::config::Grants::default();
    let liar = try_load(bare, &world).await.unwrap();
    for text in ["source", "recipient +33999", "forks", "lost-forks"] {
        check_fault(&judge(&liar, &sms(text), &world).await.unwrap_err(), "error", "denied");
    }
    check_fault(&judge(&liar, &sms("route relay"), &world).await.unwrap_err(), "denied", "relay");
}

#[tokio::test]
async fn output_is_bounded() {
    let world = World::new();
    let liar = load("liar", "{}", &world).await;
    let judgement = judge(&liar, &sms("forks"), &world).await.unwrap();
    assert_eq!(judgement.forks.len(), 32);
    assert_eq!(note_of(&judgement, "forks").as_deref(), Some("32"));
    assert_eq!(judge(&liar, &sms("lost-forks"), &world).await.unwrap().forks.len(), 0);
    let judgement = judge(&liar, &sms("reply"), &world).await.unwrap();
    let Verdict::Reject(reply) = judgement.verdict else { panic!("{:?}", judgement.verdict) };
    assert_eq!((reply.smtp_code, reply.enhanced, &*reply.text), (None, None, "fine  250 OK"));
    judge(&liar, &sms("flood"), &world).await.unwrap();
    let lines = world.lines();
    assert_eq!(lines.len(), 33);
    let cut = "… (5000 octets in all)".len();
    assert!(lines.iter().all(|line| line.len() <= "info ".len() + 1024 + cut));
    assert_eq!(lines[32], "warn 968 lines of plugin liar left out");
}

#[tokio::test]
async fn an_instance_is_used_again_until_it_is_old() {
    let world = World::new();
    let plugin = load("trap", "{}", &world).await;
    for _ in 0..50 {
        judge(&plugin, &sms("hello"), &world).await.unwrap();
    }
    assert_eq!((plugin.instances_made(), plugin.instances_idle()), (1, 1));
    world.advance(Duration::from_secs(301));
    judge(&plugin, &sms("hello"), &world).await.unwrap();
    assert_eq!((plugin.instances_made(), plugin.instances_idle()), (1, 0));
    judge(&plugin, &sms("hello"), &world).await.unwrap();
    assert_eq!((plugin.instances_made(), plugin.instances_idle()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_instances_take_turns() {
    let world = World::new();
    let mut narrow = config("trap", "{}");
    narrow.limits.instances = 2;
    let plugin = try_load(narrow, &world).await.unwrap();
    let calls = (0..200).map(|n| {
        let (plugin, world) = (Arc::clone(&plugin), Arc::clone(&world));
        let text = if n % 10 == 0 { "trap" } else { "hello" };
        async move { judge(&plugin, &sms(text), &world).await.is_ok() }
    });
    let outcomes = futures_util::future::join_all(calls).await;
    assert_eq!(outcomes.iter().filter(|ok| **ok).count(), 180);
    assert!(plugin.instances_idle() <= 2);
}

/// A worker looks at its sockets after each 61 turns of tasks: a guest that took a tick for each would
/// keep it from them for that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sockets_are_served_while_a_guest_computes() {
    let world = World::new();
    let mut short = config("spin", "{}");
    short.limits.cpu = Duration::from_millis(40);
    let plugin = try_load(short, &world).await.unwrap();
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut from, mut to) = (&far, &far);
        drop(std::io::copy(&mut from, &mut to));
    });
    near.set_nonblocking(true).unwrap();
    let mut near = UnixStream::from_std(near).unwrap();
    // Both run on the one worker.
    let (mut call, mut served) = (JoinSet::new(), JoinSet::new());
    call.spawn(async move { judge(&plugin, &sms("spin"), &world).await.is_err() });
    served.spawn(async move {
        let mut octet = [0];
        for round in 0_u32.. {
            if let Some(ended) = call.try_join_next() {
                assert!(ended.unwrap(), "it ran out of time");
                return round;
            }
            near.write_all(&[1]).await.unwrap();
            near.read_exact(&mut octet).await.unwrap();
        }
        0
    });
    let rounds = served.join_next().await.unwrap().unwrap();
    echo.join().unwrap();
    assert!(rounds > 5, "{rounds} rounds");
}
