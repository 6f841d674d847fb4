//! The state of the connectors and accounts that a message may be routed to.

use crate::backend;

/// One target now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TargetState {
    /// Its name in the YAML.
    pub name: String,
    /// Whether it takes messages.
    pub up: bool,
    /// Deliveries that wait for it.
    pub queued: u64,
    /// Deliveries a second, lately.
    pub per_second: f64,
}

impl TargetState {
    /// A state, for tests.
    #[must_use]
    pub fn new(name: impl Into<String>, up: bool, queued: u64, per_second: f64) -> Self {
        Self { name: name.into(), up, queued, per_second }
    }
}

/// The state of a target; `None` if there is no such target or the plugin was not granted it.
#[must_use]
pub fn state(name: &str) -> Option<TargetState> {
    backend::target_state(name)
}
