//! One instance of a plugin: its memory, its budget, its calls.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use super::bindings::wirepost::plugin::types as wit;
use super::engine::{Engine, TICK};
use super::env::HostEnv;
use super::fault::Fault;
use super::hooks::{Hooks, HooksPre, NoInstance};
use super::limits::{
    AGE_MAX, BACKTRACE_BYTES_MAX, CALLS_MAX, ERROR_BYTES_MAX, HANDLES_MAX, HOSTCALL_BYTES_MAX,
    INIT_TIME_MAX, PANIC_TEXT_BYTES_MAX, WAIT_STATE_BYTES_MAX, WAITS_MAX,
};
use super::session::{Context, Session, Shared, arm};
use super::slots::Slot;
use super::translate::lower_answer;
use super::words::{sized, tamed};

/// Frames of a backtrace that are looked at for recursion: as many as the engine keeps.
const DEEP_FRAMES: usize = 20;
/// How often a function is among them if it calls itself, perhaps by way of others.
const DEEP_CALLS: usize = 4;

/// An instance with its configuration. After any fault but an error of the plugin's own it is dead.
pub(super) struct Instance {
    store: Store<Context>,
    hooks: Hooks,
    memory_bytes_max: usize,
    calls: u32,
    born: Duration,
    /// Given back when the store is gone.
    _slot: Slot,
}

/// What a plugin gave for a message.
#[derive(Debug)]
pub(super) enum Given {
    /// Its verdict.
    Verdict(wit::Verdict),
    /// It waits for the answers of these look-ups.
    Waits(Arc<str>),
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Instance {
    /// Makes an instance and gives it its configuration.
    pub(super) async fn start(
        engine: &Engine,
        hooks: &HooksPre,
        shared: &Arc<Shared>,
        env: &Arc<dyn HostEnv>,
        slot: Slot,
    ) -> Result<Self, Fault> {
        let memory = shared.config.limits.memory_bytes;
        let memory_bytes_max = usize::try_from(memory).unwrap_or(usize::MAX);
        let mut store = Store::new(engine.wasmtime(), Context::new(memory_bytes_max));
        store.limiter(Context::limiter_mut);
        store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_callback(|mut store| store.data_mut().tick());
        // An instance may have to be made while a message waits: what does not fit into the time of a
        // call is refused when the plugin is loaded, not when the first instance is worn.
        let cpu = INIT_TIME_MAX.min(shared.config.limits.time);
        arm(&mut store, ticks(cpu));
        store.data_mut().session = Some(Session::starting(shared, env));
        let _running = engine.running();
        let work = async {
            let hooks = match hooks.instantiate(&mut store).await {
                Ok(hooks) => hooks,
                Err(NoInstance::Stopped(error)) => {
                    return Err(fault(&mut store, &error, cpu, memory));
                }
                Err(NoInstance::Unfit(error)) => return Err(Fault::Unfit(format!("{error:#}"))),
            };
            let init = hooks.plugin.wirepost_plugin_lifecycle();
            match init.call_init(&mut store, &shared.config.config_json).await {
                Ok(Ok(())) => Ok(hooks),
                Ok(Err(text)) => Err(own_error(&text)),
                Err(error) => Err(fault(&mut store, &error, cpu, memory)),
            }
        };
        let hooks = match tokio::time::timeout(INIT_TIME_MAX, work).await {
            Ok(hooks) => hooks?,
            Err(_elapsed) => return Err(Fault::Timeout(INIT_TIME_MAX)),
        };
        store.data_mut().session = None;
        Ok(Self { store, hooks, memory_bytes_max, calls: 0, born: env.monotonic(), _slot: slot })
    }

    /// Lets the plugin judge the message of the session. The caller drops the instance after any
    /// fault that leaves it dead, and when it gives up waiting.
    pub(super) async fn process(
        &mut self,
        session: Session,
        cpu: Duration,
    ) -> Result<(Given, Session), Fault> {
        self.calls += 1;
        arm(&mut self.store, ticks(cpu));
        let first = self.store.data_mut().begin(session);
        let message = || Resource::new_borrow(first);
        let Some(envelope) = self.store.data_mut().envelope_of(&message()) else {
            return Err(Fault::Unavailable("there is no message to judge".to_owned()));
        };
        let hook = self.hooks.plugin.wirepost_plugin_on_message();
        let called = hook.call_process(&mut self.store, message(), &envelope).await;
        let mut judged = self.came_back(called, cpu)?;
        for _ in 0..WAITS_MAX {
            let state = match judged {
                Ok(wit::Verdict::Wait(state)) => state,
                Ok(verdict) => return Ok((Given::Verdict(verdict), self.end()?)),
                Err(text) => {
                    self.end()?;
                    return Err(own_error(&text));
                }
            };
            if state.len() > WAIT_STATE_BYTES_MAX {
                return Err(Fault::Output(format!(
                    "`wait` with more than {} of state",
                    sized(WAIT_STATE_BYTES_MAX)
                )));
            }
            let Some(hook) = &self.hooks.lookup else {
                return Err(Fault::Unknown("`wait`: the plugin has no `on-lookup`".to_owned()));
            };
            let (answers, what) = self.store.data_mut().answers();
            if what.is_empty() {
                return Err(Fault::Unknown("`wait` without a question".to_owned()));
            }
            let Some(answers) = answers else { return Ok((Given::Waits(what), self.end()?)) };
            let answers: Vec<_> = answers.into_iter().map(lower_answer).collect();
            let hook = hook.wirepost_plugin_on_lookup();
            let called =
                hook.call_resume(&mut self.store, message(), &envelope, &state, &answers).await;
            judged = self.came_back(called, cpu)?;
        }
        Err(Fault::Output(format!("it waited {WAITS_MAX} times in one call")))
    }

    /// Shows the receipt of the session to the plugin; its code.
    pub(super) async fn see_receipt(
        &mut self,
        session: Session,
        cpu: Duration,
    ) -> Result<(u16, Session), Fault> {
        self.calls += 1;
        arm(&mut self.store, ticks(cpu));
        self.store.data_mut().begin(session);
        let Some(hook) = &self.hooks.receipt else {
            return Err(Fault::Unavailable("it has no `on-receipt`".to_owned()));
        };
        let hook = hook.wirepost_plugin_on_receipt();
        let called = hook.call_process(&mut self.store, Resource::new_borrow(0)).await;
        let judged = self.came_back(called, cpu)?;
        let session = self.end()?;
        Ok((judged.map_err(|text| own_error(&text))?, session))
    }

    fn came_back<T>(&mut self, called: wasmtime::Result<T>, cpu: Duration) -> Result<T, Fault> {
        called.map_err(|error| {
            let memory = u64::try_from(self.memory_bytes_max).unwrap_or(u64::MAX);
            fault(&mut self.store, &error, cpu, memory)
        })
    }

    fn end(&mut self) -> Result<Session, Fault> {
        let session = self.store.data_mut().end();
        session.ok_or_else(|| Fault::Unavailable("the session is gone".to_owned()))
    }

    /// Whether it has served long enough: memory never shrinks, and state goes stale.
    pub(super) fn is_worn(&self, now: Duration) -> bool {
        self.calls >= CALLS_MAX
            || now.saturating_sub(self.born) >= AGE_MAX
            || self.store.data().limiter().bytes() > self.memory_bytes_max / 2
    }
}

/// Whether the instance that gave this fault can be called again.
pub(super) const fn survives(fault: &Fault) -> bool {
    matches!(fault, Fault::Error(_))
}

fn ticks(budget: Duration) -> u32 {
    u32::try_from(budget.as_millis() / TICK.as_millis().max(1)).unwrap_or(u32::MAX)
}

fn fault(
    store: &mut Store<Context>,
    error: &wasmtime::Error,
    cpu: Duration,
    memory_bytes: u64,
) -> Fault {
    let context = store.data_mut();
    if context.is_out_of_ticks() {
        return Fault::CpuBudget(cpu);
    }
    if context.limiter().refused() {
        return Fault::Memory(memory_bytes);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Busy(error.root_cause().to_string());
    }
    if is_out_of_memory(error) {
        return Fault::Busy("the system gives the router no more memory".to_owned());
    }
    let panic = context.session.as_mut().and_then(Session::take_panic);
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let reason = panic.unwrap_or_else(|| trap_reason(error, backtrace));
    Fault::Trap { reason, backtrace: backtrace.map(render).unwrap_or_default() }
}

/// Whether the system has no memory, or no address space, for an instance: no plugin's fault.
fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    let cause = error.root_cause();
    let number = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    let errno = cause.downcast_ref::<rustix::io::Errno>().map(|errno| errno.raw_os_error());
    number.or(errno) == Some(rustix::io::Errno::NOMEM.raw_os_error())
}

