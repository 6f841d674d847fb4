//! The running program: everything is built from the configuration, started in order, and drained in
//! the reverse order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use spool::Spool;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{
    Config, Connector, ConnectorKind, Finding, Listener, ListenerKind, Name, SourceFile, SpoolPlace,
};
use crate::generation::{Generation, Health};
use crate::lookup::Lookups;
use crate::observe::journal::{self, Journal};
use crate::observe::log;
use crate::observe::metrics::Metrics;
use crate::platform::clock::Clock;
use crate::platform::last_resort;
use crate::platform::machine::Machine;
use crate::platform::net::{self, Net};
use crate::platform::supervisor::{Inherited, Supervisor};
use crate::platform::watch::Watch;
use crate::plugin::{Cache, Compiler};
use crate::plugins::{Loaded, PluginSet, Surroundings};
use crate::reload::{self, Reloader};
use crate::route::RouteTable;
use crate::router::{Parts, Router, Targets};
use crate::startup::Startup;
use crate::{inbound, outbound, router};

pub use crate::startup::Options;

/// In the folder of the spool: the machine code of plugins.
const COMPILED: &str = "compiled";
/// How often the program looks whether its disk has failed.
const HEALTH_INTERVAL: Duration = Duration::from_millis(200);
/// How long closing the spool and the journal may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// After the time to finish what is in flight, the process is killed so much later if it is still there.
const LAST_RESORT: Duration = Duration::from_secs(8);
/// Time to stop accepting and answer what is in flight after the disk has failed.
const POISONED_DRAIN: Duration = Duration::from_secs(2);

/// Why the program did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has errors.
    #[error("the configuration has errors")]
    Config(Vec<Finding>),
    /// Something is broken, and so is the last good state.
    #[error("{why}; what ran last does not do either: {also}")]
    NothingGood {
        /// What is broken.
        why: String,
        /// Why the last good state cannot be used.
        also: String,
    },
    /// Plugins could not be loaded.
    #[error("plugins could not be loaded: {}", .0.join("; "))]
    Plugins(Vec<String>),
    /// A folder of messages is open to others.
    #[error("{0}")]
    Folder(String),
    /// The spool could not be opened.
    #[error("the spool cannot be opened: {0}")]
    Spool(#[from] spool::OpenError),
    /// A socket could not be bound.
    #[error(
        "listener {listener} cannot listen on {address}: {source}; is another program, or another wirepost, using it? `ss -ltnp` shows which"
    )]
    Socket {
        /// The listener.
        listener: Name,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The disk failed while running: everything acknowledged is in the spool, start again.
    #[error(
        "the spool's disk failed: {0}; nothing acknowledged is lost, start again when the disk is well"
    )]
    Disk(String),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// A router that runs, for the program and for tests of the whole host.
#[derive(Debug)]
pub struct App {
    /// What sessions and connectors share.
    pub router: Arc<Router>,
    /// Asks for reloads.
    pub reload: reload::Handle,
    /// Where listeners listen, by name; useful when the configuration said port 0.
    pub addresses: BTreeMap<Name, Vec<SocketAddr>>,
    /// Where health and metrics are, if the configuration says so.
    pub http: Option<SocketAddr>,
}

/// Runs until SIGTERM or SIGINT, reloads on SIGHUP.
///
/// # Errors
/// [`StartError`].
pub async fn run(options: Options, startup: Startup) -> Result<(), StartError> {
    let mut hangup = listen_for(SignalKind::hangup())?;
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    let supervisor = Supervisor::from_environment();
    let inherited = Inherited::from_environment();
    let starting = Box::pin(App::start_with(&options, startup, Machine::system(), inherited));
    let app = tokio::select! {
        biased;
        // Nothing was taken yet: what was begun is dropped.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        app = starting => app?,
    };
    supervisor.ready();
    let mut alive = Alive::default();
    let poisoned = loop {
        tokio::select! {
            biased;
            _ = hangup.recv() => reload_for(&supervisor, &app),
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            () = tokio::time::sleep(HEALTH_INTERVAL) => {
                if let Some(why) = app.router.spool.poisoned() {
                    break Some(why.to_owned());
                }
                alive.say_if_due(&supervisor, &app.router.clock);
            }
        }
    };
    let wait = app.drain_timeout();
    supervisor.stopping(wait);
    last_resort::end_after(wait + LAST_RESORT).map_err(anyhow::Error::from)?;
    match poisoned {
        None => {
            app.stop(None).await;
            Ok(())
        }
        Some(why) => {
            tracing::error!(event = "spool.poisoned", error = &*why);
            app.stop(Some(POISONED_DRAIN)).await;
            Err(StartError::Disk(why))
        }
    }
}

