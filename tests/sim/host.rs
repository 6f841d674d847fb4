//! The host on a simulated machine: it starts, stops, crashes, and starts again on what its disk kept.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use message::Timestamp;
use spool::{Batch, Faults, NEVER_MS, Pump, Spool, Writing};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use wirepost::app::{App, Options, StartError};
use wirepost::platform::clock::Clock;
use wirepost::platform::machine::Machine;
use wirepost::platform::net::Net;
use wirepost::platform::tasks::Tasks;
use wirepost::plugin::Workshop;

use crate::config::Settings;
use crate::facts::{Absence, MARK_WITHIN, Swap};
use crate::peers::Stage;
use crate::plugins::{PLUGINS, Plugins};
use crate::random::Random;
use crate::scope::Scope;

/// How often it is looked whether the disk has failed, as the program does.
const LOOK: Duration = Duration::from_millis(200);
/// Time to answer what is in flight after the disk has failed, as the program gives it.
const POISONED_DRAIN: Duration = Duration::from_secs(2);

/// What one run has compiled, all of them have.
static WORKSHOP: LazyLock<Workshop> =
    LazyLock::new(|| Workshop::simulated(&wirepost::plugin::Options::default()).unwrap());

/// The host and its machine.
pub(crate) struct Host {
    stage: Stage,
    random: Random,
    address: SocketAddr,
    folder: TempDir,
    settings: Settings,
    clock: Clock,
    life: u64,
    disk: Option<(Spool, Faults)>,
    writers: JoinSet<()>,
    running: Option<Running>,
}

struct Running {
    app: App,
    power: CancellationToken,
    faults: Faults,
}

impl Host {
    pub(crate) fn new(stage: &Stage, address: SocketAddr, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        stage.trace.hide(&folder.path().to_string_lossy());
        note_plugins(stage, &Plugins::default(), &settings.plugins, Instant::now());
        Self {
            stage: stage.clone(),
            random: stage.random.fork("host"),
            address,
            folder,
            settings,
            // 2026-11-26T12:00:00Z
            clock: Clock::simulated(Timestamp::from_ms(1_795_694_400_000)),
            life: 0,
            disk: None,
            writers: JoinSet::new(),
            running: None,
        }
    }

