//! From octets to a plugin that is ready to judge, step by step; any step may refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use thiserror::Error;
use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::Plugin as World;
use super::compiler::{Compiler, Job, not_compiled};
use super::engine::Engine;
use super::env::HostEnv;
use super::fault::{Fault, LoadError, LoadStep};
use super::hooks::HooksPre;
use super::kv::PluginKv;
use super::loaded::Plugin;
use super::module::{API, Module};
use super::selftest;
use super::session::{Context, Shared};
use super::slots::SLOTS;
use super::words::sized;
use crate::config::PluginConfig;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most memory that any plugin may be given.
    pub memory_bytes_max: usize,
    /// Instances of all plugins together.
    pub instances_max: usize,
    /// What compiles modules.
    pub compiler: Compiler,
}

impl Default for Options {
    fn default() -> Self {
        let compiler = Compiler::default();
        Self { memory_bytes_max: 64 << 20, instances_max: SLOTS, compiler }
    }
}

/// The engine does not start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the WebAssembly engine does not start: {0}; this processor or system is not supported")]
pub struct StartError(String);

/// An engine without a clock for the routers of a simulation, which shares what it has compiled: how
/// long a module computes on this machine decides nothing. Cheap to clone.
#[derive(Clone)]
pub struct Workshop {
    engine: Arc<Engine>,
    /// By the hash of their octets.
    compiled: Arc<Mutex<BTreeMap<[u8; 32], Component>>>,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Workshop {
    /// A workshop that has compiled nothing yet.
    ///
    /// # Errors
    /// The engine does not run on this machine.
    pub fn simulated(options: &Options) -> Result<Self, StartError> {
        let engine = Engine::still(options).map_err(|error| failed(&error))?;
        Ok(Self { engine: Arc::new(engine), compiled: Arc::default() })
    }

    fn make(
        &self,
        config: &PluginConfig,
        octets: &Bytes,
    ) -> Result<(Module, Component), LoadError> {
        let module = Module::read(octets, config.sha256.as_ref())?;
        module.check_imports(config.grants.imports.as_deref())?;
        let component = self.compile(&module)?;
        Ok((module, component))
    }

    fn compile(&self, module: &Module) -> Result<Component, LoadError> {
        // Whoever wants the same module waits for it.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(component) = compiled.get(&module.sha256) {
            return Ok(component.clone());
        }
        let component = Component::new(self.engine.wasmtime(), &module.component)
            .map_err(|error| not_compiled(&error))?;
        compiled.insert(module.sha256, component.clone());
        Ok(component)
    }
}

/// Runs all plugins of the process. Loading one does not disturb those that run.
pub struct Host {
    engine: Arc<Engine>,
    linker: Linker<Context>,
    memory_bytes_max: usize,
    compiler: Compiler,
    /// In a simulation: what is compiled there is not compiled again.
    workshop: Option<Workshop>,
    /// Counters and claims of plugins by name; they outlive a swap.
    keys: Mutex<BTreeMap<Arc<str>, Arc<PluginKv>>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Host {
    /// Starts the engine and its ticker.
    ///
    /// # Errors
    /// The engine does not run on this machine.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let engine = Engine::start(&options).map_err(|error| failed(&error))?;
        Self::with(Arc::new(engine), options, None)
    }

    /// Works in a workshop that is there already.
    ///
    /// # Errors
    /// The engine does not run on this machine.
    pub fn simulated(options: Options, workshop: Workshop) -> Result<Self, StartError> {
        Self::with(Arc::clone(&workshop.engine), options, Some(workshop))
    }

    fn with(
        engine: Arc<Engine>,
        options: Options,
        workshop: Option<Workshop>,
    ) -> Result<Self, StartError> {
        let mut linker = Linker::new(engine.wasmtime());
        World::add_to_linker::<_, HasSelf<Context>>(&mut linker, |context| context)
            .map_err(|error| failed(&error))?;
        Ok(Self {
            engine,
            linker,
            memory_bytes_max: options.memory_bytes_max,
            compiler: options.compiler,
            workshop,
            keys: Mutex::default(),
        })
    }

