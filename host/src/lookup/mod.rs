//! Look-ups: what plugins ask of services by a key, asked once for all messages that want to know,
//! and kept for a while.
//!
//! Nobody waits here: a message whose answer is not there yet stays undecided, and is looked at
//! again when the answer has come.

mod address;
mod fetch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use message::{MessageId, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::{Lookup, Name};
use crate::platform::clock::Clock;
use crate::platform::machine::Machine;
use crate::platform::net::Net;
use crate::platform::tasks::Tasks;
use crate::plugin::{Ask, LookupAnswer, LookupError};
use crate::queue::rate::TokenBucket;
use fetch::Client;

/// Answers, and questions under way, of one service.
const ENTRIES_MAX: usize = 100_000;
/// Octets of all answers of one service.
const BYTES_MAX: usize = 32 << 20;
/// Questions of one service that wait to be asked.
const WAITING_MAX: usize = 10_000;
/// Messages that are told of one answer; others find it when they are looked at again.
const WAITERS_MAX: usize = 1000;
/// How long an answer is kept for the messages that asked, however short it is kept for others.
const WAITERS_KEEP: Duration = Duration::from_secs(600);
/// Messages whose answers have come and that nobody has taken up.
const ARRIVED_MAX: usize = 100_000;

/// All look-ups of a router; they outlive a generation.
#[derive(Debug)]
pub struct Lookups {
    clock: Clock,
    net: Net,
    tasks: Tasks,
    services: Mutex<BTreeMap<Name, Arc<Service>>>,
    arrived: Mutex<BTreeSet<MessageId>>,
    arrival: Notify,
}

/// One service under one configuration.
#[derive(Debug)]
struct Service {
    lookup: Arc<Lookup>,
    state: Mutex<State>,
    /// There is something to ask.
    wanted: Notify,
    /// Its configuration is another now.
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Arc<str>, Entry>,
    /// What was answered, the oldest first.
    ages: BTreeSet<(Timestamp, Arc<str>)>,
    /// Octets of all answers.
    bytes: usize,
    waiting: VecDeque<Arc<str>>,
    rate: Option<TokenBucket>,
}

#[derive(Debug, Default)]
struct Entry {
    /// None while it is asked.
    answer: Option<Kept>,
    /// Messages that asked.
    waiters: BTreeSet<MessageId>,
}

#[derive(Debug, Clone)]
struct Kept {
    answer: LookupAnswer,
    at: Timestamp,
    until: Timestamp,
}

impl Lookups {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(machine: &Machine) -> Self {
        Self {
            clock: machine.clock.clone(),
            net: machine.net.clone(),
            tasks: machine.tasks.clone(),
            services: Mutex::default(),
            arrived: Mutex::default(),
            arrival: Notify::new(),
        }
    }

    /// The answers to these questions, in their order; none if one of them is still to come. Then it
    /// is being asked, and `message` is told by [`Lookups::arrived`].
    #[must_use]
    pub fn answers(
        self: &Arc<Self>,
        lookups: &BTreeMap<Name, Arc<Lookup>>,
        message: MessageId,
        asks: &[Ask],
    ) -> Option<Vec<LookupAnswer>> {
        let now = self.clock.now();
        let mut answers = Some(Vec::with_capacity(asks.len()));
        for ask in asks {
            let found = match lookups.get(&ask.name) {
                None => Some(Err(LookupError::NotFound)),
                Some(lookup) => self.service(lookup).answer(&ask.key, message, now),
            };
            // All are asked at once, also after one that has to be waited for.
            match (found, &mut answers) {
                (Some(found), Some(answers)) => answers.push(found),
                (Some(_), None) => {}
                (None, _) => answers = None,
            }
        }
        answers
    }

    /// Waits for messages whose answers have come; each is told once.
    pub async fn arrived(&self) -> BTreeSet<MessageId> {
        loop {
            let arrival = self.arrival.notified();
            let arrived = std::mem::take(&mut *lock(&self.arrived));
            if !arrived.is_empty() {
                return arrived;
            }
            arrival.await;
        }
    }

