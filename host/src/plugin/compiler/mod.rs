//! Modules become machine code here: in a process of their own with limits, one at a time, and once.
//!
//! A module may be valid and yet take minutes and gigabytes to compile. So the router does not do it:
//! it starts itself anew as a compiler, which reads the module, validates it and answers with machine
//! code, or is ended. `docs/adr/0005-compile-in-a-child-process.md` says why.

mod cache;
mod limits;
mod machine_code;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use message::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use wasmtime::component::Component;

pub use self::cache::Cache;
use self::cache::Name;
use self::limits::{Allowance, Exceeded, as_u64};
use self::machine_code::MachineCode;
pub(super) use self::work::not_compiled;
pub use self::work::serve;
use self::work::{Answer, Request, framed, unframed};
use super::engine::Engine;
use super::fault::{LoadError, LoadStep};
use super::module::{Module, hex, too_large};
use crate::config::{CompileLimits, PluginConfig};
use crate::platform::child::{self, Ended};

/// What the hidden command is called.
pub const COMMAND: &str = "compile-plugin";
/// Machine code of one module: some eight times the largest module.
const CODE_BYTES_MAX: u64 = 512 << 20;
/// How long a start that has last good bytes waits for modules that are not known.
const LATE_AT_START: Duration = Duration::from_secs(5);
/// Modules that are remembered for exceeding a limit: their next reload costs nothing.
const REFUSALS_MAX: usize = 64;
/// The allocator takes memory as it is needed, and not a gibibyte ahead, which would count.
const ENVIRONMENT: [(&str, &str); 1] = [("MIMALLOC_ARENA_EAGER_COMMIT", "0")];

/// The program that compiles; none if this process is another one that uses the library.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that is started as a compiler, by its hidden command. Without it – in a test, a
/// simulation – modules are compiled within the process, without limits.
pub fn compile_with(program: PathBuf) {
    // The first one counts: there is one program.
    PROGRAM.get_or_init(|| program);
}

/// Compiles modules, one at a time, and remembers what came of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compiler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Compiling takes a processor for a while; only one is taken.
    slot: Semaphore,
    cache: Option<Cache>,
    limits: Mutex<CompileLimits>,
    under_way: Mutex<Option<Compiling>>,
    /// Modules that exceeded a limit that time does not mend.
    refused: Mutex<BTreeMap<([u8; 32], Allowance), LoadError>>,
    compiled: AtomicU64,
    /// Modules that ran last, by their SHA-256 in hexadecimal: how long they take does not matter.
    ran_last: Mutex<BTreeSet<String>>,
    hurry: Mutex<Option<Hurry>>,
}

/// A start that has something to begin with.
#[derive(Debug)]
struct Hurry {
    until: Instant,
    was_late: bool,
}

/// A compile that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compiling {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Since when, as text.
    pub since: String,
    /// The processor time that it may take; none has no limit.
    pub cpu_ms: Option<u64>,
    /// The time that it may take; none has no limit.
    pub time_ms: Option<u64>,
}

