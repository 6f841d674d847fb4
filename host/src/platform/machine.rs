//! What the program runs on: the machine, or a simulated one.

use spool::Spool;

use super::clock::Clock;
use super::net::Net;
use super::tasks::Tasks;
use crate::plugin::Workshop;

/// Everything outside of the program that two runs may find different.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The time.
    pub clock: Clock,
    /// The network.
    pub net: Net,
    /// Every task runs here.
    pub tasks: Tasks,
    /// A spool that is open already; none opens the configured one.
    pub spool: Option<Spool>,
    /// Where plugins are compiled and run, in a simulation; none starts an engine.
    pub plugins: Option<Workshop>,
    /// Where random numbers begin.
    pub seed: u64,
    /// Whether operators reach it: the control socket, the port for health and metrics, and files
    /// that are watched for changes.
    pub attended: bool,
}

impl Machine {
    /// The machine that we are on.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Clock::system(),
            net: Net::system(),
            tasks: Tasks::new(),
            spool: None,
            plugins: None,
            seed: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8),
            attended: true,
        }
    }
}

impl From<Clock> for Machine {
    fn from(clock: Clock) -> Self {
        Self { clock, ..Self::system() }
    }
}
