//! Everything that makes two runs differ: time, tasks, the network, files that change.

pub mod machine;
pub mod clock;
pub mod file;
pub mod leap;
pub mod memory;
pub mod supervisor;
pub mod tasks;
pub mod user;
pub mod child;
pub mod confine;
pub mod net;
pub mod signal;
pub mod last_resort;
pub mod watch;
