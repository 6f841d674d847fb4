//! `sim`: peers that are not there.

pub mod esme;
pub mod relay;
pub mod smsc;
