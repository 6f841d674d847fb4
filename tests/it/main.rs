//! Whole-host tests.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod flow;
mod receipts;
mod border;
mod parts;
mod answers;
mod questions;
mod logs;
mod failure;
mod crash;
mod spool;
mod admission;
mod reload;
mod plugins;
mod forks;
mod figures;
mod queue;
mod drain;
mod clock;
mod overload;
mod rehearsal;
mod dropped;
mod last_good;
mod lookups;
