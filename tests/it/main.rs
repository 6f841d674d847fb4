//! Whole-host tests.

mod crash;