    /// The service of this name; begun anew if its configuration is another.
    fn service(self: &Arc<Self>, lookup: &Arc<Lookup>) -> Arc<Service> {
        let mut services = lock(&self.services);
        if let Some(service) = services.get(&lookup.name) {
            if service.lookup == *lookup {
                return Arc::clone(service);
            }
            service.ended.cancel();
        }
        let service = Arc::new(Service::new(lookup, self.clock.now()));
        for _ in 0..lookup.connections {
            let (lookups, service) = (Arc::clone(self), Arc::clone(&service));
            self.tasks.spawn("lookup", async move { lookups.serve(&service).await });
        }
        services.insert(Name::clone(&lookup.name), Arc::clone(&service));
        service
    }

    /// Asks one question after the other until the router stops or the service is another.
    async fn serve(&self, service: &Service) {
        let mut client =
            Client::new(Arc::clone(&service.lookup), self.net.clone(), self.tasks.clone());
        let work = async {
            loop {
                let wanted = service.wanted.notified();
                let Some(key) = lock(&service.state).waiting.pop_front() else {
                    wanted.await;
                    continue;
                };
                self.wait_for_turn(service).await;
                let answer = client.ask(&key).await;
                let waiters = service.settle(&key, answer, self.clock.now());
                self.tell(waiters);
            }
        };
        tokio::select! {
            biased;
            () = self.tasks.stopping().cancelled() => {}
            () = service.ended.cancelled() => {}
            () = work => {}
        }
    }

    async fn wait_for_turn(&self, service: &Service) {
        loop {
            let wait = service.turn(self.clock.now());
            if wait.is_zero() {
                return;
            }
            self.clock.sleep(wait).await;
        }
    }

    fn tell(&self, messages: BTreeSet<MessageId>) {
        let mut arrived = lock(&self.arrived);
        let room = ARRIVED_MAX.saturating_sub(arrived.len());
        arrived.extend(messages.into_iter().take(room));
        drop(arrived);
        self.arrival.notify_one();
    }
}

impl Service {
    fn new(lookup: &Arc<Lookup>, now: Timestamp) -> Self {
        let rate = lookup.rate.map(|rate| TokenBucket::new(rate.per_second(), rate.count, now));
        Self {
            lookup: Arc::clone(lookup),
            state: Mutex::new(State { rate, ..State::default() }),
            wanted: Notify::new(),
            ended: CancellationToken::new(),
        }
    }

    /// The answer for this message; none if it is still to come.
    fn answer(&self, key: &Arc<str>, message: MessageId, now: Timestamp) -> Option<LookupAnswer> {
        let mut state = lock(&self.state);
        if let Some(entry) = state.entries.get_mut(key) {
            match &entry.answer {
                Some(kept) if kept.is_good(now, entry.waiters.contains(&message)) => {
                    return Some(kept.answer.clone());
                }
                Some(_) => {}
                None => {
                    if entry.waiters.len() < WAITERS_MAX {
                        entry.waiters.insert(message);
                    }
                    return None;
                }
            }
        }
        if state.waiting.len() >= WAITING_MAX || !state.make_room() {
            return Some(Err(LookupError::Exhausted));
        }
        state.forget(key);
        let entry = Entry { answer: None, waiters: BTreeSet::from([message]) };
        state.entries.insert(Arc::clone(key), entry);
        state.waiting.push_back(Arc::clone(key));
        drop(state);
        self.wanted.notify_one();
        None
    }

    /// Keeps an answer; the messages that asked.
    fn settle(&self, key: &Arc<str>, answer: LookupAnswer, now: Timestamp) -> BTreeSet<MessageId> {
        let keep = if answer.is_ok() { self.lookup.cache } else { self.lookup.cache_failures };
        let mut state = lock(&self.state);
        state.keep(key, Kept { answer, at: now, until: now.after(keep) });
        state.entries.get(key).map(|entry| entry.waiters.clone()).unwrap_or_default()
    }

