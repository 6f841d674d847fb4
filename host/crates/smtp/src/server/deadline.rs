//! The deadlines of a server session.

use std::time::{Duration, Instant};

use super::Timeouts;

/// When the peer has taken too long. A duration too large to add to the clock is no deadline.
#[derive(Debug)]
pub(super) struct Deadlines {
    command: Option<Instant>,
    /// Since when we wait for a command.
    since: Instant,
    /// When octets came last.
    heard: Instant,
    /// How long it may be silent, if less than otherwise.
    hurry: Option<Duration>,
    block: Option<Instant>,
    data: Option<Instant>,
    rate: Option<Instant>,
    data_started: Instant,
    session: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new(now: Instant, timeouts: &Timeouts) -> Self {
        let session = now.checked_add(timeouts.session);
        Self {
            command: None,
            since: now,
            heard: now,
            hurry: None,
            block: None,
            data: None,
            rate: None,
            data_started: now,
            session,
        }
    }

    /// From now on the peer may be silent for so long at most.
    pub(super) fn hurry(&mut self, silence: Option<Duration>) {
        self.hurry = silence;
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.hurry.is_some()
    }

    pub(super) fn greeted(&mut self, now: Instant, timeouts: &Timeouts) {
        self.since = now;
        self.command = now.checked_add(timeouts.greeting);
    }

    /// A whole command came. Octets of an unfinished one do not extend its deadline.
    pub(super) fn command_read(&mut self, now: Instant, timeouts: &Timeouts) {
        self.since = now;
        self.command = now.checked_add(timeouts.command);
    }

    /// The peer waited for us; its time begins anew.
    pub(super) fn answered(&mut self, now: Instant, timeouts: &Timeouts) {
        self.since = now;
        self.command = now.checked_add(timeouts.command);
    }

    pub(super) fn data_started(&mut self, now: Instant, timeouts: &Timeouts) {
        self.data_started = now;
        self.data = now.checked_add(timeouts.data);
        self.progress(now, timeouts);
        self.received(0, timeouts);
    }

    pub(super) fn progress(&mut self, now: Instant, timeouts: &Timeouts) {
        self.heard = now;
        self.block = now.checked_add(timeouts.data_block);
    }

    /// So many octets of the message came: they pay for so much time.
    pub(super) fn received(&mut self, octets: u64, timeouts: &Timeouts) {
        let rate = u64::from(timeouts.data_rate_min);
        self.rate = octets
            .checked_div(rate)
            .map(Duration::from_secs)
            .and_then(|paid| paid.checked_add(timeouts.data_rate_grace))
            .and_then(|allowed| self.data_started.checked_add(allowed));
    }

    pub(super) fn command(&self) -> Option<Instant> {
        [self.command, self.silence(self.since), self.session].into_iter().flatten().min()
    }

    pub(super) fn data(&self) -> Option<Instant> {
        [self.block, self.silence(self.heard), self.data, self.rate, self.session]
            .into_iter()
            .flatten()
            .min()
    }

    fn silence(&self, since: Instant) -> Option<Instant> {
        self.hurry.and_then(|silence| since.checked_add(silence))
    }

    /// Whether nothing came for the time of a block.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let silence = self.silence(self.heard);
        [self.block, silence].into_iter().flatten().any(|due| now >= due)
    }
}
