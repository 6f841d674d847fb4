//! What an operator sees: the event journal and the metrics.

pub mod event;
pub mod journal;
pub mod metrics;
