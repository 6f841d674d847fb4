//! The log of a plugin: so many lines a call, so many a second, each cut. What is left out is counted, and
//! the log says so once a second.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use message::MessageId;

use super::env::{HostEnv, LogLevel, LogLine};
use super::limits::{LOG_FIELDS_MAX, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, PANIC_TEXT_BYTES_MAX};
use super::session::Shared;
use super::words::tamed;

const SECOND: Duration = Duration::from_secs(1);

/// What a plugin has written of late, over all of its calls.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the second began that is being counted.
    since: Option<Duration>,
    written: u32,
    /// Lines that nobody has been told of yet.
    left_out: u64,
    told: Option<Duration>,
}

impl Budget {
    /// Takes one of the lines of this second, if there is one left.
    fn take(&self, a_second: u32, now: Duration) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.saturating_sub(since) >= SECOND) {
            (state.since, state.written) = (Some(now), 0);
        }
        let within = state.written < a_second;
        state.written += u32::from(within);
        within
    }

    /// Counts lines that were left out; how many are to be told of now.
    fn leave_out(&self, lines: u64, now: Duration) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.left_out = state.left_out.saturating_add(lines);
        let due = state.told.is_none_or(|told| now.saturating_sub(told) >= SECOND);
        if !due || state.left_out == 0 {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

/// The lines of one call. What it left out is told when it is over.
#[derive(Debug)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    env: Arc<dyn HostEnv>,
    pub(super) message: Option<MessageId>,
    written: u32,
    left_out: u64,
    panicked: bool,
    /// What the plugin said last when it panicked.
    panic: Option<String>,
}

impl Lines {
    pub(super) fn new(shared: &Arc<Shared>, env: &Arc<dyn HostEnv>) -> Self {
        Self {
            shared: Arc::clone(shared),
            env: Arc::clone(env),
            message: None,
            written: 0,
            left_out: 0,
            panicked: false,
            panic: None,
        }
    }

    /// What the plugin said when it panicked.
    pub(super) fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }

    /// One line. The SDK reports a panic by a field of its own, which is written even if there are too
    /// many lines already, but only once: anything can be called a panic.
    pub(super) fn write(&mut self, level: LogLevel, text: &str, mut fields: Vec<(String, String)>) {
        let is_panic = fields.iter().any(|(name, value)| name == "event" && value == "panic");
        if is_panic {
            self.panic = Some(tamed(text, PANIC_TEXT_BYTES_MAX).into_owned());
        }
        if !self.env.log_enabled(level) {
            return;
        }
        let free = is_panic && !self.panicked;
        self.panicked |= is_panic;
        let a_second = self.shared.config.limits.log_lines;
        if (self.written >= LOG_LINES_MAX && !free)
            || !self.shared.lines.take(a_second, self.env.monotonic())
        {
            self.left_out += 1;
            return;
        }
        self.written += 1;
        cut(&mut fields);
        let text = tamed(text, LOG_LINE_BYTES_MAX);
        let (plugin, message) = (&*self.shared.config.name, self.message);
        self.env.log(LogLine { plugin, message, level, text: &text, fields: &fields });
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if self.left_out == 0 {
            return;
        }
        let total = &self.shared.kv.tally.lines_left_out;
        total.fetch_add(self.left_out, Ordering::Relaxed);
        let now = self.env.monotonic();
        if let Some(lines) = self.shared.lines.leave_out(self.left_out, now) {
            let plugin = &*self.shared.config.name;
            let text = &*format!("{lines} lines of plugin {plugin} left out");
            let level = LogLevel::Warn;
            self.env.log(LogLine { plugin, message: None, level, text, fields: &[] });
        }
    }
}

/// As many fields as one line may have, and as much of each.
fn cut(fields: &mut Vec<(String, String)>) {
    fields.truncate(LOG_FIELDS_MAX);
    let mut left = LOG_LINE_BYTES_MAX;
    for text in fields.iter_mut().flat_map(|(name, value)| [name, value]) {
        if let std::borrow::Cow::Owned(tame) = tamed(text, left) {
            *text = tame;
        }
        left = left.saturating_sub(text.len());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Budget, cut};

    #[test]
    fn lines_beyond_those_of_a_second_are_counted_and_told_of_once_a_second() {
        let (budget, at) = (Budget::default(), Duration::from_millis);
        let taken = |ms| (0..10).filter(|_| budget.take(4, at(ms))).count();
        assert_eq!([taken(0), taken(999), taken(1000)], [4, 0, 4]);
        assert_eq!(budget.leave_out(6, at(1000)), Some(6));
        assert_eq!(budget.leave_out(6, at(1500)), None);
        assert_eq!(budget.leave_out(1, at(2000)), Some(7));
        assert_eq!(budget.leave_out(0, at(4000)), None);
    }

    #[test]
    fn fields_have_a_number_and_a_size_together() {
        let mut many = vec![(String::new(), String::new()); 100_000];
        cut(&mut many);
        assert_eq!(many.len(), 32);
        let mut long = vec![("name".to_owned(), "x\n".repeat(5000)); 3];
        cut(&mut long);
        let octets: usize = long.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(octets < 1024 + 6 * "… (10239 octets in all)".len(), "{octets}");
        assert!(!long.iter().any(|(_, value)| value.contains('\n')));
    }
}
