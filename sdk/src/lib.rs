//! Write Wirepost plugins in Rust.
