//! Reload: check, build, compare, swap – or leave everything as it is.
//!
//! One task owns it. Files that change, SIGHUP and `wirepost reload` all send it the same request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use message::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::app::Connectors;
use crate::config::{self, CheckOptions, Config, Name, SourceFile};
use crate::generation::{Generation, Health};
use crate::platform::clock::Clock;
use crate::platform::watch::{Folder, Watch, Watched};
use crate::plugin::{Compiler, Compiling, MODULE_BYTES_MAX};
use crate::plugins::{self, Before, PluginSet};
use crate::rehearsal::Rehearsal;
use crate::route::RouteTable;
use crate::router::Router;

/// Octets up to which the content of a file is compared: those of the largest table. Of larger ones
/// sizes and times are.
const COMPARED_BYTES_MAX: u64 = 256 << 20;
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
    /// By file: why one that was dropped into the plugin folder does not run.
    pub refused: BTreeMap<Arc<str>, Arc<str>>,
    /// By plugin: why it goes on with the bytes that it ran with.
    pub stale: BTreeMap<Name, Arc<str>>,
}

/// A generation that could take over.
struct Built {
    generation: Arc<Generation>,
    /// What is different.
    lines: Vec<String>,
    /// Something that decides about messages is different; else only what is known of broken files.
    takes_effect: bool,
    /// The files that it was read from.
    sources: Vec<SourceFile>,
}

/// Asks for reloads and knows the last one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    last: Arc<Mutex<Option<Report>>>,
    plugins: watch::Receiver<Vec<String>>,
    compiler: Compiler,
}

#[derive(Debug)]
struct Request {
    dry_run: bool,
    /// Modules that were refused are tried again although they are as they were.
    anew: bool,
    answer: Option<oneshot::Sender<Report>>,
}

impl Handle {
    /// Reloads, or only checks what a reload would do.
    pub async fn reload(&self, dry_run: bool) -> Report {
        let (answer, waiting) = oneshot::channel();
        let request = Request { dry_run, anew: true, answer: Some(answer) };
        let stopping = || Report {
            ok: false,
            generation: 0,
            at: String::new(),
            lines: vec!["the router is stopping".to_owned()],
            unused: Vec::new(),
            refused: BTreeMap::new(),
            stale: BTreeMap::new(),
        };
        if self.requests.send(request).await.is_err() {
            return stopping();
        }
        waiting.await.unwrap_or_else(|_gone| stopping())
    }

    /// Something changed that is in no file; if requests wait already, they will see it.
    pub fn nudge(&self) {
        let request = Request { dry_run: false, anew: true, answer: None };
        if self.requests.try_send(request).is_err() {
            tracing::debug!(event = "reload.pending");
        }
    }

    /// The last reload that did something or failed.
    #[must_use]
    pub fn last(&self) -> Option<Report> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The plugin that is compiled right now.
    #[must_use]
    pub fn compiling(&self) -> Option<Compiling> {
        self.compiler.under_way()
    }