/// A module to compile.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) config: &'a PluginConfig,
    pub(super) octets: Bytes,
    pub(super) now: Timestamp,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Compiler {
    /// A compiler that keeps what it makes in this cache, if there is one.
    #[must_use]
    pub fn new(cache: Option<Cache>) -> Self {
        Self(Arc::new(Inner {
            slot: Semaphore::new(1),
            cache,
            limits: Mutex::default(),
            under_way: Mutex::default(),
            refused: Mutex::default(),
            compiled: AtomicU64::new(0),
            ran_last: Mutex::default(),
            hurry: Mutex::default(),
        }))
    }

    /// From now on a compile may take so much.
    pub fn limit(&self, limits: CompileLimits) {
        *lock(&self.0.limits) = limits;
    }

    /// The compile that is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<Compiling> {
        lock(&self.0.under_way).clone()
    }

    /// How many modules it has compiled; what it found in its cache does not count.
    #[must_use]
    pub fn compiled(&self) -> u64 {
        self.0.compiled.load(Ordering::Relaxed)
    }

    /// A start that may begin with these modules, which ran last: it does not wait long for others.
    pub fn begin_with<'a>(&self, sha256: impl Iterator<Item = &'a str>) {
        *lock(&self.0.ran_last) = sha256.map(str::to_owned).collect();
        let until = Instant::now() + LATE_AT_START;
        *lock(&self.0.hurry) = Some(Hurry { until, was_late: false });
    }

    /// The start is over; whether something was not compiled in time.
    #[must_use]
    pub fn hurry_is_over(&self) -> bool {
        lock(&self.0.hurry).take().is_some_and(|hurry| hurry.was_late)
    }

    /// These modules run, by their SHA-256; the machine code of others is forgotten.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_only(&self, running: &BTreeSet<[u8; 32]>) -> io::Result<()> {
        *lock(&self.0.ran_last) = running.iter().map(|content| hex(content)).collect();
        self.0.cache.as_ref().map_or(Ok(()), |cache| cache.keep_only(running))
    }

    /// What a module says about itself, and its code, ready to run.
    pub(super) async fn compile(
        &self,
        engine: &Arc<Engine>,
        job: Job<'_>,
    ) -> Result<(Module, Component), LoadError> {
        let limits = *lock(&self.0.limits);
        if as_u64(job.octets.len()) > limits.module_bytes_max {
            return Err(too_large(job.octets.len(), limits.module_bytes_max));
        }
        let hashed = job.octets.clone();
        let content: [u8; 32] = blocking(move || Ok(Sha256::digest(&hashed).into())).await?;
        let ran_last = lock(&self.0.ran_last).contains(&hex(&content));
        let request = Request {
            settings: engine.settings(),
            allowance: Allowance::of(&limits, job.octets.len(), ran_last),
            module_bytes_max: limits.module_bytes_max,
            pin: job.config.sha256,
            granted: job
                .config
                .grants
                .imports
                .as_ref()
                .map(|list| list.iter().map(ToString::to_string).collect()),
        };
        if let Some(found) = self.find(engine, content, &request).await? {
            return Ok(found);
        }
        let _turn = self.0.slot.acquire().await.map_err(|closed| lost(&closed.to_string()))?;
        if let Some(refusal) = lock(&self.0.refused).get(&(content, request.allowance)) {
            return Err(refusal.clone());
        }
        // Whoever had the turn before may have wanted the same.
        if let Some(found) = self.find(engine, content, &request).await? {
            return Ok(found);
        }
        let _shown = self.show(&job, request.allowance);
        let made = self.make(content, &request, &job.octets);
        let (module, code) = match self.until_when(ran_last) {
            None => made.await?,
            Some(until) => match timeout_at(until, made).await {
                Ok(made) => made?,
                Err(_late) => return Err(self.late()),
            },
        };
        self.0.compiled.fetch_add(1, Ordering::Relaxed);
        let plugin = &*job.config.name;
        tracing::info!(event = "plugin.compiled", plugin, octets = code.octets().len());
        self.keep_and_open(engine, content, module, code).await
    }

    /// When a start stops waiting for a module; none if it waits.
    fn until_when(&self, ran_last: bool) -> Option<Instant> {
        lock(&self.0.hurry).as_ref().filter(|_| !ran_last).map(|hurry| hurry.until)
    }

    fn late(&self) -> LoadError {
        if let Some(hurry) = &mut *lock(&self.0.hurry) {
            hurry.was_late = true;
        }
        LoadError::new(
            LoadStep::Compile,
            format!(
                "it is not compiled yet, and the start did not wait longer than {LATE_AT_START:?}"
            ),
            "nothing: it is taken once it is compiled",
        )
    }

    /// From the cache.
    async fn find(
        &self,
        engine: &Arc<Engine>,
        content: [u8; 32],
        request: &Request,
    ) -> Result<Option<(Module, Component)>, LoadError> {
        if self.0.cache.is_none() {
            return Ok(None);
        }
        let (this, engine) = (self.clone(), Arc::clone(engine));
        let find = move || {
            let fingerprint = engine.fingerprint();
            let name = Name { content: &content, fingerprint: &fingerprint };
            let Some((module, code)) = this.0.cache.as_ref().and_then(|cache| cache.find(name))
            else {
                return Ok(None);
            };
            // What the engine refuses is made anew.
            Ok(code.open(&engine).ok().map(|component| (module, component)))
        };
        let found = blocking(find).await?;
        if let Some((module, _)) = &found {
            request.check(module)?;
        }
        Ok(found)
    }

    async fn make(
        &self,
        content: [u8; 32],
        request: &Request,
        octets: &Bytes,
    ) -> Result<(Module, MachineCode), LoadError> {
        let Some(program) = PROGRAM.get() else {
            let (request, octets) = (request.clone(), octets.clone());
            let work = move || in_a_thread_of_its_own(|| request.work(&octets));
            let (module, code) = blocking(work).await?;
            return Ok((module, MachineCode::of_our_compiler(code)));
        };
        let head = framed(request).map_err(|error| lost(&error.to_string()))?;
        let work = child::Work {
            program,
            args: &[COMMAND],
            environment: &ENVIRONMENT,
            input: [head.into(), octets.clone()],
            output_bytes_max: CODE_BYTES_MAX,
            within: request.allowance.time,
        };
        let ended = child::run(work)
            .await
            .map_err(|error| lost(&format!("{} does not start: {error}", program.display())))?;
        result_of(ended, request.allowance).map_err(|refusal| match refusal {
            Refusal::Other(error) => error,
            Refusal::Exceeded(exceeded) => {
                let error = request.allowance.refuse(exceeded);
                if exceeded != Exceeded::Time {
                    self.remember(content, request.allowance, &error);
                }
                error
            }
        })
    }

    fn remember(&self, content: [u8; 32], allowance: Allowance, error: &LoadError) {
        let mut refused = lock(&self.0.refused);
        if refused.len() >= REFUSALS_MAX {
            refused.clear();
        }
        refused.insert((content, allowance), error.clone());
    }

    async fn keep_and_open(
        &self,
        engine: &Arc<Engine>,
        content: [u8; 32],
        module: Module,
        code: MachineCode,
    ) -> Result<(Module, Component), LoadError> {
        let (this, engine) = (self.clone(), Arc::clone(engine));
        blocking(move || {
            let component = code.open(&engine)?;
            let fingerprint = engine.fingerprint();
            let name = Name { content: &content, fingerprint: &fingerprint };
            let kept = this.0.cache.as_ref().map(|cache| cache.put(name, &module, &code));
            // A disk that refuses is no reason not to run.
            if let Some(Err(error)) = kept {
                tracing::error!(event = "plugin.cache", %error, "machine code is not kept");
            }
            Ok((module, component))
        })
        .await
    }

    /// Shows what is under way until the answer is dropped.
    fn show(&self, job: &Job<'_>, allowance: Allowance) -> Shown<'_> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let compiling = Compiling {
            plugin: Arc::clone(&job.config.name),
            since: job.now.to_string(),
            cpu_ms: allowance.cpu.map(ms),
            time_ms: allowance.time.map(ms),
        };
        let plugin = &*compiling.plugin;
        tracing::info!(event = "plugin.compiling", plugin, cpu = ?allowance.cpu, within = ?allowance.time);
        *lock(&self.0.under_way) = Some(compiling);
        Shown(&self.0.under_way)
    }
}

