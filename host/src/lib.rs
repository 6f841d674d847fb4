//! Wirepost.

pub mod config;
pub mod inbound;
pub mod tls;
pub mod wire;
