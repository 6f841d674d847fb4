//! Mail goes out: a pool of connections to the relays of one connector.

pub mod connection;
mod hosts;
mod exchange;
mod worker;
mod pool;

pub use pool::start;

#[cfg(test)]
mod tests;
