//! Which messages a plugin is spared after faults, and for how long. `now` is given.
//!
//! Faults count against the sender whose messages caused them: a stranger who makes a filter fail puts
//! off messages of his own and of nobody else. The plugin is opened as a whole only if it fails for
//! several parties and serves nobody meanwhile. What is put off waits undecided; it is never let through.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use message::{Address, Origin, Timestamp};

/// Faults within [`WINDOW`] after which the messages of a sender are put off.
const FAULTS_MAX: u32 = 5;
/// One run in so many has to fail: a sender of many good messages and a bad one now and then goes on.
const FAULTY_SHARE: u32 = 4;
/// How long a fault counts.
const WINDOW: Duration = Duration::from_secs(60);
/// How long messages are put off at first; it doubles each time up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(30);
/// The longest pause of a sender.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Probes that may fail before the next pause: one of them may be another good message.
const PROBES: u32 = 3;
/// How long a probe may take before another message is tried.
const PROBE_TIME: Duration = Duration::from_secs(10);
/// When a message that is no probe comes again.
const BEHIND_A_PROBE: Duration = Duration::from_secs(1);
/// Faults without a clean run between them that open the plugin as a whole.
const WHOLE_FAULTS: u32 = 10;
/// Parties that those faults have to come from: one alone cannot switch a filter off.
const WHOLE_PARTIES: usize = 3;
/// How long the plugin is open as a whole at first.
const WHOLE_PAUSE: Duration = Duration::from_secs(5);
/// The longest that it is open as a whole before a probe.
const WHOLE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often senders whose faults are over are looked for.
const TIDY: Duration = Duration::from_secs(1);
/// Senders that are remembered; with more, the one whose last fault is oldest is forgotten.
const SENDERS_MAX: usize = 1024;

/// Who sent a message, as far as faults are concerned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The account; without one, the door and the network of the peer, which cannot be chosen freely.
    party: Arc<str>,
    /// The address, which a stranger chooses.
    address: Arc<str>,
}

impl Sender {
    /// Of a message from there.
    #[must_use]
    pub fn of(origin: &Origin, address: &Address) -> Self {
        let party = if origin.account.is_empty() {
            format!("{} {}", origin.door, network(&origin.peer)).into()
        } else {
            Arc::clone(&origin.account)
        };
        Self { party, address: Arc::clone(&address.value) }
    }

    /// The account, or the door and the network of the peer.
    #[must_use]
    pub const fn party(&self) -> &Arc<str> {
        &self.party
    }
}

/// The address of a peer, of IPv6 its /64: whoever has one address there has them all.
fn network(peer: &str) -> String {
    match peer.parse::<std::net::SocketAddr>().map(|peer| peer.ip()) {
        Ok(std::net::IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Ok(address) => address.to_string(),
        Err(_no_address) => peer.to_owned(),
    }
}

/// Whether a plugin looks at a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It does.
    Runs,
    /// Not for so long: its sender's messages made it fail.
    SenderWaits(Duration),
    /// Not for so long: it fails for everybody.
    AllWait(Duration),
}

/// What a run changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Messages of this sender wait for so long.
    SenderPaused(Sender, Duration),
    /// Messages of this sender are looked at again.
    SenderResumed(Sender),
    /// All messages wait for so long.
    Opened(Duration),
    /// A probe came to a clean end.
    Closed,
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Senders whose messages wait.
    pub senders: usize,
    /// Until when all messages wait, if they do.
    pub open_until: Option<Timestamp>,
}

/// The breaker of one plugin.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Whether there is anything to look at: without faults a run costs one load.
    troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    senders: BTreeMap<Sender, Track>,
    /// Faults since the last clean run, and the parties that they come from.
    faults: u32,
    parties: Vec<Arc<str>>,
    whole: Option<Pause>,
    /// When senders whose faults are over are forgotten next.
    tidy_at: Option<Timestamp>,
}

/// What is known of a sender.
#[derive(Debug)]
struct Track {
    /// Of the window that began with the first fault.
    since: Timestamp,
    last: Timestamp,
    runs: u32,
    faults: u32,
    pause: Option<Pause>,
}

