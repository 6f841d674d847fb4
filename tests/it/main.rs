//! Whole-host tests.
