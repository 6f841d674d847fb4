//! The spool's promises, against every implementation.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "seeds and skips are told")]

mod common;
mod suite;
mod model;
mod faults;
mod disk;
mod crash;
mod totals;
mod images;
mod journal;
mod damage;