/// Reloads, and tells the service manager when it began and when it is over.
fn reload_for(supervisor: &Supervisor, app: &App) {
    let (supervisor, reload) = (supervisor.clone(), app.reload.clone());
    app.router.tasks.spawn("reload by signal", async move {
        supervisor.reloading();
        // What came of it is in the log and in `wirepost status`.
        let _report = reload.reload(false).await;
        supervisor.ready();
    });
}

/// When the service manager last heard that we run.
#[derive(Debug, Default)]
struct Alive {
    said: Option<Instant>,
}

impl Alive {
    fn say_if_due(&mut self, supervisor: &Supervisor, clock: &Clock) {
        let Some(period) = supervisor.watchdog() else { return };
        let now = clock.instant();
        if self.said.is_none_or(|said| now.saturating_duration_since(said) >= period) {
            supervisor.alive();
            self.said = Some(now);
        }
    }
}

impl App {
    /// Reads the configuration, or the last good one, and starts with it.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(options: &Options, machine: impl Into<Machine>) -> Result<Self, StartError> {
        let machine = machine.into();
        let startup = Startup::read(options, &machine.tasks).await?;
        Self::start_with(options, startup, machine, Inherited::default()).await
    }

    /// Builds and starts everything, with sockets that listen already; when this returns, listeners
    /// listen.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start_with(
        options: &Options,
        startup: Startup,
        machine: Machine,
        inherited: Inherited,
    ) -> Result<Self, StartError> {
        startup.announce();
        let sockets = bind_all(&startup.config, &machine.net, inherited)?;
        let spool = match machine.spool.clone() {
            Some(spool) => spool,
            None => open_spool(&startup.config)?,
        };
        log::use_key(log::key::of(&spool).await?);
        let targets = Arc::new(ArcSwap::new(Arc::new(Targets::new())));
        let lookups = Arc::new(Lookups::new(&machine));
        let compiler = compiler(&startup, &spool).await?;
        let surroundings = Surroundings {
            spool: spool.clone(),
            targets: Arc::clone(&targets),
            last_good: startup.last_good.clone(),
            lookups: Some(Arc::clone(&lookups)),
            compiler: compiler.clone(),
        };
        let plugins = PluginSet::start(&machine, surroundings).map_err(anyhow::Error::from)?;
        let First { generation, sources, sockets } =
            first(&plugins, startup, sockets, &machine).await?;
        let config = Arc::clone(&generation.config);
        let Machine { clock, net, tasks, attended, .. } = machine;
        let journal = open_journal(&config, &clock)?;
        let parts = Parts {
            clock,
            net,
            tasks,
            spool,
            journal,
            metrics: Metrics::default(),
            targets,
            generation: Arc::clone(&generation),
        };
        let router = Router::open(parts).await?;
        let waiting = router.recover().await?;
        tracing::info!(event = "spool.recovered", waiting);
        router.tasks.spawn("decider", Arc::clone(&router).run_decider());
        router.tasks.spawn("joining", Arc::clone(&router).run_joining());
        router.tasks.spawn("lookups", Arc::clone(&router).run_lookups(lookups));
        router.tasks.spawn("log", log::follow(Arc::clone(&router)));
        router.tasks.spawn("sweeper", Arc::clone(&router).run_sweeper());
        let mut connectors = Connectors::default();
        connectors.fit(&router, &config);
        let addresses = start_listeners(&router, &config, sockets);
        plugins.keep(sources, Arc::clone(&generation)).await;
        let watch = attended.then(|| start_watch(&config, options)).flatten();
        let (watch, changed) = watch.unzip();
        let reloader = Reloader {
            path: options.config.clone(),
            router: Arc::clone(&router),
            plugins,
            connectors,
            watch,
        };
        let reload = reloader.start(changed);
        if compiler.hurry_is_over() {
            // What was not compiled in time is taken when it is.
            reload.nudge();
        }
        let http = match attended {
            true => crate::admin::start(&router, &config, &reload, &addresses).await?,
            false => None,
        };
        tracing::info!(event = "started", addresses = ?addresses, version = env!("CARGO_PKG_VERSION"));
        Ok(Self { router, reload, addresses, http })
    }

    /// Time to finish what is in flight.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.router.generation().config.node.drain_timeout
    }

    /// Accepts nothing more, finishes what is in flight within the configured time (or `within`),
    /// and closes the spool.
    pub async fn stop(self, within: Option<Duration>) {
        let wait = within.unwrap_or_else(|| self.drain_timeout());
        tracing::info!(event = "stopping", wait = ?wait);
        self.router.tasks.stop();
        if self.router.tasks.join(wait).await {
            self.router.note_end().await;
        } else {
            tracing::warn!(event = "stopping.late", tasks = self.router.tasks.running());
        }
        let spool = self.router.spool.clone();
        let journal = self.router.journal.clone();
        let close = move || {
            journal.close();
            spool.close();
        };
        let closed = tokio::time::timeout(CLOSE_MAX, self.router.tasks.blocking(close)).await;
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(event = "spool.close", %error),
            Err(late) => tracing::error!(event = "spool.close", error = %late),
        }
        tracing::info!(event = "stopped");
    }
}

