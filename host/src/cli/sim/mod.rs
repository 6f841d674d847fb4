//! `sim`: peers that are not there.

pub mod relay;
pub mod smsc;
