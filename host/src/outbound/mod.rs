//! Where messages go out: connectors and their sessions.

pub mod smtp;
pub mod smpp;