/// What an author can do something with. The stack that Rust and C keep in memory ends in a trap that says
/// nothing of stacks.
fn trap_reason(error: &wasmtime::Error, backtrace: Option<&WasmBacktrace>) -> String {
    let trap = error.root_cause().to_string();
    let deep = backtrace.is_some_and(is_deep_recursion);
    let reason = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => format!("its stack is used up ({trap})"),
        Some(Trap::MemoryOutOfBounds) if deep => {
            format!("its stack is used up, it seems: a function calls itself without end ({trap})")
        }
        _ => trap,
    };
    tamed(&reason, PANIC_TEXT_BYTES_MAX).into_owned()
}

/// Whether one function is on the stack again and again.
fn is_deep_recursion(backtrace: &WasmBacktrace) -> bool {
    let frames = backtrace.frames();
    let mut functions: Vec<u32> = frames.iter().map(wasmtime::FrameInfo::func_index).collect();
    functions.sort_unstable();
    let most = functions.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0);
    frames.len() >= DEEP_FRAMES && most >= DEEP_CALLS
}

/// An error that a plugin returned.
fn own_error(text: &str) -> Fault {
    Fault::Error(tamed(text, ERROR_BYTES_MAX).into_owned())
}

/// Function names, the innermost first, without those of the panic machinery. The engine demangles only
/// what it prints itself: `  0: 0x1a2b - module!path::function`.
fn render(backtrace: &WasmBacktrace) -> String {
    let printed = backtrace.to_string();
    let mut text = String::new();
    for line in printed.lines().skip(1) {
        let name = line.split_once(" - ").map_or(line, |(_, name)| name);
        let name = name.split_once('!').map_or(name, |(_, name)| name).trim();
        if ["panick", "__rust", "rust_begin", "std::"].iter().any(|part| name.contains(part)) {
            continue;
        }
        if text.len() + name.len() > BACKTRACE_BYTES_MAX {
            break;
        }
        if !text.is_empty() {
            text.push_str(" < ");
        }
        push_without_hashes(&mut text, &tamed(name, BACKTRACE_BYTES_MAX));
    }
    text
}

/// Crates are printed as `name[16 digits]`; the digits help nobody.
fn push_without_hashes(text: &mut String, name: &str) {
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        match after.split_once(']') {
            Some((digits, after)) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => rest = after,
            Some(_) | None => {
                text.push('[');
                rest = after;
            }
        }
    }
    text.push_str(rest);
}
