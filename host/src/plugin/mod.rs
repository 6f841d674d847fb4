//! Plugins: WebAssembly modules that judge messages. Nothing outside this folder names the engine.
//!
//! [`Host::load`] makes octets a [`Plugin`] or says why not; [`Plugin::judge`] asks it about one
//! message. A plugin cannot lose, change or hold up what is not its own: it has a copy of the message,
//! a budget of time and memory, and whatever it did counts only if it came to a clean end.

mod bindings;
mod engine;
mod env;
mod fault;
mod host_calls;
mod judgement;
mod kv;
mod limits;
mod module;

pub use env::{HostEnv, KvFound, KvUnavailable, LogLevel, LogLine, Metric, TargetState};
pub use fault::{Fault, LoadError, LoadStep};
pub use judgement::{
    Answers, Call, Fork, Judgement, KvWrite, REPLY_TEXT_CHARS_MAX, Reply, Stage, Verdict,
};
pub use kv::Claims;
pub use module::{MODULE_BYTES_MAX, Manifest, Module};