    /// How long until the next question may be asked; zero if it may be asked now, which counts.
    fn turn(&self, now: Timestamp) -> Duration {
        let mut state = lock(&self.state);
        let Some(rate) = &mut state.rate else { return Duration::ZERO };
        if rate.take(now, 1) {
            return Duration::ZERO;
        }
        rate.wait(now, 1).max(Duration::from_millis(1))
    }
}

impl State {
    /// Whether one more question fits in; the oldest answer gives its place.
    fn make_room(&mut self) -> bool {
        while self.entries.len() >= ENTRIES_MAX {
            if !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    /// Keeps an answer, and forgets the oldest if they take too much memory.
    fn keep(&mut self, key: &Arc<str>, kept: Kept) {
        self.forget(key);
        self.bytes += kept.bytes();
        self.ages.insert((kept.at, Arc::clone(key)));
        self.entries.entry(Arc::clone(key)).or_default().answer = Some(kept);
        while self.bytes > BYTES_MAX && self.forget_oldest() {}
    }

    /// Forgets the answer to a question, not who asked.
    fn forget(&mut self, key: &Arc<str>) {
        let kept = self.entries.get_mut(key).and_then(|entry| entry.answer.take());
        if let Some(kept) = kept {
            self.bytes -= kept.bytes();
            self.ages.remove(&(kept.at, Arc::clone(key)));
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_at, key)) = self.ages.first().cloned() else { return false };
        self.forget(&key);
        self.entries.remove(&key);
        true
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.answer.as_ref().map_or(0, |text| text.len())
    }

    /// Whether this message may use it, which asked for it or did not.
    fn is_good(&self, now: Timestamp, asked: bool) -> bool {
        self.until > now || (asked && self.at.after(WAITERS_KEEP) > now)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckOptions, load_text};

    fn service(keys: &str) -> Service {
        let text = format!("lookups: {{ hlr: {{ url: 'https://h.example/{{key}}', {keys} }} }}");
        let options = CheckOptions { environment: false };
        let config = load_text("w.yaml".as_ref(), &text, options).config.unwrap();
        Service::new(&config.lookups["hlr"], at(0))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(1_000_000 + seconds * 1000)
    }

    fn id(number: u64) -> MessageId {
        MessageId::from_u64(number)
    }

    #[test]
    fn a_question_is_asked_once_and_its_answer_is_kept_as_long_as_configured() {
        let service = service("cache: 60s, cache_failures: 5s");
        let (key, other): (Arc<str>, Arc<str>) = ("+1".into(), "+2".into());
        assert_eq!(service.answer(&key, id(1), at(0)), None);
        assert_eq!(service.answer(&key, id(2), at(0)), None);
        assert_eq!(lock(&service.state).waiting.len(), 1);
        let told = service.settle(&key, Ok("mobile".into()), at(1));
        assert_eq!(told, BTreeSet::from([id(1), id(2)]));
        assert_eq!(service.answer(&key, id(3), at(60)), Some(Ok("mobile".into())));
        // Whoever asked has it, however late it is looked at again.
        assert_eq!(service.answer(&key, id(1), at(500)), Some(Ok("mobile".into())));
        assert_eq!(service.answer(&key, id(3), at(61)), None);
        assert_eq!(service.answer(&other, id(3), at(0)), None);
        service.settle(&other, Err(LookupError::NotFound), at(0));
        assert_eq!(service.answer(&other, id(4), at(4)), Some(Err(LookupError::NotFound)));
        assert_eq!(service.answer(&other, id(4), at(5)), None);
    }

    #[test]
    fn questions_are_asked_at_the_rate_that_is_allowed() {
        let service = service("rate: 2/s");
        assert_eq!(service.turn(at(0)), Duration::ZERO);
        assert_eq!(service.turn(at(0)), Duration::ZERO);
        assert!(service.turn(at(0)) > Duration::from_millis(400));
        assert_eq!(service.turn(at(1)), Duration::ZERO);
    }

    #[test]
    fn there_is_an_end_to_what_waits() {
        let service = service("cache: 1s");
        for number in 0..WAITING_MAX {
            assert_eq!(service.answer(&number.to_string().into(), id(1), at(0)), None);
        }
        let one_more = service.answer(&"one more".into(), id(1), at(0));
        assert_eq!(one_more, Some(Err(LookupError::Exhausted)));
    }
}
