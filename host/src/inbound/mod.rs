//! Where messages come in: listeners and their sessions.

pub mod proxy;
