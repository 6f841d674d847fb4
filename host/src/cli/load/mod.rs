//! `load`: traffic, measured.

pub mod histogram;
pub mod smpp;
pub mod smtp;