    /// How many plugins were compiled since the start; known bytes are not.
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.compiler.compiled()
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
        let compiler = self.plugins.compiler().clone();
        let handle = Handle { requests, last: Arc::clone(&last), plugins, compiler };
        let tasks = self.router.tasks.clone();
        tasks.clone().spawn("reload", async move {
            loop {
                let request = tokio::select! {
                    biased;
                    () = tasks.stopping().cancelled() => None,
                    request = inbox.recv() => request,
                    true = file_change(&mut changed) => Some(Request { dry_run: false, anew: false, answer: None }),
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
                    let nothing = || vec!["nothing changed".to_owned()];
                    let running = self.router.generation();
                    let report = report.unwrap_or_else(|| self.report(&running, true, nothing()));
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
        if request.anew {
            self.plugins.forget_refusals();
        }
        let stopping = self.router.tasks.stopping().clone();
        let built = tokio::select! {
            biased;
            () = stopping.cancelled() => return None,
            built = self.build() => built,
        };
        if request.dry_run || built.is_err() {
            self.plugins.tidy().await;
        }
        match built {
            Ok(None) => None,
            Ok(Some(Built { generation, mut lines, takes_effect, .. })) if request.dry_run => {
                if takes_effect {
                    let config = Arc::clone(&generation.config);
                    lines.extend(
                        rehearsed(config, &self.router.clock, self.plugins.compiler()).await,
                    );
                }
                Some(self.report(&generation, takes_effect, lines))
            }
            Ok(Some(built)) => Some(self.take(built).await),
            Err(lines) => {
                if !request.dry_run {
                    self.router.metrics.reloads_refused.inc();
                }
                for line in &lines {
                    tracing::error!(event = "reload.refused", "{line}");
                }
                Some(self.refusal(lines))
            }
        }
    }

    /// Puts a generation in place, or only says what is wrong with files that it does not run.
    async fn take(&mut self, built: Built) -> Report {
        let Built { generation, lines, takes_effect, sources } = built;
        generation.health.announce(&self.router.generation().health);
        self.install(Arc::clone(&generation));
        if takes_effect {
            self.plugins.keep(sources, Arc::clone(&generation)).await;
            self.router.metrics.reloads.inc();
            let number = generation.number;
            tracing::info!(event = "reload.done", generation = number, changes = ?lines);
        } else if generation.health.is_well() {
            tracing::info!(event = "reload.mended", changes = ?lines);
        } else {
            self.router.metrics.reloads_refused.inc();
        }
        self.report(&generation, takes_effect, lines)
    }

    /// What is told when a change that was refused has been taken back: what is on disk runs.
    fn mended(&self, last: &Mutex<Option<Report>>) -> Option<Report> {
        let last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|last| last.ok) {
            return None;
        }
        tracing::info!(event = "reload.mended", "what was refused is as it was");
        let lines = vec!["nothing changed; what was refused is as it was".to_owned()];
        Some(self.report(&self.router.generation(), true, lines))
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
        let plugins = self.plugins.load(&config, &env, Before::Running(&running)).await?;
        let mut lines = changes(&running.config, &config);
        lines.extend(PluginSet::changes(&running.plugins, &plugins.slots));
        let takes_effect =
            !lines.is_empty() || *running.config != *config || running.health.config.is_some();
        let health = Health {
            config: None,
            folder: plugins.folder,
            stale: plugins.stale,
            refused: plugins.refused,
        };
        if !takes_effect && health == running.health && health.is_well() {
            return Ok(None);
        }
        lines.extend(mended(&running.health, &health));
        let generation = Generation {
            // What is known of broken files is no new version of what decides.
            number: running.number + u64::from(takes_effect),
            routes: RouteTable::compile(&config),
            plugins: plugins.slots,
            env,
            config,
            health,
        };
        let (generation, sources) = (Arc::new(generation), loaded.sources);
        Ok(Some(Built { generation, lines, takes_effect, sources }))
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

    /// What came of a generation that was built: a change that took effect is one, whatever else is
    /// refused; and where nothing else changed, what is refused is what there is to say.
    fn report(&self, built: &Generation, takes_effect: bool, mut lines: Vec<String>) -> Report {
        let health = &built.health;
        lines.extend(health.problems());
        let ok = takes_effect || health.is_well();
        let (refused, stale) = (health.refused.clone(), health.stale.clone());
        Report { ok, refused, stale, ..self.refusal(lines) }
    }

    /// What came of a change that could not be built.
    fn refusal(&self, lines: Vec<String>) -> Report {
        let now: Timestamp = self.router.clock.now();
        let generation = self.router.generation();
        Report {
            ok: false,
            generation: generation.number,
            at: now.to_string(),
            lines,
            unused: unused(&generation.config),
            refused: generation.health.refused.clone(),
            stale: generation.health.stale.clone(),
        }
    }
}

/// What came of the configuration's tests, a line for each that is not met.
async fn rehearsed(config: Arc<Config>, clock: &Clock, compiler: &Compiler) -> Vec<String> {
    if config.tests.is_empty() {
        return Vec::new();
    }
    let rehearsal =
        match Rehearsal::open_with(Arc::clone(&config), clock.clone(), compiler.clone()).await {
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

/// What was broken before and is not any more.
fn mended(before: &Health, now: &Health) -> Vec<String> {
    let config = before.config.iter().filter(|_| now.config.is_none());
    let config = config.map(|_why| "the configuration is again the one on disk".to_owned());
    let folder = before.folder.iter().filter(|_| now.folder.is_none());
    let folder = folder.map(|_why| "the plugin folder can be read again".to_owned());
    let stale = before.stale.keys().filter(|name| !now.stale.contains_key(*name));
    let stale = stale.map(|name| format!("plugin {name} is again the one in the folder"));
    let refused = before.refused.keys().filter(|module| !now.refused.contains_key(*module));
    let refused = refused.map(|module| format!("plugin file {module} is refused no more"));
    config.chain(folder).chain(stale).chain(refused).collect()
}

/// What to watch for this configuration: its files, its folders, the plugin folder.
#[must_use]
pub fn watched(config: &Config, main: &std::path::Path) -> Watched {
    let module_bytes_max = u64::try_from(MODULE_BYTES_MAX).unwrap_or(u64::MAX);
    let modules = &config.plugins.folder;
    let named = config.plugins.list.iter().map(|plugin| modules.join(&*plugin.module));
    let mut files: BTreeMap<PathBuf, u64> = named.map(|file| (file, module_bytes_max)).collect();
    let main = std::iter::once(main.to_path_buf());
    files.extend(config.files.iter().cloned().chain(main).map(|file| (file, COMPARED_BYTES_MAX)));
    let folder =
        |path: &PathBuf, suffix, octets_max| Folder { path: path.clone(), suffix, octets_max };
    let mut folders: Vec<Folder> =
        config.folders.iter().map(|path| folder(path, "", config::FILE_BYTES_MAX)).collect();
    if config.plugins.auto.is_some() {
        folders.push(folder(modules, ".wasm", module_bytes_max));
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
