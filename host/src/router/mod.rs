//! The router: what sessions and connectors share, and the verbs they use.
//!
//! `accept` is the way in, `settle` the way on, `receipts` the way back. Everything that is written
//! goes through one commit each; what follows from it is done only afterwards.

mod work;
mod accept;
mod rehearse;
mod decider;
mod settling;
mod receipts;
mod return_path;
mod delays;
mod conversations;
mod joining;
mod sweep;
mod damaged;
mod recovery;
mod env;
mod operate;
mod acts;
mod mandate;
mod jobs;
mod orders;
mod pressure;
mod known;
mod replace;
mod audit;
mod halt;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use message::MessageId;
use smpp::receipt::IdRelation;
use spool::Spool;

use crate::config::{Config, ConnectorKind};
use crate::delivery::DECIDER;
use crate::generation::Generation;
use crate::inbound::gate::Gates;
use crate::inbound::logins::Logins;
use crate::inbound::smpp::Accounts;
use crate::intake::DraftRoom;
use crate::ledger::Ledger;
use crate::loops::Answered;
use crate::observe::journal::Journal;
use crate::observe::metrics::Metrics;
use crate::platform::clock::Clock;
use crate::platform::net::Net;
use crate::platform::signal::{Listening, Signal};
use crate::platform::tasks::Tasks;
use crate::queue::rate::TokenBucket;
use crate::receipt::Book;
use crate::receipt::return_path::REPORTS;
use crate::receipt::share::Folds;
use crate::spooler::Ids;
use crate::target::{Shelf, Stop, Target};
pub(crate) use return_path::own_key;

pub use acts::Act;
pub use audit::{Audit, Story, audit};
pub use env::Env;
pub use jobs::{Filter, JobShown};
pub use known::Known;
pub use mandate::Mandate;
pub use operate::Shown;
pub use pressure::{Pressure, Watermark};
pub use rehearse::Rehearsed;

/// Targets by name.
pub type Targets = BTreeMap<Arc<str>, Arc<Target>>;

/// What sessions and connectors share.
#[derive(Debug)]
pub struct Router {
    /// The time.
    pub clock: Clock,
    /// The network.
    pub net: Net,
    /// Every task runs here.
    pub tasks: Tasks,
    /// Everything that is ours.
    pub spool: Spool,
    /// What happened.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
    /// Sessions and rates of accounts.
    pub accounts: Accounts,
    /// Places for connections.
    pub gates: Gates,
    /// Who guesses passwords.
    pub logins: Logins,
    /// Memory for mail that is coming in.
    pub drafts: Arc<DraftRoom>,
    /// What is scarce.
    pub pressure: Pressure,
    ids: Ids,
    book: Book,
    folds: Folds,
    joining: joining::Joining,
    answered: Mutex<Answered>,
    /// The key of return addresses where the configuration has none.
    return_key: [u8; return_path::KEY_OCTETS],
    generation: ArcSwap<Generation>,
    numbers: Signal,
    targets: Arc<ArcSwap<Targets>>,
    decider: Arc<Target>,
    shelf: Arc<Shelf>,
    /// What operators ordered about targets, of the configuration or not.
    stops: Mutex<BTreeMap<Arc<str>, Stop>>,
    /// Targets that a reload removed, until what was in flight there has come back.
    leaving: Mutex<Vec<Arc<Target>>>,
    /// What operators work on right now.
    claimed: Mutex<BTreeSet<MessageId>>,
    jobs: jobs::Jobs,
    expiry_paused: AtomicBool,
    /// The spool takes nothing any more.
    halted: AtomicBool,
    sessions: AtomicU64,
    started: message::Timestamp,
}

/// What a router is made of.
#[derive(Debug)]
pub struct Parts {
    /// The time.
    pub clock: Clock,
    /// The network.
    pub net: Net,
    /// Every task runs here.
    pub tasks: Tasks,
    /// An open spool.
    pub spool: Spool,
    /// An open journal.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
    /// Targets, shared with the environment of plugins.
    pub targets: Arc<ArcSwap<Targets>>,
    /// The first generation.
    pub generation: Arc<Generation>,
}

