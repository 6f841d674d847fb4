//! Wirepost.

pub mod config;
