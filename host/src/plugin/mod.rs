//! Plugins: WebAssembly modules that judge messages. Nothing outside this folder names the engine.
//!
//! [`Host::load`] makes octets a [`Plugin`] or says why not; [`Plugin::judge`] asks it about one
//! message. A plugin cannot lose, change or hold up what is not its own: it has a copy of the message,
//! a budget of time and memory, and whatever it did counts only if it came to a clean end.

mod judgement;
mod env;
mod fault;
mod module;
mod features;
mod bounds;
mod compiler;
mod foreign;
mod load;
mod loaded;
mod ready;
mod slots;
mod selftest;
mod hooks;
mod instance;
mod session;
mod lines;
mod words;
mod host_calls;
mod translate;
mod verdict;
mod breaker;
mod kv;
mod quota;
mod told;
mod limits;
mod engine;
mod bindings;

pub use breaker::{Breaker, Change, Sender, Standing, Turn};
pub use compiler::{COMMAND, Cache, Compiler, Compiling, compile_with, serve};
pub use env::{
    Ask, HostEnv, KvFound, KvUnavailable, KvUsage, LogLevel, LogLine, LookupAnswer, LookupError,
    Metric, TargetState,
};
pub use fault::{Fault, LoadError, LoadStep};
pub use judgement::{
    Answers, Call, Fork, Judgement, KvWrite, REPLY_TEXT_CHARS_MAX, ReceiptCall, ReceiptJudgement,
    Reply, SeenReceipt, Stage, Verdict,
};
pub use kv::Claims;
pub use load::{Host, Options, StartError, Workshop};
pub use loaded::{Figures, Plugin};
pub use module::{MODULE_BYTES_MAX, Manifest, Module, hex};
pub use told::{Figure, Told};

#[cfg(test)]
mod tests;
