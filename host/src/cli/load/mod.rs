//! `load`: traffic, measured.

pub mod smtp;
