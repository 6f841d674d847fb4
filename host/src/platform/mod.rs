//! Everything that makes two runs differ: time, tasks, files that change.

pub mod clock;
pub mod tasks;
pub mod watch;
