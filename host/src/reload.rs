//! Reload: check, build, compare, swap – or leave everything as it is.
//!
//! One task owns it. Files that change, SIGHUP and `wirepost reload` all send it the same request.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use message::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::app::Connectors;
use crate::config::{self, CheckOptions, Config, SourceFile};
use crate::generation::{Generation, Health};
use crate::platform::clock::Clock;
use crate::platform::watch::{Watch, Watched};
use crate::plugins::{self, PluginSet};
use crate::rehearsal::Rehearsal;
use crate::route::RouteTable;
use crate::router::Router;

/// Requests that may wait; more than a few at once say the same.
const REQUESTS_MAX: usize = 16;

/// What came of a reload.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Whether a new generation is in place, or would be.
    pub ok: bool,
    /// The generation that decides now.
    pub generation: u64,
    /// When.
    pub at: String,
    /// What changed, or what is wrong, in the order in which it was found.
    pub lines: Vec<String>,
    /// Files of the plugin folder that nothing uses.
    pub unused: Vec<Arc<str>>,
}

/// A generation that could take over.
struct Built {
    generation: Arc<Generation>,
    /// What is different.
    lines: Vec<String>,
    /// The files that it was read from.
    sources: Vec<SourceFile>,
}

/// Asks for reloads and knows the last one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    last: Arc<Mutex<Option<Report>>>,
    plugins: watch::Receiver<Vec<String>>,
}

#[derive(Debug)]
struct Request {
    dry_run: bool,
    answer: Option<oneshot::Sender<Report>>,
}

impl Handle {
    /// Reloads, or only checks what a reload would do.
    pub async fn reload(&self, dry_run: bool) -> Report {
        let (answer, waiting) = oneshot::channel();
        let request = Request { dry_run, answer: Some(answer) };
        let stopping = || Report {
            ok: false,
            generation: 0,
            at: String::new(),
            lines: vec!["the router is stopping".to_owned()],
            unused: Vec::new(),
        };
        if self.requests.send(request).await.is_err() {
            return stopping();
        }
        waiting.await.unwrap_or_else(|_gone| stopping())
    }

    /// Something changed; if requests wait already, they will see it.
    pub fn nudge(&self) {
        let request = Request { dry_run: false, answer: None };
        if self.requests.try_send(request).is_err() {
            tracing::debug!(event = "reload.pending");
        }
    }

    /// The last reload that did something or failed.
    #[must_use]
    pub fn last(&self) -> Option<Report> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The plugins of the generation in place: `name@hash module`.
    #[must_use]
    pub fn plugins(&self) -> Vec<String> {
        self.plugins.borrow().clone()
    }
}

/// What the task owns.
pub struct Reloader {
    /// The main configuration file.
    pub path: PathBuf,
    /// What is reloaded.
    pub router: Arc<Router>,
    /// Loads plugins.
    pub plugins: PluginSet,
    /// Starts and stops connectors.
    pub connectors: Connectors,
    /// Watches the files.
    pub watch: Option<Watch>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Starts the task.
    #[must_use]
    pub fn start(mut self, mut changed: Option<watch::Receiver<u64>>) -> Handle {
        let (requests, mut inbox) = mpsc::channel(REQUESTS_MAX);
        let (labels, plugins) = watch::channel(labels(&self.router.generation()));
        let last = Arc::new(Mutex::new(None));
        let handle = Handle { requests, last: Arc::clone(&last), plugins };
        let tasks = self.router.tasks.clone();
        tasks.clone().spawn("reload", async move {
            loop {
                let request = tokio::select! {
                    biased;
                    () = tasks.stopping().cancelled() => None,
                    request = inbox.recv() => request,
                    true = file_change(&mut changed) => Some(Request { dry_run: false, answer: None }),
                };
                let Some(request) = request else { return };
                let report = self.reload(&request).await;
                let report = match report {
                    None if !request.dry_run => self.mended(&last),
                    report => report,
                };
                labels.send_replace(self::labels(&self.router.generation()));
                if let Some(report) = &report
                    && !request.dry_run
                {
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
                }
                if let Some(answer) = request.answer {
                    let report = report.unwrap_or_else(|| self.report(true, vec!["nothing changed".to_owned()]));
                    if answer.send(report).is_err() {
                        tracing::debug!(event = "reload.unheard");
                    }
                }
            }
        });
        handle
    }