    /// Whether slots for instances are kept ready; without them each costs some microseconds more.
    #[must_use]
    pub fn is_pooling(&self) -> bool {
        self.engine.is_pooling()
    }

    /// What happens now and then: instances go that the traffic of late has not needed.
    #[cfg(test)]
    pub(super) fn shrink_instances(&self) {
        self.engine.slots().shrink();
    }

    /// What compiles its modules.
    #[must_use]
    pub const fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Makes a plugin of octets: validated, compiled in a process of its own, configured, tested on
    /// messages of our own, with one instance ready. Dropping the future ends the compile.
    ///
    /// # Errors
    /// The step that refused, with reason and remedy. Nothing that runs is touched.
    pub async fn load(
        &self,
        config: &Arc<PluginConfig>,
        octets: Bytes,
        env: &Arc<dyn HostEnv>,
    ) -> Result<Arc<Plugin>, LoadError> {
        let memory = usize::try_from(config.limits.memory_bytes).unwrap_or(usize::MAX);
        if memory > self.memory_bytes_max {
            return Err(LoadError::new(
                LoadStep::Init,
                format!(
                    "`limits: memory` is over the {} of a plugin",
                    sized(self.memory_bytes_max)
                ),
                "lower it",
            ));
        }
        let (module, component) = match &self.workshop {
            Some(workshop) => workshop.make(config, &octets)?,
            None => {
                let job = Job { config, octets, now: env.now() };
                self.compiler.compile(&self.engine, job).await?
            }
        };
        let hooks = self.link(&module, &component)?;
        let shared = Arc::new(Shared::new(Arc::clone(config), self.keys_of(&config.name)));
        let plugin = Plugin::new(Arc::clone(&self.engine), hooks, shared, &module);
        plugin.warm(env).await.map_err(|fault| start_error(&fault, &module))?;
        selftest::run(&plugin, env).await?;
        // Messages of our own are no part of what a plugin may remember.
        plugin.renew(env).await.map_err(|fault| init_error(&fault))?;
        Ok(Arc::new(plugin))
    }

    fn link(&self, module: &Module, component: &Component) -> Result<HooksPre, LoadError> {
        let linked = self
            .linker
            .instantiate_pre(component)
            .map_err(|error| unfit(module, &format!("{error:#}")))?;
        HooksPre::new(linked).map_err(|error| {
            LoadError::new(
                LoadStep::Hooks,
                format!("it has no hook that this host runs: {error:#}"),
                "let it export `lifecycle` and `on-message`; `plugin!` and `filter!` do",
            )
        })
    }

    fn keys_of(&self, name: &Arc<str>) -> Arc<PluginKv> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(keys.entry(Arc::clone(name)).or_default())
    }
}

fn failed(error: &wasmtime::Error) -> StartError {
    StartError(format!("{error:#}"))
}

/// Types of imports are compared before there is an instance, types of exports when there is one.
fn unfit(module: &Module, why: &str) -> LoadError {
    let sdk = module.manifest.as_ref().map_or("unknown", |manifest| &manifest.sdk);
    LoadError::new(
        LoadStep::Link,
        format!("it does not fit interface {API} (its SDK: {sdk}): {why}"),
        "build it with the wirepost-sdk of this host's version",
    )
}

fn start_error(fault: &Fault, module: &Module) -> LoadError {
    match fault {
        Fault::Unfit(why) => unfit(module, why),
        _ => init_error(fault),
    }
}

fn init_error(fault: &Fault) -> LoadError {
    let (reason, remedy) = match fault {
        Fault::Error(text) => (
            format!("it does not take its configuration: {text}"),
            "correct the plugin's `config` in the YAML",
        ),
        Fault::Busy(_) => (
            format!("it was not tried: {fault}"),
            "nothing is wrong with it: reload again when the router has room",
        ),
        Fault::Trap { .. }
        | Fault::Timeout(_)
        | Fault::CpuBudget(_)
        | Fault::Memory(_)
        | Fault::Denied(_)
        | Fault::Unknown(_)
        | Fault::Unfit(_)
        | Fault::Output(_)
        | Fault::Unavailable(_) => {
            (format!("it does not start: {fault}"), "its author has to correct `new`")
        }
    };
    LoadError::new(LoadStep::Init, reason, remedy)
}
