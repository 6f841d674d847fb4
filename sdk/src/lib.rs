//! Write Wirepost plugins in Rust.
//!
//! A plugin looks at each message that Wirepost carries, mail or SMS, and filters, rewrites, splits or routes
//! it. It is the plain output of `cargo build --target wasm32-unknown-unknown --release` on a `cdylib`:
//!
//! ```
//! use wirepost_sdk::prelude::*;
//!
//! filter!(no_lottery);
//! fn no_lottery(m: &mut Message) -> Verdict {
//!     if m.text().contains("lottery") { reject("no lotteries") } else { next() }
//! }
//! # fn main() {}
//! ```
//!
//! With a configuration and a state, implement [`Plugin`](trait@Plugin) and name the type in [`plugin!`]. The
//! same code runs natively under `cargo test`, on the message model that the host itself uses, see
//! [`testing`].
//!
//! An instance's state dies when the host replaces it (a new version, an age, any panic); what must survive
//! goes into [`kv`].

mod address;
mod envelope;
mod message;
mod plugin;
mod value;

pub mod clock;
pub mod kv;
pub mod log;
pub mod lookup;
pub mod manifest;
pub mod metrics;
pub mod random;
pub mod receipt;
pub mod tables;
pub mod targets;
pub mod verdict;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[path = "guest.rs"]
pub mod guest;
#[cfg(target_arch = "wasm32")]
use guest as backend;

#[cfg(not(target_arch = "wasm32"))]
#[path = "native/mod.rs"]
mod backend;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use address::{Address, Kind};
pub use envelope::{Content, Envelope, Protocol, Stage};
pub use message::{Answers, Message};
pub use plugin::{Failure, IntoVerdict, NoConfig, Plugin, Result, parse_config};
pub use value::{Error, Header, Part, Value};
pub use verdict::{Reply, Verdict};

/// What a plugin usually needs, in one line.
pub mod prelude {
    pub use crate::lookup::{Answer, OnLookup};
    pub use crate::receipt::{OnReceipt, Receipt, Tell};
    pub use crate::verdict::{
        accept, defer, drop_message, hold, next, reject, route, route_any, wait,
    };
    pub use crate::{
        Address, Answers, Content, Error, Failure, Kind, Message, Plugin, Result, Stage, Value,
        Verdict,
    };
    pub use crate::{
        cases, clock, filter, kv, log, lookup, metrics, plugin, random, tables, targets,
    };
}
