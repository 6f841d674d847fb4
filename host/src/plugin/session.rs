//! One call of a plugin, seen from inside: the message under edit, its forks, what was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use message::edit::Edited;
use message::mail::COPIED_FOR_ONE_READ;
use message::{MessageId, Timestamp};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::env::{Ask, HostEnv, LogLevel, LookupAnswer};
use super::fault::Fault;
use super::judgement::{Answers, Call, Fork, ReceiptCall, SeenReceipt, Stage};
use super::kv::{CallKv, PluginKv};
use super::limits::{ASKS_MAX, FORKS_MAX, Limiter, OUTPUT_BYTES_EXTRA, WORK_BYTES_A_TICK};
use super::lines::{Budget, Lines};
use super::told::Told;
use crate::config::PluginConfig;

/// What all instances of a plugin share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Arc<PluginConfig>,
    pub(super) kv: Arc<PluginKv>,
    /// What it has written into the log of late.
    pub(super) lines: Budget,
    /// What it told by metrics.
    pub(super) told: Told,
}

impl Shared {
    pub(super) fn new(config: Arc<PluginConfig>, kv: Arc<PluginKv>) -> Self {
        Self { config, kv, lines: Budget::default(), told: Told::default() }
    }
}

/// What the engine keeps beside an instance.
#[derive(Debug)]
pub(super) struct Context {
    limiter: Limiter,
    ticks_left: u32,
    ticks_over: bool,
    /// Octets that the host worked on for the guest: the same on every machine.
    worked: usize,
    /// There is one from the beginning to the end of each call.
    pub(super) session: Option<Session>,
    /// The number of the next call's message. None is used twice in the life of an instance, so that
    /// a handle that a plugin kept names nothing.
    next: u32,
}

impl Context {
    pub(super) const fn new(memory_bytes_max: usize) -> Self {
        let limiter = Limiter::new(memory_bytes_max);
        Self { limiter, ticks_left: 0, ticks_over: false, worked: 0, session: None, next: 0 }
    }

    pub(super) fn limiter_mut(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limiter
    }

    pub(super) const fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Whether the instance was stopped for computing too long.
    pub(super) const fn is_out_of_ticks(&self) -> bool {
        self.ticks_over
    }

    /// Begins a call; the number of its message.
    pub(super) fn begin(&mut self, mut session: Session) -> u32 {
        session.first = self.next;
        let first = session.first;
        self.session = Some(session);
        first
    }

    /// Ends a call.
    pub(super) fn end(&mut self) -> Option<Session> {
        let session = self.session.take()?;
        let used = u32::try_from(session.messages.len()).unwrap_or(u32::MAX);
        self.next = session.first.saturating_add(used);
        Some(session)
    }

    /// The answers to what was asked since the last wait, none if they are still to come, and the
    /// names of the look-ups.
    pub(super) fn answers(&mut self) -> (Option<Vec<LookupAnswer>>, Arc<str>) {
        let Some(session) = &mut self.session else { return (None, "".into()) };
        let asks = std::mem::take(&mut session.asks);
        let names: Vec<&str> = asks.iter().map(|ask| &*ask.name).collect();
        let names = names.join(", ").into();
        (session.env.answers(session.root, &asks), names)
    }

    /// Processor time for a call.
    pub(super) const fn give_ticks(&mut self, ticks: u32) {
        self.ticks_left = ticks;
    }

    /// Counts the host's work for the guest as the guest's own: however long the host was at it, the
    /// clock of the guest has seen one tick.
    pub(super) fn spend_ticks(&mut self, ticks: usize) {
        self.ticks_left = self.ticks_left.saturating_sub(u32::try_from(ticks).unwrap_or(u32::MAX));
    }

    /// Octets that the host read, parsed or decoded for the guest.
    pub(super) fn charge(&mut self, octets: usize) {
        self.worked = self.worked.saturating_add(octets);
        self.spend_ticks(octets / WORK_BYTES_A_TICK);
    }

    /// Octets that the host copied for the guest, or compared with a needle.
    pub(super) fn copy(&mut self, octets: usize) {
        self.charge(octets / COPIED_FOR_ONE_READ);
    }

    /// Octets that the host has worked on for the guest since the instance was made.
    #[cfg(test)]
    pub(super) const fn worked(&self) -> usize {
        self.worked
    }

    /// Processor time that is left.
    #[cfg(test)]
    pub(super) const fn ticks_left(&self) -> u32 {
        self.ticks_left
    }