struct Shown<'a>(&'a Mutex<Option<Compiling>>);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

/// Why there is no machine code.
enum Refusal {
    Exceeded(Exceeded),
    Other(LoadError),
}

/// What the end of a compiler means.
fn result_of(ended: Ended, allowance: Allowance) -> Result<(Module, MachineCode), Refusal> {
    let (mut output, complaints, status) = match ended {
        Ended::Done { output, complaints, status } => (output, complaints, status),
        Ended::Late => return Err(Refusal::Exceeded(Exceeded::Time)),
        Ended::TooMuch => {
            let reason = format!("its machine code has more than {CODE_BYTES_MAX} octets");
            let error = LoadError::new(LoadStep::Compile, reason, "make it smaller");
            return Err(Refusal::Other(error));
        }
    };
    let no_memory = |text: &str| {
        ["memory allocation of", "out of memory", "Cannot allocate memory"]
            .iter()
            .any(|words| text.contains(words))
    };
    if !status.success() {
        return Err(match child::signal_of(status) {
            Some(libc::SIGXCPU) if allowance.cpu.is_some() => Refusal::Exceeded(Exceeded::Cpu),
            _ if no_memory(&complaints) => Refusal::Exceeded(Exceeded::Memory),
            _ => {
                let first = complaints.lines().next().unwrap_or_default();
                Refusal::Other(lost(&format!("the compiler stopped ({status}) {first}")))
            }
        });
    }
    let Some((answer, length)) = unframed::<Answer>(&output) else {
        return Err(Refusal::Other(lost("the compiler's answer is damaged")));
    };
    if !answer.is_confined {
        tracing::warn!(event = "compiler.not_confined", "this kernel filters no system calls");
    }
    match answer.module {
        Ok(module) => {
            output.drain(..length);
            Ok((module, MachineCode::of_our_compiler(output)))
        }
        Err(error) if error.step == LoadStep::Compile && no_memory(&error.reason) => {
            Err(Refusal::Exceeded(Exceeded::Memory))
        }
        Err(error) => Err(Refusal::Other(error)),
    }
}

fn lost(reason: &str) -> LoadError {
    LoadError::new(LoadStep::Compile, reason, "report it with the module: this is our mistake")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => Err(lost(&format!("the compiler stopped: {panic}"))),
    }
}

/// Compiling takes tens of megabytes, which the allocator keeps for the thread that had them: one that
/// ends gives them back.
fn in_a_thread_of_its_own<T: Send>(
    work: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("wasm-compile".into());
        let ended = thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join);
        match ended {
            Ok(Ok(done)) => done,
            Ok(Err(_panic)) => Err(lost("the compiler stopped: it panicked")),
            Err(error) => Err(lost(&format!("the compiler does not start: {error}"))),
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
