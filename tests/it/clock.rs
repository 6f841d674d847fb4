//! Clocks that are set, ahead and back, while messages wait.

use std::time::Duration;

use smpp::{Sm, Status};
use tokio::time::{Instant, timeout};
use wirepost::platform::clock::{Alarm, Clock};
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config};
use wirepost_tests::{Answer, Relay, Smsc, World};

const HOUR: Duration = Duration::from_secs(3600);

fn words(sms: &[Sm]) -> Vec<String> {
    sms.iter().map(|sm| String::from_utf8_lossy(&sm.short_message).into_owned()).collect()
}

fn clock() -> Clock {
    Clock::simulated(Clock::system().now())
}

#[tokio::test]
async fn a_clock_that_leaps_ahead_expires_nothing_before_it_can_be_put_right() {
    let (relay, smsc, clock) = (Relay::start().await, Smsc::start().await, clock());
    let dead = smsc.stop().await;
    let routes = ROUTES.replace("to: smsc,", "to: smsc, validity: 1h,");
    let world = World::start_with_clock(&config(relay.address, dead, &routes), clock.clone()).await;
    let (status, id) = world.shop().await.submit(text("33612345678", "patience")).await;
    assert_eq!(status, Status::ROK);
    clock.set(clock.now().after(HOUR * 72));
    until("the leap to be noticed", || world.app().router.is_expiry_paused().then_some(())).await;
    let shop = world.shop().await;
    let (_, later) = shop.submit(text("33612345678", "after the leap")).await;
    assert!(later.parse::<u64>().unwrap() > id.parse::<u64>().unwrap(), "ids grow");
    let smsc = Smsc::start_at(dead, |_, _| Answer::default()).await;
    let mut taken = words(&smsc.wait(2).await);
    taken.sort();
    assert_eq!(taken, ["after the leap", "patience"]);
    world.wait_empty().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_retry_wait_for_hours() {
    let (relay, clock) = (Relay::start().await, clock());
    let smsc = Smsc::start_with(|number, _| Answer {
        status: if number == 1 { Status::RSYSERR } else { Status::ROK },
        ..Answer::default()
    })
    .await;
    let world =
        World::start_with_clock(&config(relay.address, smsc.address, ROUTES), clock.clone()).await;
    world.wait_target("smsc", true).await;
    let shop = world.shop().await;
    let (_, before) = shop.submit(text("33612345678", "again")).await;
    until("the refusal", || (smsc.refused() == 1).then_some(())).await;
    let now = clock.now();
    clock.set(message::Timestamp::from_ms(now.as_ms() - 2 * 3_600_000));
    let (_, after) = shop.submit(text("33612345678", "after")).await;
    assert!(after.parse::<u64>().unwrap() > before.parse::<u64>().unwrap(), "ids grow");
    let mut taken = words(&smsc.wait(2).await);
    taken.sort();
    assert_eq!(taken, ["after", "again"]);
    world.wait_empty().await;
}

/// How long an alarm was waited for, by somebody of so much patience.
async fn waited(alarm: &mut Alarm, wait: Duration, patience: Duration) -> Option<Duration> {
    let started = Instant::now();
    let deadline = started.into_std().checked_add(wait);
    timeout(patience, alarm.wait_until(deadline)).await.ok()?;
    Some(started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_alarm_goes_off_at_the_last_deadline_it_was_told() {
    let (short, long) = (Duration::from_secs(3), Duration::from_secs(60));
    let mut alarm = Alarm::default();
    assert_eq!(waited(&mut alarm, long, short).await, None);
    assert_eq!(waited(&mut alarm, short, long).await, Some(short), "earlier than before");
    assert_eq!(waited(&mut alarm, Duration::ZERO, long).await, Some(Duration::ZERO));
    assert_eq!(waited(&mut alarm, short, Duration::ZERO).await, None);
    assert_eq!(waited(&mut alarm, long, long * 2).await, Some(long), "later than before");
    assert!(timeout(long, alarm.wait_until(None)).await.is_err());
}