    /// Called whenever a tick passes while the guest computes.
    pub(super) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let Some(left) = self.ticks_left.checked_sub(1) else {
            self.ticks_over = true;
            return Err(wasmtime::Error::msg("processor budget"));
        };
        self.ticks_left = left;
        // The runtime's own yield: it lets the worker look at its sockets before this guest goes on.
        // Were the task only woken again, a worker with nothing else to do would look after 61 ticks.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }
}

/// Before every call: the deadline is absolute, and an old one would end a harmless call.
pub(super) fn arm(store: &mut Store<Context>, ticks: u32) {
    store.data_mut().give_ticks(ticks);
    store.set_epoch_deadline(1);
}

/// The call that goes on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) env: Arc<dyn HostEnv>,
    pub(super) kv: CallKv,
    pub(super) emitted: Vec<Fork>,
    pub(super) stage: Stage,
    pub(super) run: u32,
    /// The message itself is the first; forks follow, `None` once emitted or dropped.
    messages: Vec<Option<Held>>,
    /// The number of the first.
    first: u32,
    /// Octets that the plugin may still write.
    output_left: usize,
    /// The message that the peer knows: a fork is looked at again with it.
    root: MessageId,
    asks: Vec<Ask>,
    /// What a call about a receipt is about.
    pub(super) receipt: Option<SeenReceipt>,
    lines: Lines,
    fault: Option<Fault>,
}

/// A message that the plugin has a handle of.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) edited: Edited,
    answers: Answers,
    /// Its content is its own: the first edit of a content copies all of it.
    copied: bool,
    /// The parts that were read: one that is read in pages is decoded once.
    parts: BTreeMap<u32, Bytes>,
    /// Octets that the plugin was charged for.
    charged: u64,
}

impl Held {
    const fn new(edited: Edited, answers: Answers) -> Self {
        Self { edited, answers, copied: false, parts: BTreeMap::new(), charged: 0 }
    }

    /// The decoded octets of a part.
    pub(super) fn part(&mut self, index: u32) -> Option<Bytes> {
        if let Some(octets) = self.parts.get(&index) {
            return Some(octets.clone());
        }
        let octets = self.edited.view()?.part(usize::try_from(index).ok()?)?;
        self.parts.insert(index, octets.clone());
        Some(octets)
    }

    /// Octets that the message was worked on for since this was asked last.
    pub(super) fn uncharged(&mut self) -> usize {
        let worked = self.edited.worked();
        let more = worked.saturating_sub(self.charged);
        self.charged = worked;
        usize::try_from(more).unwrap_or(usize::MAX)
    }
}

impl Session {
    /// A call about a message.
    pub(super) fn new(shared: &Arc<Shared>, call: &Call<'_>, keys: &Arc<PluginKv>) -> Self {
        let edited = Edited::new(Arc::clone(call.message));
        let mut session = Self::starting(shared, call.env);
        session.kv = CallKv::new(keys, &shared.config, call.message.id);
        let size = call.message.content.size_bytes();
        session.output_left = size.saturating_mul(4).saturating_add(OUTPUT_BYTES_EXTRA);
        session.messages.push(Some(Held::new(edited, Answers::Share)));
        session.lines.message = Some(call.message.id);
        session.root = call.message.parent.unwrap_or(call.message.id);
        session.stage = call.stage;
        session.run = call.run;
        session
    }

    /// A call about a receipt.
    pub(super) fn about_receipt(shared: &Arc<Shared>, call: &ReceiptCall<'_>) -> Self {
        let id = call.receipt.message;
        let mut session = Self::starting(shared, call.env);
        session.kv = CallKv::new(&shared.kv, &shared.config, id);
        session.lines.message = Some(id);
        session.receipt = Some(call.receipt.clone());
        session
    }

    /// A call without a message: the start of an instance.
    pub(super) fn starting(shared: &Arc<Shared>, env: &Arc<dyn HostEnv>) -> Self {
        Self {
            shared: Arc::clone(shared),
            env: Arc::clone(env),
            kv: CallKv::new(&shared.kv, &shared.config, MessageId::from_u64(0)),
            emitted: Vec::new(),
            stage: Stage::Queue,
            run: 0,
            messages: Vec::new(),
            first: 0,
            output_left: 0,
            root: MessageId::from_u64(0),
            asks: Vec::new(),
            receipt: None,
            lines: Lines::new(shared, env),
            fault: None,
        }
    }

