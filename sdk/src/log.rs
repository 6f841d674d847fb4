//! Lines in the host's log, tagged with the plugin and the message.

use crate::backend;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What went wrong.
    Error,
}

/// Whether a line of this level would be kept.
#[must_use]
pub fn enabled(level: Level) -> bool {
    backend::log_enabled(level)
}

/// Writes one line with named fields. The host cuts lines at 1 KiB and limits their rate.
pub fn write(level: Level, text: &str, fields: &[(&str, &str)]) {
    backend::log_write(level, text, fields);
}

/// Writes a line of level debug.
pub fn debug(text: &str) {
    write(Level::Debug, text, &[]);
}

/// Writes a line of level info.
pub fn info(text: &str) {
    write(Level::Info, text, &[]);
}

/// Writes a line of level warn.
pub fn warn(text: &str) {
    write(Level::Warn, text, &[]);
}

/// Writes a line of level error.
pub fn error(text: &str) {
    write(Level::Error, text, &[]);
}
