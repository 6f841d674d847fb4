//! Where messages come in: listeners and their sessions.

pub mod proxy;
pub mod smtp;
pub mod smpp;
