//! One run: a world drawn from the seed, some minutes of trouble, then calm until nothing is left to
//! do, then the questions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing_subscriber::layer::SubscriberExt as _;
use wirepost::app::App;

use crate::check::{Left, check};
use crate::config::{ACCOUNTS, Settings};
use crate::facts::Kind;
use crate::host::Host;
use crate::net::{Net, Trouble};
use crate::peers::Stage;
use crate::peers::esme::{self, Esme};
use crate::peers::mailer::{self, Mailer};
use crate::peers::relay::{self, Relay};
use crate::peers::reporter::{self, Reporter};
use crate::peers::smsc::{self, Smsc};
use crate::random::Random;
use crate::scope::Scope;
use crate::trace::{Log, Trace};

/// How long everything may take to come to rest once nobody misbehaves.
const REST_WITHIN: Duration = Duration::from_secs(1500);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_secs(2);
/// Looks in a row at which nothing is left to do.
const LOOKS: usize = 3;

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) trace: String,
    pub(crate) wrong: Vec<String>,
    /// Recipients sent, recipients acknowledged, crashes.
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    pub(crate) deaths: usize,
    /// Simulated time.
    pub(crate) took: Duration,
}

/// What may happen in a run. Each seed has some of it, so that what hides behind one trouble shows
/// without it.
#[derive(Debug)]
struct Plan {
    active: Duration,
    pause_ms: u64,
    /// Weights of events.
    events: Vec<(usize, What)>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Nothing,
    Cut,
    Stall,
    Hole,
    Crash,
    CrashAfterAnswer,
    Restart,
    FailSync,
    NoRoom,
    Reload,
    Account,
    Plugin,
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let trace = Trace::new();
        let log = tracing_subscriber::registry().with(Log(trace.clone()));
        let _guard = tracing::subscriber::set_default(log);
        play(seed, trace).await
    })
}

struct World {
    stage: Stage,
    host: Host,
    random: Random,
    peers: JoinSet<()>,
    smscs: [Smsc; 2],
    reporter: Reporter,
    done: Vec<Arc<AtomicBool>>,
}

async fn play(seed: u64, trace: Trace) -> Outcome {
    let began = Instant::now();
    let random = Random::new(seed);
    let net = Net::new(random.fork("net"), trace.clone());
    let stage = Stage::new(net.clone(), trace.clone(), random.clone(), Scope::of(seed));
    let plan = Plan::draw(&mut random.fork("plan"), stage.scope);
    stage.note("world", format_args!("{plan:?}"));
    let mut world = World::build(&stage, &plan);
    world.host.start(None).await;
    world.host.ensure().await;
    let until = Instant::now() + plan.active;
    while Instant::now() < until {
        let pause = world.random.time(100..plan.pause_ms);
        world.host.rest(pause).await;
        world.happen(&plan).await;
    }
    stage.note("world", format_args!("calm"));
    stage.calm();
    net.calm();
    world.host.ensure().await;
    world
        .host
        .reload(|settings| {
            settings.both = true;
            settings.accounts.iter_mut().for_each(|account| account.present = true);
        })
        .await;
    let rested = world.come_to_rest().await;
    let left = world.left(rested);
    world.host.stop(None).await;
    let all = stage.facts.all();
    let mut wrong = check(&all, &net, &left);
    wrong.extend(trace.panics());
    Outcome {
        trace: trace.text(),
        wrong,
        sent: all.parcels.len(),
        accepted: all.accepted,
        deaths: all.deaths.len(),
        took: began.elapsed(),
    }
}

impl Plan {
    fn draw(random: &mut Random, scope: Scope) -> Self {
        let kinds = [
            (4, What::Cut),
            (3, What::Stall),
            (1, What::Hole),
            (2, What::Crash),
            (2, What::CrashAfterAnswer),
            (1, What::Restart),
            (1, What::FailSync),
            (2, What::NoRoom),
            (2, What::Reload),
        ];
        let mut events = vec![(3, What::Nothing)];
        events.extend(kinds.into_iter().filter(|_| random.chance(400)));
        if scope.accounts {
            events.push((3, What::Account));
        }
        if scope.plugins {
            events.push((3, What::Plugin));
        }
        Self { active: random.time(20_000..90_000), pause_ms: 500 + random.next() % 6000, events }
    }
}