/// A time without runs, then probes.
#[derive(Debug)]
struct Pause {
    until: Timestamp,
    /// How long it was.
    length: Duration,
    /// Probes that failed since it was over.
    failed: u32,
    /// Whether a probe is under way.
    probing: bool,
}

impl Pause {
    fn new(now: Timestamp, length: Duration) -> Self {
        Self { until: now.after(length), length, failed: 0, probing: false }
    }

    /// Lets a probe through if it is time for one; else how long to wait.
    fn admit(&mut self, now: Timestamp) -> Option<Duration> {
        // A clock that was set back makes no pause longer than it is.
        self.until = self.until.min(now.after(self.length.max(PROBE_TIME)));
        let left = self.until.since(now);
        if !left.is_zero() {
            return Some(left.max(BEHIND_A_PROBE));
        }
        (self.until, self.probing) = (now.after(PROBE_TIME), true);
        None
    }

    /// A run failed. After a probe there is another one, or the next pause; a run that began before the
    /// pause says nothing new.
    fn fault(&mut self, now: Timestamp, most: Duration) -> Option<Duration> {
        if !std::mem::take(&mut self.probing) {
            return None;
        }
        self.failed += 1;
        if self.failed < PROBES {
            self.until = now;
            return None;
        }
        *self = Self::new(now, self.length.saturating_mul(2).min(most));
        Some(self.length)
    }
}

impl Breaker {
    /// Whether the plugin looks at a message of this sender now.
    pub fn admit(&self, sender: impl FnOnce() -> Sender, now: Timestamp) -> Turn {
        if !self.troubled.load(Ordering::Relaxed) {
            return Turn::Runs;
        }
        let mut state = self.lock();
        // First the sender: one who waits must not use up the probe of all.
        let track = state.senders.get_mut(&sender());
        let pause = track.and_then(|track| track.pause.as_mut());
        if let Some(wait) = pause.and_then(|pause| pause.admit(now)) {
            return Turn::SenderWaits(wait);
        }
        let whole = state.whole.as_mut().and_then(|pause| pause.admit(now));
        whole.map_or(Turn::Runs, Turn::AllWait)
    }

    /// A run came to a clean end.
    pub fn clean(&self, sender: impl FnOnce() -> Sender, now: Timestamp) -> Option<Change> {
        if !self.troubled.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.lock();
        state.faults = 0;
        state.parties.clear();
        let closed = state.whole.take().map(|_pause| Change::Closed);
        let sender = sender();
        let resumed = state.senders.get_mut(&sender).and_then(|track| {
            track.runs = track.runs.saturating_add(1);
            track.pause.take_if(|pause| pause.probing)
        });
        if resumed.is_some() {
            state.senders.remove(&sender);
        }
        state.forget(now);
        self.troubled.store(!state.senders.is_empty(), Ordering::Relaxed);
        closed.or_else(|| resumed.map(|_pause| Change::SenderResumed(sender)))
    }

