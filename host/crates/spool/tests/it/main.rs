//! The spool's promises, against every implementation.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod common;
mod suite;
mod model;
mod faults;
mod disk;
mod crash;
mod totals;