impl World {
    fn build(stage: &Stage, plan: &Plan) -> Self {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let host = address("10.0.0.1:0");
        let (mail, esmes) = (address("10.0.0.1:2525"), address("10.0.0.1:2775"));
        let (relay, a, b) =
            (address("10.0.1.1:25"), address("10.0.2.1:2775"), address("10.0.2.2:2775"));
        for (name, at) in [("relay.sim", relay), ("smsc-a.sim", a), ("smsc-b.sim", b)] {
            stage.net.name(name, at);
        }
        let mut random = stage.random.fork("world");
        if random.chance(300) {
            stage.net.set_refusals(random.below(300), random.below(100));
        }
        let settings = Settings::draw(&mut random.fork("settings"), stage.scope);
        stage.note("world", format_args!("{settings:?}"));
        let habits = smsc_habits(&mut random);
        let smscs = [Smsc::new("smsc-a", stage, habits), Smsc::new("smsc-b", stage, habits)];
        for smsc in &smscs {
            for _ in 0..random.below(8) {
                smsc.message_from_mobile(Instant::now() + random.time(1000..60_000), Kind::Mobile);
            }
        }
        let mut peers = JoinSet::new();
        peers.spawn(smscs[0].clone().run(a));
        peers.spawn(smscs[1].clone().run(b));
        let mut border = stage.random.fork("border");
        let reporter = Reporter::new(stage, reporter_habits(&mut border));
        let mut habits = relay_habits(&mut random);
        if stage.scope.border {
            habits.dsn = border.chance(500);
            for smsc in &smscs {
                for _ in 0..border.below(8) {
                    let at = Instant::now() + border.time(1000..60_000);
                    smsc.message_from_mobile(at, Kind::MobileToMail);
                }
            }
        }
        if stage.scope.border || stage.scope.parts {
            peers.spawn(reporter.clone().run(SocketAddr::new([10, 0, 1, 1].into(), 6000), mail));
        }
        if stage.scope.parts {
            let mut parts = stage.random.fork("parts");
            for smsc in &smscs {
                for _ in 0..1 + parts.below(6) {
                    let at = Instant::now() + parts.time(1000..60_000);
                    smsc.parts_from_mobile(at, if parts.chance(500) { 2 } else { 3 });
                }
            }
        }
        peers.spawn(Relay::new(stage, habits, reporter.clone()).run(relay));
        let pace = u64::try_from(plan.active.as_millis()).unwrap();
        let mut done = Vec::new();
        for number in 1..=1 + random.below(3) {
            let habits = mailer_habits(&mut random, pace);
            let mailer = Mailer::new(number, stage, habits);
            done.push(mailer.done());
            peers.spawn(mailer.run(SocketAddr::new([10, 0, 3, 1].into(), 4000), mail));
        }
        for (account, number) in [("shop", 1), ("shop", 2), ("bank", 1)] {
            let habits = esme_habits(&mut random, pace);
            let esme = Esme::new(account, number, stage, habits);
            done.push(esme.done());
            peers.spawn(esme.run(SocketAddr::new([10, 0, 4, 1].into(), 5000), esmes));
        }
        let host = Host::new(stage, host, settings);
        Self {
            stage: stage.clone(),
            host,
            random: random.fork("events"),
            peers,
            smscs,
            reporter,
            done,
        }
    }