    /// Whether the call is about a message.
    pub(super) const fn has_message(&self) -> bool {
        self.lines.message.is_some()
    }

    /// The message behind a handle. A plugin has no handle of what it emitted, so one that stands for
    /// nothing was kept from an earlier call: the call cannot end well.
    pub(super) fn held(&mut self, rep: u32) -> Option<&mut Held> {
        if !self.slot(rep).is_some_and(|slot| slot.is_some()) {
            let reason = "it used a message of an earlier call".to_owned();
            self.condemn(Fault::Trap { reason, backtrace: String::new() });
        }
        self.slot(rep)?.as_mut()
    }

    /// Takes a message away from the plugin.
    pub(super) fn take(&mut self, rep: u32) -> Option<Held> {
        self.slot(rep)?.take()
    }

    fn slot(&mut self, rep: u32) -> Option<&mut Option<Held>> {
        let at = rep.checked_sub(self.first)?;
        self.messages.get_mut(usize::try_from(at).ok()?)
    }

    /// Copies a message; `None` when there are too many forks.
    pub(super) fn fork(&mut self, rep: u32, answers: Answers) -> Option<u32> {
        let forks = u32::try_from(self.messages.len()).ok()?;
        if forks > self.forks_max() {
            return None;
        }
        let held = self.held(rep)?;
        // Both share the content from now on.
        held.copied = false;
        let edited = held.edited.clone();
        self.messages.push(Some(Held::new(edited, answers)));
        self.first.checked_add(forks)
    }

    /// Counts octets that the plugin writes outside of a content; false if it may not.
    pub(super) const fn spend(&mut self, octets: usize) -> bool {
        let left = self.output_left.checked_sub(octets);
        if let Some(left) = left {
            self.output_left = left;
        }
        left.is_some()
    }

    /// Counts octets that the plugin writes into a content, and that content if they are the first:
    /// memory is asked for before it is taken, not when the call is over. False if it may not.
    pub(super) fn spend_on_content(&mut self, rep: u32, octets: usize) -> bool {
        let Some(held) = self.held(rep) else { return false };
        let copied = if held.copied { 0 } else { held.edited.message().content.size_bytes() };
        let within = self.spend(octets.saturating_add(copied));
        if let (true, Some(held)) = (within, self.held(rep)) {
            held.copied = true;
            held.parts.clear();
        }
        within
    }

    /// Forks that the plugin may make in one call.
    pub(super) fn forks_max(&self) -> u32 {
        self.shared.config.grants.fork.min(FORKS_MAX)
    }

    /// The call ends in this fault, whatever the plugin returns: what it tried must not be taken for
    /// a decision.
    pub(super) fn condemn(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// What the plugin said when it panicked.
    pub(super) fn take_panic(&mut self) -> Option<String> {
        self.lines.take_panic()
    }

    /// A line of the plugin's log.
    pub(super) fn log(&mut self, level: LogLevel, text: &str, fields: Vec<(String, String)>) {
        self.lines.write(level, text, fields);
    }

    /// What a call that came back has done.
    pub(super) fn finish(mut self) -> Result<Finished, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let origin = self.messages.first_mut().and_then(Option::take);
        let edited = origin.map(|held| held.edited);
        Ok(Finished { edited, forks: self.emitted, kv: self.kv })
    }

    /// Puts a fork among those that go on their way and gives its number.
    pub(super) fn emit(&mut self, held: Held, verdict: super::Verdict) -> u64 {
        let message = held.edited.into_message();
        self.emitted.push(Fork { message, verdict, answers: held.answers });
        u64::try_from(self.emitted.len()).unwrap_or(u64::MAX)
    }

    /// Remembers a question; its number among those of this wait, none if there are too many.
    pub(super) fn ask(&mut self, ask: Ask) -> Option<u32> {
        if self.asks.len() >= ASKS_MAX {
            return None;
        }
        self.asks.push(ask);
        u32::try_from(self.asks.len() - 1).ok()
    }

    /// The wall clock.
    pub(super) fn now(&self) -> Timestamp {
        self.env.now()
    }
}

/// A call that came to a clean end.
#[derive(Debug)]
pub(super) struct Finished {
    /// None if the call was about no message, or the plugin gave it away.
    pub(super) edited: Option<Edited>,
    pub(super) forks: Vec<Fork>,
    pub(super) kv: CallKv,
}
