//! The harness of the whole-host tests.

pub mod crash;