/// Connectors that run, and how to stop each.
#[derive(Debug, Default)]
pub struct Connectors {
    running: BTreeMap<Name, (Arc<Connector>, CancellationToken)>,
}

impl Connectors {
    /// Starts what is new or changed, stops what is gone or changed, leaves the rest as it is.
    pub fn fit(&mut self, router: &Arc<Router>, config: &Config) {
        self.running.retain(|name, (connector, stop)| {
            let same = config.connectors.get(name) == Some(connector);
            if !same {
                stop.cancel();
            }
            same
        });
        for (name, connector) in &config.connectors {
            if self.running.contains_key(name) {
                continue;
            }
            let Some(target) = router.target(name) else { continue };
            let stop = router.tasks.stopping().child_token();
            match &connector.kind {
                ConnectorKind::Smpp(_) => outbound::smpp::start(router, connector, &target, &stop),
                ConnectorKind::Smtp(_) => outbound::smtp::start(router, connector, &target, &stop),
            }
            self.running.insert(Arc::clone(name), (Arc::clone(connector), stop));
        }
    }
}

type Socket = (Arc<Listener>, net::Listener);

/// The first generation, and what it was made of.
struct First {
    generation: Arc<Generation>,
    sources: Vec<SourceFile>,
    sockets: Vec<Socket>,
}

/// Makes the first generation. Where plugins do not load under the configuration on disk, the last
/// good one takes its place.
async fn first(
    plugins: &PluginSet,
    startup: Startup,
    sockets: Vec<Socket>,
    machine: &Machine,
) -> Result<First, StartError> {
    let (mut startup, mut sockets) = (startup, sockets);
    let mut env = plugins.env(&startup.config);
    let loaded = match plugins.load(&startup.config, &env, startup.before()).await {
        Ok(loaded) => loaded,
        Err(lines) => {
            startup = startup.fall_back(lines, &machine.tasks).await?;
            startup.announce();
            sockets = bind_others(&startup.config, &machine.net, sockets)?;
            env = plugins.env(&startup.config);
            let loaded = plugins.load(&startup.config, &env, startup.before()).await;
            loaded.map_err(StartError::Plugins)?
        }
    };
    for module in &loaded.gone {
        let why = "it ran before the start, and its file is not there any more: it does not run";
        tracing::warn!(event = "plugin.gone", module = &**module, "{why}");
    }
    let Startup { config, sources, stale, .. } = startup;
    let Loaded { slots, stale: stale_plugins, refused, folder, .. } = loaded;
    let health = Health { config: stale, folder, stale: stale_plugins, refused };
    health.announce(&Health::default());
    let routes = RouteTable::compile(&config);
    let generation = Generation { number: 1, routes, plugins: slots, env, health, config };
    Ok(First { generation: Arc::new(generation), sources, sockets })
}

/// The sockets of another configuration: those that stay where they are, and new ones for the rest.
fn bind_others(config: &Config, net: &Net, bound: Vec<Socket>) -> Result<Vec<Socket>, StartError> {
    let mut sockets: Vec<Socket> = Vec::new();
    for (old, socket) in bound {
        let new = config.listeners.get(&old.name);
        if let Some(new) = new.filter(|new| addresses(new) == addresses(&old)) {
            sockets.push((Arc::clone(new), socket));
        }
    }
    let mut config = config.clone();
    config.listeners.retain(|name, _| !sockets.iter().any(|(kept, _)| kept.name == *name));
    sockets.extend(bind_all(&config, net, Inherited::default())?);
    Ok(sockets)
}

