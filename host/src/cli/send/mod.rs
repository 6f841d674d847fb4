//! `send`: one message, answers shown.

pub mod smpp;
pub mod smtp;
