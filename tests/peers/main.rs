//! Beside crates of others: those that ours replaced still understand us, and we them.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod mailin;
mod yaml;
