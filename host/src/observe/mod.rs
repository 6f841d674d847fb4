//! What an operator sees: the event journal, the metrics and the log.

pub mod event;
pub mod journal;
pub mod metrics;
pub mod log;