impl Router {
    /// A router of these parts: ids are reserved, the receipt book is open, every connector and
    /// account of the generation has its target. What the spool holds is taken up by `recover`.
    ///
    /// # Errors
    /// If the spool cannot be read or written.
    pub async fn open(parts: Parts) -> anyhow::Result<Arc<Self>> {
        let Parts { clock, net, tasks, spool, journal, metrics, targets, generation } = parts;
        Ledger::begin(&spool).await?;
        let ids = Ids::open(&spool, generation.config.node.id, clock.now()).await?;
        let book = Book::open(&spool)?;
        book.spell(&Arc::from(REPORTS), Some(IdRelation::Same));
        let joining = joining::Joining::open(&spool)?;
        let return_key = own_key(&spool).await?;
        let shelf = Arc::new(Shelf::new(spool.clone()));
        let stops = orders::read(&spool)?;
        let decider = Arc::new(Target::new(Arc::from(DECIDER), None, &shelf));
        decider.set_up(true, clock.now());
        let numbers = Signal::new(generation.number);
        let started = clock.now();
        let router = Self {
            clock,
            net,
            tasks,
            spool,
            journal,
            metrics,
            accounts: Accounts::default(),
            gates: Gates::default(),
            logins: Logins::default(),
            drafts: Arc::default(),
            pressure: Pressure::default(),
            ids,
            book,
            folds: Folds::default(),
            joining,
            answered: Mutex::default(),
            return_key,
            generation: ArcSwap::new(Arc::clone(&generation)),
            numbers,
            targets,
            decider,
            shelf,
            stops: Mutex::new(stops),
            leaving: Mutex::default(),
            claimed: Mutex::default(),
            jobs: jobs::Jobs::default(),
            expiry_paused: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            sessions: AtomicU64::new(0),
            started,
        };
        router.fit_targets(&generation.config);
        Ok(Arc::new(router))
    }

    /// The generation that decides now. Pin it for a transaction.
    #[must_use]
    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Tells of new generations by their number.
    #[must_use]
    pub fn generations(&self) -> Listening {
        self.numbers.listen()
    }

    /// Puts the next generation in place: one pointer. Returns the targets that are gone.
    pub fn install(&self, generation: Arc<Generation>) -> Vec<Arc<Target>> {
        let gone = self.fit_targets(&generation.config);
        let number = generation.number;
        self.generation.store(generation);
        self.numbers.set(number);
        gone
    }

    /// The target of this name: a connector, an account, or the decider.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<Arc<Target>> {
        if name == DECIDER {
            return Some(Arc::clone(&self.decider));
        }
        self.targets.load().get(name).cloned()
    }

    /// All targets, in the order of their names.
    #[must_use]
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.targets.load().values().cloned().collect()
    }

    /// The next id of a message, a leg or a delivery.
    #[must_use]
    pub fn next_id(&self) -> MessageId {
        self.ids.next(self.clock.now())
    }

    /// The next number of a session.
    #[must_use]
    pub fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether nothing expires now, since the clock leapt ahead.
    #[must_use]
    pub fn is_expiry_paused(&self) -> bool {
        self.expiry_paused.load(Ordering::Relaxed)
    }

    /// When the router was opened.
    #[must_use]
    pub const fn started(&self) -> message::Timestamp {
        self.started
    }

    /// Receipts that wait for the answer to their submit.
    #[must_use]
    pub fn receipts_parked(&self) -> usize {
        self.book.parked()
    }

    /// The books, as of one moment.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.spool.stats())
    }

    /// Octets of waiting messages that are in memory.
    #[must_use]
    pub fn loaded_bytes(&self) -> usize {
        self.shelf.room().bytes()
    }

    fn is_usable(&self, name: &str) -> bool {
        self.targets.load().get(name).is_some_and(|target| target.is_usable())
    }

    /// Makes targets of what the configuration names, keeps those that are there, and returns those
    /// that it does not name any more.
    fn fit_targets(&self, config: &Config) -> Vec<Arc<Target>> {
        let now = self.clock.now();
        let old = self.targets.load_full();
        let mut new = Targets::new();
        for (name, connector) in &config.connectors {
            if let ConnectorKind::Smpp(smpp) = &connector.kind {
                self.book.spell(name, smpp.id_format.relation());
            }
            let rate = connector
                .rate
                .map(|rate| TokenBucket::new(rate.per_second(), connector.burst, now));
            let target = match old.get(name) {
                Some(target) => {
                    target.set_rate(rate);
                    Arc::clone(target)
                }
                None => self.new_target(name, rate),
            };
            new.insert(Arc::clone(name), target);
        }
        for name in config.accounts.keys() {
            let target = old.get(name).cloned().unwrap_or_else(|| self.new_target(name, None));
            new.insert(Arc::clone(name), target);
        }
        let gone = old.values().filter(|target| !new.contains_key(&target.name)).cloned().collect();
        self.targets.store(Arc::new(new));
        gone
    }

    fn new_target(&self, name: &Arc<str>, rate: Option<TokenBucket>) -> Arc<Target> {
        let target = Target::new(Arc::clone(name), rate, &self.shelf);
        let stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        target.set_stop(stops.get(name).cloned());
        Arc::new(target)
    }
}
