//! Where messages come in: listeners and their sessions.

pub mod site;
pub mod gate;
pub mod logins;
pub mod proxy;
pub mod smtp;
pub mod smpp;
