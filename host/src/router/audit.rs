//! The audit: whether the books balance, and which ids do not add up as far as the journal can tell.
//!
//! The books are those of the spool, whose counts and entries are of one moment. The journal names
//! ids; its newest lines may be missing after a crash and its oldest are gone, and of those it says
//! nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use message::{MessageId, Timestamp};
use serde::Serialize;
use spool::Spool;

use crate::ledger::Ledger;
use crate::observe::event::{Event, What};
use crate::observe::journal::{Journal, Position, Reader};
use crate::platform::clock::Clock;

/// Lines read in one go.
const PAGE: usize = 10_000;
/// How often the end of the journal is read again for ids that seem to be missing: what happened to
/// them since is on its way there.
const LOOKS: u32 = 5;
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Ids that are named.
const NAMED_MAX: usize = 100;

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Whether everything is accounted for.
    pub balanced: bool,
    /// The books.
    pub ledger: Ledger,
    /// What the journal says, if one is kept.
    pub journal: Option<Story>,
}

/// What the journal says about ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Story {
    /// The time of its oldest line; what came before cannot be told.
    pub since: Option<String>,
    /// Lines read.
    pub lines: u64,
    /// Ids that have a beginning in it and no end, and that the spool does not hold.
    pub missing: Vec<String>,
    /// How many of them there are; only the first are listed.
    pub missing_count: usize,
    /// The same, but begun before a crash or a gap of the journal, which may have swallowed the end.
    pub untold_count: usize,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Open {
    /// Ids without an end, and when they began.
    begun: BTreeMap<MessageId, Timestamp>,
    since: Option<Timestamp>,
    lines: u64,
    /// Ends of what began before may be missing.
    gap: Option<Timestamp>,
    next: Position,
}

/// Audits a spool, in use or not, with what its journal tells; `writing` is the one that is being
/// written.
///
/// # Errors
/// If the journal cannot be read.
pub async fn audit(
    spool: &Spool,
    reader: Option<Reader>,
    writing: &Journal,
    clock: &Clock,
) -> anyhow::Result<Audit> {
    let ledger = Ledger::of(&spool.stats());
    let journal = match reader {
        Some(reader) => Some(story(spool, writing, reader, clock).await?),
        None => None,
    };
    let missing = journal.as_ref().map_or(0, |story| story.missing_count);
    Ok(Audit { balanced: ledger.is_balanced() && missing == 0, ledger, journal })
}

async fn story(
    spool: &Spool,
    writing: &Journal,
    reader: Reader,
    clock: &Clock,
) -> anyhow::Result<Story> {
    let mut open = Open::default();
    for look in 0..LOOKS {
        if look > 0 {
            clock.sleep(LOOK_AGAIN).await;
        }
        let (spool, writing, reader) = (spool.clone(), writing.clone(), reader.clone());
        let reading = move || {
            writing.flush();
            open.read(&reader)?;
            open.forget_those_in(&spool)?;
            anyhow::Ok(open)
        };
        open = tokio::task::spawn_blocking(reading).await??;
        if open.missing().next().is_none() {
            break;
        }
    }
    let missing: Vec<MessageId> = open.missing().collect();
    Ok(Story {
        since: open.since.map(|at| at.to_string()),
        lines: open.lines,
        missing: missing.iter().take(NAMED_MAX).map(ToString::to_string).collect(),
        missing_count: missing.len(),
        untold_count: open.begun.len() - missing.len(),
    })
}

impl Open {
    fn read(&mut self, reader: &Reader) -> std::io::Result<()> {
        loop {
            let page = reader.page(self.next, PAGE, None)?;
            self.next = page.next;
            if page.gap {
                self.gap = page.events.first().map(|(_, event)| event.at).or(self.gap);
            }
            page.events.iter().for_each(|(_, event)| self.take(event));
            if page.events.is_empty() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, event: &Event) {
        self.lines += 1;
        self.since.get_or_insert(event.at);
        match &event.what {
            What::Routed { .. }
            | What::Undecided { .. }
            | What::Held { .. }
            | What::Born { .. } => {
                self.begun.entry(event.id).or_insert(event.at);
            }
            What::Delivered { .. }
            | What::Failed { .. }
            | What::Expired { .. }
            | What::Dropped { .. }
            | What::Joined { .. } => {
                self.begun.remove(&event.id);
            }
            What::Operator { action, .. }
                if matches!(&**action, "delete" | "bounce" | "expire" | "cancel") =>
            {
                self.begun.remove(&event.id);
            }
            What::Started { in_order: false } | What::Lost { .. } => self.gap = Some(event.at),
            _ => {}
        }
    }

    /// What the spool holds is not missing; its end may still be to come.
    fn forget_those_in(&mut self, spool: &Spool) -> anyhow::Result<()> {
        let mut gone = BTreeMap::new();
        for (id, at) in std::mem::take(&mut self.begun) {
            if spool.entry(id.as_u64())?.is_none() {
                gone.insert(id, at);
            }
        }
        self.begun = gone;
        Ok(())
    }

    fn missing(&self) -> impl Iterator<Item = MessageId> {
        let told = |at: &Timestamp| self.gap.is_none_or(|gap| *at > gap);
        self.begun.iter().filter(move |(_, at)| told(at)).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64, id: u64, what: What) -> Event {
        Event::new(Timestamp::from_ms(at), MessageId::from_u64(id), what)
    }

    fn routed() -> What {
        What::Routed { to: "+336".into(), route: "r".into(), targets: Vec::new() }
    }

    fn failed() -> What {
        What::Failed { reason: "no".into() }
    }

    #[track_caller]
    fn check(events: &[Event], missing: &[u64], untold: usize) {
        let mut open = Open::default();
        events.iter().for_each(|event| open.take(event));
        let found: Vec<u64> = open.missing().map(MessageId::as_u64).collect();
        assert_eq!(found, missing);
        assert_eq!(open.begun.len() - found.len(), untold);
    }

    #[test]
    fn what_has_a_beginning_and_no_end_is_missing() {
        check(&[event(1, 1, routed()), event(2, 2, routed()), event(3, 1, failed())], &[2], 0);
        let deleted = |action: &str| What::Operator { action: action.into(), detail: "".into() };
        check(&[event(1, 1, routed()), event(2, 1, deleted("delete"))], &[], 0);
        check(&[event(1, 1, routed()), event(2, 1, deleted("release"))], &[1], 0);
    }

    #[test]
    fn a_crash_may_have_swallowed_the_end_of_what_began_before() {
        let crash = || event(2, 0, What::Started { in_order: false });
        check(&[event(1, 1, routed()), crash(), event(3, 2, routed())], &[2], 1);
        let start = event(2, 0, What::Started { in_order: true });
        check(&[event(1, 1, routed()), start], &[1], 0);
        let lost = event(2, 0, What::Lost { events: 5 });
        check(&[event(1, 1, routed()), lost, event(3, 1, failed())], &[], 0);
    }
}
