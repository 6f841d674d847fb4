//! What would become of a message: all of the way in but the commit.

use std::sync::Arc;
use std::time::Duration;

use message::Message;

use super::Router;
use super::accept::Fated;
use crate::generation::Generation;
use crate::intake::Refusal;
use crate::plan::Plan;

/// How long plugins may take when no peer waits.
const WITHIN: Duration = Duration::from_secs(30);

/// What would become of a message.
#[derive(Debug)]
pub enum Rehearsed {
    /// The peer would be refused.
    Refused(Refusal),
    /// It would be taken, and this would be written.
    Planned(Plan),
    /// It would be taken and looked at again later, for this reason.
    Undecided(Arc<str>),
}

impl Router {
    /// Lets plugins and routes decide about a message as at its door, and forgets it.
    pub async fn rehearse(&self, generation: &Arc<Generation>, message: Message) -> Rehearsed {
        let message = Arc::new(message);
        let (fated, _events) = if generation.plugins.is_empty() {
            self.plan_plain(generation, &message)
        } else {
            self.fate(generation, &message, WITHIN).await
        };
        match fated {
            Fated::Refused(refusal) => Rehearsed::Refused(refusal),
            Fated::Planned(plan, _writes) => Rehearsed::Planned(plan),
            Fated::Undecided(later) => Rehearsed::Undecided(later.reason),
            Fated::Part(_) | Fated::Repeated => {
                Rehearsed::Undecided("it is a part, and waits for the others".into())
            }
        }
    }
}
