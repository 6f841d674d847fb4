//! Wirepost.

pub mod config;
pub mod route;
pub mod inbound;
pub mod tls;
pub mod wire;
pub mod outbound;
pub mod platform;
pub mod sms;
pub mod cli;
pub mod plugin;