    /// A run ended in a fault.
    pub fn fault(&self, sender: Sender, now: Timestamp) -> Option<Change> {
        let mut state = self.lock();
        self.troubled.store(true, Ordering::Relaxed);
        state.forget(now);
        let whole = state.whole_fault(&sender.party, now);
        let pause = state.track(&sender, now).fault(now);
        whole.map(Change::Opened).or_else(|| pause.map(|it| Change::SenderPaused(sender, it)))
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        let state = self.lock();
        Standing {
            senders: state.senders.values().filter(|track| track.pause.is_some()).count(),
            open_until: state.whole.as_ref().map(|pause| pause.until.max(now)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One more fault without a clean run; how long all messages wait from now on, if they do.
    fn whole_fault(&mut self, party: &Arc<str>, now: Timestamp) -> Option<Duration> {
        if let Some(pause) = &mut self.whole {
            return pause.fault(now, WHOLE_PAUSE_MAX);
        }
        self.faults = self.faults.saturating_add(1);
        if self.parties.len() < WHOLE_PARTIES && !self.parties.contains(party) {
            self.parties.push(Arc::clone(party));
        }
        let opens = self.faults >= WHOLE_FAULTS && self.parties.len() >= WHOLE_PARTIES;
        opens.then(|| {
            self.whole = Some(Pause::new(now, WHOLE_PAUSE));
            WHOLE_PAUSE
        })
    }

    fn track(&mut self, sender: &Sender, now: Timestamp) -> &mut Track {
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(sender) {
            let oldest = self.senders.iter().min_by_key(|(_, track)| track.last);
            if let Some(oldest) = oldest.map(|(sender, _)| sender.clone()) {
                self.senders.remove(&oldest);
            }
        }
        self.senders.entry(sender.clone()).or_insert_with(|| Track::new(now))
    }

    /// Forgets senders whose faults are over, now and then.
    fn forget(&mut self, now: Timestamp) {
        if self.tidy_at.is_some_and(|at| now < at) {
            return;
        }
        self.tidy_at = Some(now.after(TIDY));
        let over = |track: &Track, after: Duration| track.last.after(after) <= now;
        self.senders.retain(|_, track| match &track.pause {
            None => !over(track, WINDOW),
            // A sender that does not come again has no probe.
            Some(pause) => !over(track, pause.length.saturating_add(PAUSE_MAX)),
        });
    }
}

impl Track {
    const fn new(now: Timestamp) -> Self {
        Self { since: now, last: now, runs: 0, faults: 0, pause: None }
    }

    /// One more fault; how long the sender's messages wait from now on, if they begin to.
    fn fault(&mut self, now: Timestamp) -> Option<Duration> {
        self.last = now;
        if let Some(pause) = &mut self.pause {
            return pause.fault(now, PAUSE_MAX);
        }
        if self.since.after(WINDOW) <= now {
            (self.since, self.runs, self.faults) = (now, 0, 0);
        }
        (self.runs, self.faults) = (self.runs.saturating_add(1), self.faults.saturating_add(1));
        let many = self.faults >= FAULTS_MAX;
        if many && self.faults.saturating_mul(FAULTY_SHARE) >= self.runs {
            self.pause = Some(Pause::new(now, PAUSE));
            return Some(PAUSE);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(1_795_425_725_000 + seconds * 1000)
    }

    fn sender(party: &str, address: &str) -> Sender {
        Sender { party: party.into(), address: address.into() }
    }

    fn shop() -> Sender {
        sender("shop", "33700")
    }

    /// A breaker after so many faults of a sender at this second.
    fn after_faults(of: &Sender, count: u32, second: u64) -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..count {
            breaker.fault(of.clone(), at(second));
        }
        breaker
    }

    #[track_caller]
    fn check(breaker: &Breaker, of: &Sender, second: u64, expect: Turn) {
        assert_eq!(breaker.admit(|| of.clone(), at(second)), expect, "{of:?} after {second} s");
    }

    #[test]
    fn a_sender_whose_messages_fail_waits_and_others_do_not() {
        let breaker = after_faults(&shop(), FAULTS_MAX - 1, 0);
        check(&breaker, &shop(), 1, Turn::Runs);
        let paused = breaker.fault(shop(), at(1));
        assert_eq!(paused, Some(Change::SenderPaused(shop(), PAUSE)));
        check(&breaker, &shop(), 2, Turn::SenderWaits(Duration::from_secs(29)));
        check(&breaker, &sender("shop", "33701"), 2, Turn::Runs);
        check(&breaker, &sender("bank", "33700"), 2, Turn::Runs);
        assert_eq!(breaker.standing(at(2)), Standing { senders: 1, open_until: None });
    }

    #[test]
    fn after_the_pause_one_message_is_a_probe_and_a_clean_one_ends_it() {
        let breaker = after_faults(&shop(), FAULTS_MAX, 0);
        check(&breaker, &shop(), 30, Turn::Runs);
        check(&breaker, &shop(), 30, Turn::SenderWaits(PROBE_TIME));
        let resumed = breaker.clean(shop, at(31));
        assert_eq!(resumed, Some(Change::SenderResumed(shop())));
        check(&breaker, &shop(), 31, Turn::Runs);
        check(&breaker, &shop(), 31, Turn::Runs);
        assert_eq!(breaker.standing(at(31)), Standing::default());
    }

    #[test]
    fn probes_that_fail_make_the_pause_longer() {
        let breaker = after_faults(&shop(), FAULTS_MAX, 0);
        for probe in 1..=PROBES {
            check(&breaker, &shop(), 30, Turn::Runs);
            let longer = (probe == PROBES).then(|| Change::SenderPaused(shop(), PAUSE * 2));
            assert_eq!(breaker.fault(shop(), at(30)), longer);
        }
        check(&breaker, &shop(), 31, Turn::SenderWaits(Duration::from_secs(59)));
    }

    #[test]
    fn a_probe_that_never_ends_is_followed_by_another() {
        let breaker = after_faults(&shop(), FAULTS_MAX, 0);
        check(&breaker, &shop(), 30, Turn::Runs);
        check(&breaker, &shop(), 39, Turn::SenderWaits(BEHIND_A_PROBE));
        check(&breaker, &shop(), 40, Turn::Runs);
    }

    #[test]
    fn a_few_bad_messages_among_many_good_ones_stop_nobody() {
        let breaker = Breaker::default();
        for round in 0..100 {
            breaker.fault(shop(), at(round));
            for _ in 0..FAULTY_SHARE {
                breaker.clean(shop, at(round));
            }
            check(&breaker, &shop(), round, Turn::Runs);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_pause_longer() {
        let breaker = after_faults(&shop(), FAULTS_MAX, 100_000);
        check(&breaker, &shop(), 0, Turn::SenderWaits(PAUSE));
        check(&breaker, &shop(), 30, Turn::Runs);
    }

    #[test]
    fn faults_long_ago_do_not_count() {
        let breaker = after_faults(&shop(), FAULTS_MAX - 1, 0);
        breaker.fault(shop(), at(61));
        check(&breaker, &shop(), 61, Turn::Runs);
    }

    #[test]
    fn one_party_alone_cannot_switch_a_filter_off() {
        let breaker = Breaker::default();
        for number in 0..1000 {
            breaker.fault(sender("mail 192.0.2.1", &format!("{number}@example.org")), at(0));
        }
        check(&breaker, &shop(), 0, Turn::Runs);
        assert_eq!(breaker.standing(at(0)).open_until, None);
    }

    #[test]
    fn a_plugin_that_serves_nobody_is_open_until_a_probe_is_clean() {
        let breaker = Breaker::default();
        let mut changes = Vec::new();
        for number in 0..WHOLE_FAULTS {
            changes.extend(breaker.fault(sender(&format!("party {}", number % 3), "x"), at(0)));
        }
        assert_eq!(changes, [Change::Opened(WHOLE_PAUSE)]);
        check(&breaker, &shop(), 1, Turn::AllWait(Duration::from_secs(4)));
        check(&breaker, &shop(), 5, Turn::Runs);
        check(&breaker, &shop(), 5, Turn::AllWait(PROBE_TIME));
        assert_eq!(breaker.clean(shop, at(5)), Some(Change::Closed));
        check(&breaker, &shop(), 5, Turn::Runs);
    }

    #[test]
    fn a_sender_who_waits_uses_up_no_probe_of_all() {
        let bad = sender("party 0", "x");
        let breaker = after_faults(&bad, FAULTS_MAX, 0);
        for number in 0..WHOLE_FAULTS {
            breaker.fault(sender(&format!("party {}", number % 3), "y"), at(0));
        }
        check(&breaker, &bad, 6, Turn::SenderWaits(Duration::from_secs(24)));
        check(&breaker, &shop(), 6, Turn::Runs);
    }

    #[test]
    fn a_clean_run_between_faults_of_many_keeps_it_closed() {
        let breaker = Breaker::default();
        for number in 0..100 {
            breaker.fault(sender(&format!("party {number}"), "x"), at(0));
            if number % 5 == 0 {
                breaker.clean(shop, at(0));
            }
        }
        check(&breaker, &shop(), 0, Turn::Runs);
    }

    #[test]
    fn forged_senders_take_no_more_memory_than_was_promised() {
        let breaker = Breaker::default();
        for number in 0..SENDERS_MAX * 2 {
            breaker.fault(sender("mail 192.0.2.1", &number.to_string()), at(0));
        }
        assert_eq!(breaker.lock().senders.len(), SENDERS_MAX);
    }

    #[test]
    fn a_peer_is_its_network() {
        assert_eq!(network("192.0.2.1:2525"), "192.0.2.1");
        assert_eq!(network("[2001:db8:1:2:3:4:5:6]:25"), "2001:db8:1:2::/64");
        assert_eq!(network("smsc-a"), "smsc-a");
    }
}
