//! Mail goes out: connections to relays.

pub mod connection;