fn addresses(listener: &Listener) -> &[SocketAddr] {
    match &listener.kind {
        ListenerKind::Smtp(smtp) => &smtp.bind,
        ListenerKind::Smpp(smpp) => &smpp.bind,
    }
}

fn bind_all(
    config: &Config,
    net: &Net,
    mut inherited: Inherited,
) -> Result<Vec<Socket>, StartError> {
    let mut sockets = Vec::new();
    for listener in config.listeners.values() {
        let given = inherited.take(&listener.name);
        if !given.is_empty() {
            for socket in given {
                let socket = net::Listener::adopt(socket).map_err(anyhow::Error::from)?;
                sockets.push((Arc::clone(listener), socket));
            }
            continue;
        }
        for &address in addresses(listener) {
            let socket = net.bind(address).map_err(|source| StartError::Socket {
                listener: Arc::clone(&listener.name),
                address,
                source,
            })?;
            sockets.push((Arc::clone(listener), socket));
        }
    }
    inherited.warn_unused();
    Ok(sockets)
}

fn open_spool(config: &Config) -> Result<Spool, StartError> {
    let mut options = spool::Options::new(monotonic);
    options.reserve_bytes = config.spool.free_bytes_min;
    options.cache_bytes = config.spool.cache_bytes;
    let SpoolPlace::Disk(path) = &config.spool.place else {
        return Ok(Spool::open_memory(options)?);
    };
    let (spool, report) = Spool::open_fjall(path, options)?;
    tracing::info!(event = "spool.open", path = %path.display(), entries = report.entries);
    for damage in &report.corrupt {
        tracing::error!(event = "spool.corrupt", "{damage}; it was set aside, not deleted");
    }
    if let Some(torn) = &report.torn {
        tracing::warn!(event = "spool.torn", "{torn}");
    }
    Ok(spool)
}

/// What compiles plugins, and keeps their machine code beside the spool, if that is on a disk.
async fn compiler(startup: &Startup, spool: &Spool) -> Result<Compiler, StartError> {
    let SpoolPlace::Disk(path) = &startup.config.spool.place else {
        return Ok(Compiler::default());
    };
    let key = router::own_key(spool).await?;
    let compiler = Compiler::new(Some(Cache::new(path.join(COMPILED), &key)));
    if let Some(kept) = &startup.kept {
        compiler.begin_with(kept.modules());
    }
    Ok(compiler)
}

fn monotonic() -> Instant {
    Clock::system().instant()
}

fn open_journal(config: &Config, clock: &Clock) -> Result<Journal, StartError> {
    let Some(journal) = &config.journal else { return Ok(Journal::none()) };
    let options =
        journal::Options { folder: journal.path.clone(), limits: journal::Limits::from(journal) };
    let opened = Journal::open(options, clock.clone()).map_err(|error| {
        anyhow::anyhow!("the journal cannot be written at {}: {error}", journal.path.display())
    })?;
    Ok(opened)
}

fn start_listeners(
    router: &Arc<Router>,
    config: &Config,
    sockets: Vec<Socket>,
) -> BTreeMap<Name, Vec<SocketAddr>> {
    let mut addresses: BTreeMap<Name, Vec<SocketAddr>> =
        config.listeners.keys().map(|name| (Arc::clone(name), Vec::new())).collect();
    for (listener, socket) in sockets {
        if let (Some(known), Ok(address)) = (addresses.get_mut(&listener.name), socket.local_addr())
        {
            known.push(address);
        }
        let router = Arc::clone(router);
        let tasks = router.tasks.clone();
        match &listener.kind {
            ListenerKind::Smtp(_) => {
                tasks.spawn("smtp listener", inbound::smtp::run(router, listener, socket));
            }
            ListenerKind::Smpp(_) => {
                tasks.spawn("smpp listener", inbound::smpp::run(router, listener, socket));
            }
        }
    }
    addresses
}

fn start_watch(
    config: &Config,
    options: &Options,
) -> Option<(Watch, tokio::sync::watch::Receiver<u64>)> {
    let watch = Watch::start(reload::watched(config, &options.config));
    watch
        .inspect_err(|error| {
            tracing::error!(event = "watch.failed", %error, "SIGHUP and `wirepost reload` still work");
        })
        .ok()
}

fn listen_for(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|error| StartError::Other(error.into()))
}
