//! The harness of the whole-host tests.
