//! Hostile modules, peers and files beside clean traffic: nobody but their author has to suffer.
//!
//! Each file is one kind. What took traffic down once stays here, with its siblings.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod folder;
mod files;
mod engine;
mod forks;
mod breaker;
mod drops;
mod misdeeds;
mod compile;
mod cache;
mod receipts;
mod addresses;
mod private;
mod poison;
mod certificates;
mod guessing;
mod strangers;
