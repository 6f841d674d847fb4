//! `send`: one message, answers shown.

pub mod smtp;