    async fn happen(&mut self, plan: &Plan) {
        let total = plan.events.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.below(total);
        let what = plan.events.iter().find(|(weight, _)| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        let Some((_, what)) = what else { return };
        match what {
            What::Nothing => {}
            What::Cut => self.trouble(Trouble::Cut),
            What::Stall => {
                let time = self.random.time(500..20_000);
                self.trouble(Trouble::Stall(time));
            }
            What::Hole => self.trouble(Trouble::Hole),
            What::Crash => self.crash().await,
            What::CrashAfterAnswer => {
                let before = self.stage.facts.all().accepted;
                for _ in 0..2000 {
                    sleep(Duration::from_millis(1)).await;
                    if self.stage.facts.all().accepted > before {
                        break;
                    }
                }
                self.crash().await;
            }
            What::Restart => {
                self.host.stop(None).await;
                let pause = self.random.time(0..3000);
                sleep(pause).await;
                self.host.start(None).await;
                self.host.ensure().await;
            }
            What::FailSync => {
                let after = u64::try_from(self.random.below(20)).unwrap();
                self.stage.note("world", format_args!("a sync will fail after {after}"));
                if let Some(faults) = self.host.faults() {
                    faults.fail_sync_after(after);
                }
            }
            What::NoRoom => {
                self.stage.note("world", format_args!("the next write finds no room"));
                if let Some(faults) = self.host.faults() {
                    faults.refuse_next_write();
                }
            }
            What::Account => self.change_account().await,
            What::Plugin => {
                let random = &mut self.random;
                self.host.reload(|settings| settings.plugins.change(random)).await;
            }
            What::Reload => {
                let (both, retry) = (self.random.chance(500), self.random.chance(500));
                let rate = self.random.chance(500).then(|| 5 + self.random.below(30));
                let change = |settings: &mut Settings| {
                    settings.both = both;
                    settings.retry = if retry { "[1s, 3s, 10s]" } else { "[2s, 20s]" };
                    settings.rate = rate;
                };
                self.host.reload(change).await;
            }
        }
    }

    /// An account goes, comes back, or changes.
    async fn change_account(&mut self) {
        let place = self.random.below(ACCOUNTS.len());
        let (window, rate) = (1 + self.random.below(10), 5 + self.random.below(30));
        let other = self.random.chance(500);
        match self.random.below(5) {
            0 => self.host.reload(|it| it.accounts[place].present ^= true).await,
            1 => {
                self.host.reload(|it| it.accounts[place].present = false).await;
                let pause = if other { self.random.time(0..3000) } else { Duration::ZERO };
                self.host.rest(pause).await;
                self.host.reload(|it| it.accounts[place].present = true).await;
            }
            2 => self.host.reload(|it| it.accounts[place].passwords += 1).await,
            3 => self.host.reload(|it| it.accounts[place].window = other.then_some(window)).await,
            _ => self.host.reload(|it| it.accounts[place].rate = other.then_some(rate)).await,
        }
    }

    async fn crash(&mut self) {
        let silently = self.random.chance(300);
        let kept = if self.random.chance(500) { 0 } else { self.random.below(5) };
        self.host.crash(silently, kept).await;
        let pause = self.random.time(0..4000);
        sleep(pause).await;
        let again = self.random.chance(200).then(|| self.random.time(1..40));
        self.host.start(again).await;
        self.host.ensure().await;
    }

    fn trouble(&mut self, trouble: Trouble) {
        let alive = self.stage.net.alive();
        // One that is busy, if there is one.
        let busy: Vec<u64> =
            alive.iter().filter(|(_, octets)| *octets > 0).map(|(number, _)| *number).collect();
        let any: Vec<u64> = alive.iter().map(|(number, _)| *number).collect();
        let from = if busy.is_empty() || self.random.chance(300) { any } else { busy };
        if !from.is_empty() {
            let number = from[self.random.below(from.len())];
            self.stage.net.trouble(number, trouble);
        }
    }

    /// Waits until nobody has anything to do; false if that never comes.
    async fn come_to_rest(&mut self) -> bool {
        let until = Instant::now() + REST_WITHIN;
        let mut looks = 0;
        while looks < LOOKS {
            if Instant::now() > until {
                return false;
            }
            self.host.rest(LOOK).await;
            while let Some(ended) = self.peers.try_join_next() {
                // Mailers end; whoever panicked ends the run.
                ended.unwrap();
            }
            looks = if self.is_at_rest() { looks + 1 } else { 0 };
        }
        true
    }

    fn is_at_rest(&self) -> bool {
        let peers = self.done.iter().all(|done| done.load(Ordering::Relaxed))
            && self.smscs.iter().all(Smsc::is_done)
            && self.reporter.is_done()
            && self.stage.facts.all().awaited.is_none_or(|until| until < Instant::now());
        peers
            && self.host.app().is_some_and(|app| {
                // What nobody waits for any more is removed from the disk at its own time.
                let written = app.router.spool.stats().waiting_commits == 0;
                waiting(app) == 0 && down(app).is_empty() && written
            })
    }

    /// What is left in the host that should not be.
    fn left(&self, rested: bool) -> Left {
        let mut left = Left::default();
        if !rested {
            left.problems.push(format!("no rest within {REST_WITHIN:?}"));
        }
        let Some(app) = self.host.app() else {
            left.problems.push("the host does not run".to_owned());
            return left;
        };
        let router = &app.router;
        left.entries = router.list(None, 100_000).unwrap();
        for target in router.targets() {
            let (all, scheduled, flying) = target.counts();
            if all + scheduled + flying > 0 {
                let waiting = target.waiting(router.clock.now());
                let name = &target.name;
                left.problems.push(format!(
                    "{name} has {all} ({scheduled} scheduled, {flying} in flight): {waiting:?}"
                ));
            }
        }
        for name in down(app) {
            left.problems.push(format!("{name} is down though its ESME is bound"));
        }
        let stats = router.spool.stats();
        if stats.bodies > stats.entries {
            left.problems.push(format!("{} bodies for {} entries", stats.bodies, stats.entries));
        }
        if stats.waiting_commits > 0 || stats.corrupt > 0 {
            left.problems.push(format!("{stats:?}"));
        }
        left
    }
}

/// Accounts without a session: their ESMEs bind again and again.
fn down(app: &App) -> Vec<Arc<str>> {
    let targets = app.router.targets().into_iter();
    let accounts = targets.filter(|t| !t.name.starts_with("smsc") && &*t.name != "relay");
    accounts.filter(|target| !target.is_up()).map(|target| Arc::clone(&target.name)).collect()
}

/// Deliveries that are not held.
fn waiting(app: &App) -> usize {
    let entries = app.router.list(None, 100_000).unwrap();
    entries.iter().filter(|entry| entry.state != "held").count()
}

fn some(random: &mut Random, most: usize) -> usize {
    if random.chance(500) { random.below(most) } else { 0 }
}

fn smsc_habits(random: &mut Random) -> smsc::Habits {
    smsc::Habits {
        late: some(random, 60),
        silent: some(random, 60),
        later: some(random, 200),
        throttle: some(random, 200),
        never: some(random, 100),
        wrong_number: some(random, 60),
        cut: some(random, 60),
        receipt_lost: some(random, 300),
        receipt_early: some(random, 500),
        receipt_late: some(random, 300),
        receipt_twice: some(random, 300),
        receipt_lie: some(random, 100),
        undelivered: random.below(400),
    }
}

fn relay_habits(random: &mut Random) -> relay::Habits {
    relay::Habits {
        rcpt_later: some(random, 300),
        rcpt_never: some(random, 150),
        data_later: some(random, 300),
        data_never: some(random, 100),
        cut_before_dot: some(random, 100),
        cut_after_dot: some(random, 100),
        slow: some(random, 80),
        busy: some(random, 200),
        dsn: false,
    }
}

fn reporter_habits(random: &mut Random) -> reporter::Habits {
    reporter::Habits {
        lost: some(random, 300),
        early: some(random, 500),
        late: some(random, 300),
        twice: some(random, 300),
        interim: some(random, 300),
        forged: some(random, 100),
        undelivered: random.below(400),
        cut: some(random, 100),
    }
}

fn mailer_habits(random: &mut Random, pace_ms: u64) -> mailer::Habits {
    let messages = 5 + random.below(25);
    mailer::Habits {
        messages,
        pause_ms: pace_ms / u64::try_from(messages).unwrap() / 2,
        pipelines: random.chance(500),
        cut_in_data: some(random, 150),
        cut_after_dot: some(random, 150),
        large: some(random, 100),
    }
}

fn esme_habits(random: &mut Random, pace_ms: u64) -> esme::Habits {
    let submits = 5 + random.below(40);
    let bursts = random.chance(300);
    let pace = pace_ms / u64::try_from(submits).unwrap() / 2;
    esme::Habits {
        submits,
        window: 1 + random.below(15),
        pause_ms: if bursts { 1 } else { pace },
        cut: some(random, 40),
        silent: some(random, 60),
        later: some(random, 200),
        long_texts: some(random, 300),
        short_validity: some(random, 300),
    }
}