    /// One reload; none if nothing has changed.
    async fn reload(&mut self, request: &Request) -> Option<Report> {
        let built = self.build().await;
        if request.dry_run || built.is_err() {
            self.plugins.tidy().await;
        }
        match built {
            Ok(None) => None,
            Ok(Some(Built { generation, mut lines, sources })) => {
                if request.dry_run {
                    let config = Arc::clone(&generation.config);
                    lines.extend(rehearsed(config, &self.router.clock).await);
                    return Some(self.report(true, lines));
                }
                let (number, slots) = (generation.number, generation.plugins.clone());
                self.install(generation);
                self.plugins.keep(sources, slots).await;
                self.router.metrics.reloads.inc();
                tracing::info!(event = "reload.done", generation = number, changes = ?lines);
                Some(self.report(true, lines))
            }
            Err(lines) => {
                if !request.dry_run {
                    self.router.metrics.reloads_refused.inc();
                }
                for line in &lines {
                    tracing::error!(event = "reload.refused", "{line}");
                }
                Some(self.report(false, lines))
            }
        }
    }

    /// What is told when a change that was refused has been taken back: what is on disk runs.
    fn mended(&self, last: &Mutex<Option<Report>>) -> Option<Report> {
        let last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|last| last.ok) {
            return None;
        }
        tracing::info!(event = "reload.mended", "what was refused is as it was");
        Some(self.report(true, vec!["nothing changed; what was refused is as it was".to_owned()]))
    }

    /// Reads, checks and compiles everything; nothing is touched.
    async fn build(&mut self) -> Result<Option<Built>, Vec<String>> {
        let path = self.path.clone();
        let read = move || config::load(&path, CheckOptions { environment: true });
        let loaded = self
            .router
            .tasks
            .blocking(read)
            .await
            .map_err(|error| vec![format!("the configuration could not be read: {error}")])?;
        let Some(config) = loaded.config else {
            return Err(loaded.findings.iter().map(ToString::to_string).collect());
        };
        let running = self.router.generation();
        let blockers = config.needs_restart(&running.config);
        if !blockers.is_empty() {
            let say = |what: &String| format!("{what}: a change here needs a restart");
            return Err(blockers.iter().map(say).collect());
        }
        let config = Arc::new(config);
        let env = self.plugins.env(&config);
        let plugins = self.plugins.load(&config, &env, &running.plugins, None).await?;
        let mut lines = changes(&running.config, &config);
        lines.extend(PluginSet::changes(&running.plugins, &plugins.slots));
        lines.extend(mended(&running.health));
        if lines.is_empty() && *running.config == *config {
            return Ok(None);
        }
        let generation = Generation {
            number: running.number + 1,
            routes: RouteTable::compile(&config),
            plugins: plugins.slots,
            env,
            config,
            health: Health::default(),
        };
        let (generation, sources) = (Arc::new(generation), loaded.sources);
        Ok(Some(Built { generation, lines, sources }))
    }

    /// One pointer, then what follows from it.
    fn install(&mut self, generation: Arc<Generation>) {
        let config = Arc::clone(&generation.config);
        let gone = self.router.install(generation);
        self.connectors.fit(&self.router, &config);
        if let Some(journal) = &config.journal {
            self.router.journal.set_limits(journal.into());
        }
        for target in gone {
            self.router.adopt(&target);
        }
        if let Some(watch) = &self.watch {
            watch.set(watched(&config, &self.path));
        }
    }

    fn report(&self, ok: bool, lines: Vec<String>) -> Report {
        let now: Timestamp = self.router.clock.now();
        let generation = self.router.generation();
        let unused = unused(&generation.config);
        Report { ok, generation: generation.number, at: now.to_string(), lines, unused }
    }
}