    pub(crate) fn app(&self) -> Option<&App> {
        self.running.as_ref().map(|running| &running.app)
    }

    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.running.as_ref().map(|running| &running.faults)
    }

    /// Starts it. It may crash while it does, after this time.
    pub(crate) async fn start(&mut self, crash_after: Option<Duration>) {
        self.life += 1;
        let life = self.life;
        self.stage.note("world", format_args!("host starts, life {life}"));
        let (spool, faults) = match self.disk.take() {
            Some(disk) => disk,
            None => new_disk(self.stage.scope).await,
        };
        let pump = spool.pump().unwrap();
        self.writers.spawn(write(pump, self.random.fork(&format!("disk {life}"))));
        let power = CancellationToken::new();
        let net = Net::simulated(Arc::new(self.stage.net.of_host(life, self.address)));
        let machine = Machine {
            clock: self.clock.clone(),
            net,
            tasks: Tasks::simulated(power.clone()),
            spool: Some(spool),
            plugins: Some(WORKSHOP.clone()),
            seed: self.random.next(),
            attended: false,
        };
        let config = self.write_config();
        let options = Options::new(config);
        let starting = App::start(&options, machine);
        let started = tokio::select! {
            biased;
            () = after(crash_after) => None,
            started = starting => Some(started),
        };
        match started {
            Some(Ok(app)) => self.running = Some(Running { app, power, faults }),
            Some(Err(error)) => {
                self.stage.note("world", format_args!("not started: {}", explain(&error)));
                if faults_of(&error).is_none() {
                    self.stage.facts.wrong(format!("it does not start: {}", explain(&error)));
                }
                self.lose_power(&power, &faults, true, 0).await;
            }
            None => {
                self.stage.note("world", format_args!("crash while it starts"));
                self.lose_power(&power, &faults, true, 0).await;
            }
        }
    }

    /// Everything stops where it is. What was not synced is lost, but for the first `kept` groups.
    pub(crate) async fn crash(&mut self, silently: bool, kept: usize) {
        let Some(Running { app, power, faults }) = self.running.take() else { return };
        self.stage.note("world", format_args!("crash, silent {silently}, {kept} kept"));
        self.lose_power(&power, &faults, silently, kept).await;
        drop(app);
    }

    async fn lose_power(
        &mut self,
        power: &CancellationToken,
        faults: &Faults,
        silently: bool,
        kept: usize,
    ) {
        self.disk = Some(faults.crash_keeping(kept, options()).unwrap());
        self.stage.facts.all().deaths.push(Instant::now());
        power.cancel();
        self.stage.net.drop_life(self.life, silently);
        self.writers.shutdown().await;
        // Every task of the old life drops what it has.
        tokio::task::yield_now().await;
    }

    /// Stops it in order.
    pub(crate) async fn stop(&mut self, within: Option<Duration>) {
        let Some(Running { app, power, faults }) = self.running.take() else { return };
        self.stage.note("world", format_args!("host stops"));
        let began = Instant::now();
        let poisoned = app.router.spool.poisoned().is_some();
        let spool = app.router.spool.clone();
        app.stop(within).await;
        {
            let (mut all, now) = (self.stage.facts.all(), Instant::now());
            all.changes.extend([began, now]);
            if poisoned {
                all.deaths.extend([began, now]);
            } else if spool.poisoned().is_some() {
                // It failed at some time on the way.
                let times = std::iter::successors(Some(began), |at| Some(*at + MARK_WITHIN / 3));
                all.deaths.extend(times.take_while(|at| *at < now).chain([now]));
            }
        }
        self.disk = Some(faults.crash_keeping(0, options()).unwrap());
        power.cancel();
        self.stage.net.drop_life(self.life, false);
        self.writers.shutdown().await;
        self.stage.note("world", format_args!("host stopped"));
    }

    /// Lets time pass, and does what a supervisor does when the disk has failed.
    pub(crate) async fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep(LOOK.min(until - Instant::now())).await;
            let poisoned = self.app().is_some_and(|app| app.router.spool.poisoned().is_some());
            if poisoned {
                self.stage.note("world", format_args!("the disk has failed"));
                self.stop(Some(POISONED_DRAIN)).await;
                self.start(None).await;
            }
        }
    }

    /// Makes sure that it runs.
    pub(crate) async fn ensure(&mut self) {
        while self.running.is_none() {
            self.start(None).await;
        }
    }

    /// Another configuration.
    pub(crate) async fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        let before = self.settings.clone();
        change(&mut self.settings);
        self.write_config();
        let began = Instant::now();
        {
            let mut all = self.stage.facts.all();
            all.changes.push(began);
            let removed = before.removed(&self.settings);
            all.removed.extend(removed.into_iter().map(|name| (name, began)));
        }
        if let Some(app) = self.app() {
            let report = app.reload.reload(false).await;
            self.stage.note("world", format_args!("reload: {} {:?}", report.ok, report.lines));
            if !report.ok {
                self.stage.facts.wrong(format!("a reload was refused: {:?}", report.lines));
            }
        }
        self.note_accounts(&before, began);
        note_plugins(&self.stage, &before.plugins, &self.settings.plugins, began);
    }

    /// Tells the ESMEs and the checkers what changed.
    fn note_accounts(&self, before: &Settings, began: Instant) {
        let (mut all, now) = (self.stage.facts.all(), Instant::now());
        for (before, account) in before.accounts.iter().zip(&self.settings.accounts) {
            self.stage.set_password(account.name, account.password());
            match (before.present, account.present) {
                (true, false) => all.absences.push(Absence {
                    account: account.name,
                    known: now,
                    until: None,
                    over: None,
                }),
                (false, true) => {
                    let ended = all.absences.iter_mut().rev();
                    let mut ended = ended.filter(|absence| absence.account == account.name);
                    if let Some(absence) = ended.next() {
                        (absence.until, absence.over) = (Some(began), Some(now));
                    }
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    fn write_config(&self) -> PathBuf {
        let path = self.folder.path().join("wirepost.yaml");
        if self.settings.scope.plugins {
            self.settings.plugins.install(self.folder.path());
        }
        fs::write(&path, self.settings.yaml()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// Tells the checkers which plugins came and went; at first also which are not there.
fn note_plugins(stage: &Stage, before: &Plugins, after: &Plugins, from: Instant) {
    let mut all = stage.facts.all();
    let is_first = all.swaps.is_empty();
    let presence = before.present.into_iter().zip(after.present);
    for (plugin, (before, present)) in PLUGINS.into_iter().zip(presence) {
        if is_first || before != present {
            all.swaps.push(Swap { plugin, present, from, known: Instant::now() });
        }
    }
}

/// An empty disk, but for the keys that are random otherwise.
async fn new_disk(scope: Scope) -> (Spool, Faults) {
    let (spool, faults) = Spool::open_memory_with_faults(options()).unwrap();
    let mut batch = Batch::new();
    let keys: &[&[u8]] =
        if scope.border { &[b"log/key", b"keys/return-path"] } else { &[b"log/key"] };
    for key in keys {
        batch.put_key(Bytes::from_static(key), Bytes::from_static(&[7; 32]), NEVER_MS);
    }
    let kept = spool.commit(batch);
    assert!(spool.pump().unwrap().work());
    drop(kept.await.unwrap());
    (spool, faults)
}

fn options() -> spool::Options {
    let mut options = spool::Options::new(|| Instant::now().into_std());
    options.writing = Writing::Pump;
    options.reserve_bytes = 0;
    options
}

/// The disk: it writes what waits, and takes its time for each sync.
async fn write(pump: Pump, mut random: Random) {
    loop {
        match pump.patience() {
            None => pump.come().await,
            Some(patience) => {
                tokio::select! {
                    biased;
                    () = pump.come() => {}
                    () = sleep(patience) => {}
                }
            }
        }
        let took = if random.chance(20) { random.time(50..900) } else { random.time(0..8) };
        sleep(took).await;
        if !pump.work() {
            return;
        }
    }
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

/// A start may fail if the disk does.
fn faults_of(error: &StartError) -> Option<()> {
    let text = explain(error);
    (text.contains("injected") || text.contains("space")).then_some(())
}

fn explain(error: &StartError) -> String {
    match error {
        StartError::Config(findings) => {
            findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}
