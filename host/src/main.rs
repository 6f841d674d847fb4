//! The wirepost binary.

fn main() {}