/// What came of the configuration's tests, a line for each that is not met.
async fn rehearsed(config: Arc<Config>, clock: &Clock) -> Vec<String> {
    if config.tests.is_empty() {
        return Vec::new();
    }
    let rehearsal = match Rehearsal::open(Arc::clone(&config), clock.clone()).await {
        Ok(rehearsal) => rehearsal,
        Err(error) => return vec![format!("its tests could not be run: {error}")],
    };
    let mut lines = Vec::new();
    for case in &config.tests {
        let verdict = rehearsal.run(case).await;
        for difference in &verdict.differences {
            let (name, place) = (&verdict.name, &verdict.place);
            let (what, expected, got) = (difference.what, &difference.expected, &difference.got);
            lines.push(format!(
                "test FAILED: {name} ({place}): {what}: expected {expected}, got {got}"
            ));
        }
    }
    if lines.is_empty() {
        lines.push(format!("all its {} tests are met", config.tests.len()));
    }
    lines
}

/// Files of the plugin folder that nothing uses: the list does not name them, and files that are
/// only dropped do not run.
#[must_use]
pub fn unused(config: &Config) -> Vec<Arc<str>> {
    if config.plugins.auto.is_some() {
        return Vec::new();
    }
    plugins::unnamed(&config.plugins).unwrap_or_else(|error| {
        tracing::warn!(event = "plugins.unlisted", %error);
        Vec::new()
    })
}

/// What was broken when the router started and is not any more.
fn mended(health: &Health) -> Vec<String> {
    let config = health.config.iter();
    let config = config.map(|_why| "the configuration is again the one on disk".to_owned());
    let stale = health.stale.keys();
    let stale = stale.map(|name| format!("plugin {name} is again the one in the folder"));
    let refused = health.refused.keys();
    let refused = refused.map(|module| format!("plugin file {module} is refused no more"));
    config.chain(stale).chain(refused).collect()
}

/// What to watch for this configuration: its files, its folders, the plugin folder.
#[must_use]
pub fn watched(config: &Config, main: &std::path::Path) -> Watched {
    let mut files = config.files.clone();
    if !files.iter().any(|file| file == main) {
        files.push(main.to_path_buf());
    }
    files.extend(config.plugins.list.iter().map(|p| config.plugins.folder.join(&*p.module)));
    let mut folders = config.folders.clone();
    if config.plugins.auto.is_some() {
        folders.push(config.plugins.folder.clone());
    }
    Watched { files, folders }
}

async fn file_change(changed: &mut Option<watch::Receiver<u64>>) -> bool {
    match changed {
        Some(receiver) => match receiver.changed().await {
            Ok(()) => true,
            Err(_closed) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

fn labels(generation: &Generation) -> Vec<String> {
    let line =
        |slot: &crate::generation::PluginSlot| format!("{} {}", slot.label, slot.config.module);
    generation.plugins.iter().map(line).collect()
}

/// What is different, by section.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |what: &str, changed: bool| {
        if changed {
            lines.push(format!("{what} changed"));
        }
    };
    say("routes", old.routes != new.routes);
    say("connectors", old.connectors != new.connectors);
    say("accounts", old.accounts != new.accounts);
    say("listeners", old.listeners != new.listeners);
    say("domains", old.domains != new.domains);
    say("tables", old.tables != new.tables);
    say("plugins", old.plugins != new.plugins);
    say(
        "settings",
        old != new
            && old.routes == new.routes
            && old.connectors == new.connectors
            && old.accounts == new.accounts
            && old.listeners == new.listeners
            && old.domains == new.domains
            && old.tables == new.tables
            && old.plugins == new.plugins,
    );
    lines
}
