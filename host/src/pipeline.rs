//! Plugins in order: from a message to legs with a fate each.
//!
//! A plugin's edits become real only when it returns; a fault leaves the message as it was and
//! follows the operator's `on_error`. A fork runs the plugins after its parent's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use message::{Message, MessageId, Timestamp};

use crate::config::{Name, OnError, Reply};
use crate::delivery::Answers;
use crate::generation::{Generation, PluginSlot};
use crate::loops::Whom;
use crate::observe::event::{Event, What};
use crate::plugin::{
    self, Call, Change, Claims, Fault, Figures, HostEnv, Judgement, KvWrite, ReceiptCall,
    ReceiptJudgement, Sender, Stage, Turn, Verdict,
};

/// What stands in the journal instead of a verdict where a plugin did not look at a message.
pub const PAUSED: &str = "paused";
/// Legs of one message at most; more is a fault of the plugin that made them.
pub const LEGS_MAX: usize = 256;

/// A message, or a fork of it, that has passed the plugins.
#[derive(Debug)]
pub struct Leg {
    /// The message as the plugins left it; a fork that is put off is as its plugin emitted it.
    pub message: Arc<Message>,
    /// Whether its outcome concerns the origin.
    pub answers: Answers,
    /// What happens to it.
    pub fate: Fate,
    /// The plugin that spoke last. Whoever decides about the leg again asks those after it.
    pub after: Option<Name>,
}

impl Leg {
    /// A message that no plugin has seen.
    #[must_use]
    pub const fn by_tables(message: Arc<Message>, answers: Answers) -> Self {
        Self { message, answers, fate: Fate::Tables, after: None }
    }
}

/// What the plugins decided for a leg.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// The route tables decide.
    Tables,
    /// These targets, in order, chosen by the named plugin.
    Targets(Vec<Arc<str>>, Arc<str>),
    /// Refused for good.
    Reject(Reply),
    /// Refused for now, with a hint when to come again.
    Defer(Reply, Duration),
    /// Taken and discarded.
    Drop(Arc<str>),
    /// Put aside.
    Hold(Arc<str>),
}

/// What came out of the pipeline.
#[derive(Debug)]
pub enum Decided {
    /// All plugins have spoken. The first leg is the message itself.
    Legs(Vec<Leg>, Writes),
    /// Not now: the original message is looked at again later.
    Later(Later),
}

/// Why a message is looked at again, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// Why.
    pub reason: Arc<str>,
    /// Whether a plugin failed, which counts towards the hold.
    pub fault: bool,
    /// Not before so long; zero leaves it to the decider.
    pub wait: Duration,
}

/// What plugins wrote to their keys while they looked at one message.
#[derive(Debug, Default)]
pub struct Writes {
    /// They join the message's commit.
    pub kv: Vec<KvWrite>,
    /// Dropped when the commit was answered.
    pub claims: Vec<Claims>,
}

/// What a plugin made of a receipt, if it looks at receipts.
pub type SeeReceipt = Option<Result<ReceiptJudgement, Fault>>;

/// Something that judges messages: a loaded plugin.
pub trait Judge: std::fmt::Debug + Send + Sync {
    /// Judges one message; nothing of it has happened yet when it returns.
    fn judge<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<Judgement, Fault>>;

    /// Looks at a receipt; none if it does not look at receipts.
    fn see_receipt<'a>(&'a self, _call: ReceiptCall<'a>) -> BoxFuture<'a, SeeReceipt> {
        Box::pin(std::future::ready(None))
    }

    /// What is counted of it.
    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// What it told of itself by metrics, if it can.
    fn told(&self) -> Option<&plugin::Told> {
        None
    }
}

/// One run of the pipeline.
pub struct Run<'a> {
    /// What decides.
    pub generation: &'a Generation,
    /// At the door, or from the queue.
    pub stage: Stage,
    /// 1 on the first run over this message.
    pub run: u32,
    /// When it runs.
    pub now: Timestamp,
    /// What plugins may ask the host.
    pub env: &'a Arc<dyn HostEnv>,
    /// Makes the ids of forks.
    pub new_id: &'a (dyn Fn() -> MessageId + Sync),
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("stage", &self.stage)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

/// Where a message begins its way through the plugins.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// Whether its outcome concerns the origin.
    pub answers: Answers,
    /// The plugin that spoke last; none if none has.
    pub after: Option<&'a str>,
    /// Whether forks may have a part in the answer to the origin.
    pub shares: bool,
}

impl Begin<'_> {
    /// A message as it came.
    pub const MESSAGE: Self = Self { answers: Answers::Origin, after: None, shares: true };
}

/// A leg on its way through the plugins.
struct Travelling {
    message: Arc<Message>,
    answers: Answers,
    /// Index of the plugin that is next.
    next: usize,
    /// What a plugin said of it so far.
    said: Said,
    /// The plugin that spoke last.
    last: Option<Name>,
    /// A fork as its plugin emitted it, and that plugin.
    born: Option<(Arc<Message>, Name)>,
    /// Whom it may answer by the way that the message came.
    whom: Whom,
}

/// What plugins have said of a leg that goes on.
#[derive(Debug)]
enum Said {
    /// Nothing: the route tables decide unless a later plugin does.
    Nothing,
    /// These targets, chosen by the named plugin.
    Targets(Vec<Arc<str>>, Arc<str>),
    /// This happens to it; no later plugin sees it.
    Fate(Fate),
}

impl Travelling {
    /// The fate that a plugin gave it, if one did.
    fn take_fate(&mut self) -> Option<Fate> {
        match std::mem::replace(&mut self.said, Said::Nothing) {
            Said::Fate(fate) => Some(fate),
            said => {
                self.said = said;
                None
            }
        }
    }

    /// Its fate. A fork that is put off is decided again as it was when it was born: plugins between
    /// may have changed it and will do so again.
    fn arrive(self, fate: Fate) -> Leg {
        let (mut message, after) = match (&fate, self.born) {
            (Fate::Defer(..), Some((message, plugin))) => (message, Some(plugin)),
            (_, _) => (self.message, self.last),
        };
        self.whom.note(&mut message);
        Leg { message, answers: self.answers, fate, after }
    }
}

impl Run<'_> {
    /// Runs the plugins over `message`. What they did goes into `events`. The first leg is the message
    /// itself.
    pub async fn decide(
        &self,
        message: Arc<Message>,
        begin: Begin<'_>,
        events: &mut Vec<Event>,
    ) -> Decided {
        let mut writes = Writes::default();
        let mut legs = Vec::new();
        let (next, last) = self.place_after(begin.after);
        let (answers, said, born) = (begin.answers, Said::Nothing, None);
        let whom = Whom::of(&message, begin.answers != Answers::Origin);
        let mut travelling = vec![Travelling { message, answers, next, said, last, born, whom }];
        while let Some(mut leg) = travelling.pop() {
            let before = (travelling.len(), writes.kv.len(), writes.claims.len());
            let fate = match self.travel(&mut leg, &mut travelling, &mut writes, events).await {
                Ok(fate) => fate,
                Err(later) => return later,
            };
            if matches!(fate, Fate::Reject(_) | Fate::Defer(..)) {
                // Its forks die with a leg that is refused, and so do the keys written over it.
                travelling.truncate(before.0);
                writes.kv.truncate(before.1);
                writes.claims.truncate(before.2);
            }
            legs.push(leg.arrive(fate));
            if legs.len() + travelling.len() > LEGS_MAX {
                return later(format!("plugins made more than {LEGS_MAX} legs of it"), true);
            }
        }
        if !begin.shares {
            let forks = legs.iter_mut().skip(1);
            forks.for_each(|fork| fork.answers = Answers::Copy);
        }
        Decided::Legs(legs, writes)
    }

    /// Where the plugins after this one begin. If it runs no more, nobody knows which have spoken: all
    /// of them do.
    fn place_after(&self, plugin: Option<&str>) -> (usize, Option<Name>) {
        let slots = &self.generation.plugins;
        let at = plugin.and_then(|name| slots.iter().position(|slot| *slot.config.name == *name));
        let last = at.and_then(|at| slots.get(at)).map(|slot| Arc::clone(&slot.config.name));
        (at.map_or(0, |at| at + 1), last)
    }

    /// One leg through its remaining plugins; forks join `travelling`.
    async fn travel(
        &self,
        leg: &mut Travelling,
        travelling: &mut Vec<Travelling>,
        writes: &mut Writes,
        events: &mut Vec<Event>,
    ) -> Result<Fate, Decided> {
        if let Some(fate) = leg.take_fate() {
            return Ok(fate);
        }
        while let Some(slot) = self.generation.plugins.get(leg.next) {
            leg.next += 1;
            if !slot.runs_at(&leg.message.origin.door) {
                continue;
            }
            leg.last = Some(Arc::clone(&slot.config.name));
            let sender = || Sender::of(&leg.message.origin, &leg.message.sender);
            let turn = slot.breaker.admit(sender, self.now);
            if turn != Turn::Runs {
                return self.spare(slot, leg, turn, events);
            }
            let call =
                Call { message: &leg.message, stage: self.stage, run: self.run, env: self.env };
            let judged = slot.plugin.judge(call).await;
            let change = match &judged {
                Ok(_judgement) => slot.breaker.clean(sender, self.now),
                Err(Fault::Busy(_)) => None,
                Err(_fault) => slot.breaker.fault(sender(), self.now),
            };
            if let Some(change) = change {
                tell(slot, &change);
            }
            let judgement = match judged {
                Ok(judgement) => judgement,
                Err(fault) => match self.fault(slot, leg, &fault, events)? {
                    Some(fate) => return Ok(fate),
                    None => continue,
                },
            };
            if let Verdict::Wait(what) = &judgement.verdict {
                let name = &slot.config.name;
                return Err(later(format!("plugin {name} waits for the look-up {what}"), false));
            }
            self.obey(slot, leg, judgement, (travelling, writes), events);
            if let Some(fate) = leg.take_fate() {
                return Ok(fate);
            }
        }
        Ok(match std::mem::replace(&mut leg.said, Said::Nothing) {
            Said::Targets(targets, plugin) => Fate::Targets(targets, plugin),
            Said::Fate(fate) => fate,
            Said::Nothing => Fate::Tables,
        })
    }

    /// Takes over what a plugin returned.
    fn obey(
        &self,
        slot: &PluginSlot,
        leg: &mut Travelling,
        judgement: Judgement,
        (travelling, writes): (&mut Vec<Travelling>, &mut Writes),
        events: &mut Vec<Event>,
    ) {
        let name = Arc::clone(&slot.label);
        events.push(self.decided(leg, &name, &judgement));
        if let Some(edited) = judgement.message {
            leg.message = edited;
        }
        writes.kv.extend(judgement.kv);
        writes.claims.push(judgement.claims);
        for fork in judgement.forks {
            let mut message = Arc::unwrap_or_clone(fork.message);
            message.parent = Some(leg.message.id);
            message.id = (self.new_id)();
            let message = Arc::new(message);
            let plugin = Arc::clone(&slot.config.name);
            let mut born = Travelling {
                message: Arc::clone(&message),
                answers: match fork.answers {
                    plugin::Answers::Copy => Answers::Copy,
                    plugin::Answers::Share => Answers::Share,
                },
                next: leg.next,
                said: Said::Nothing,
                last: Some(Arc::clone(&plugin)),
                born: Some((message, plugin)),
                whom: leg.whom.of_fork(&leg.message),
            };
            if !matches!(fork.verdict, Verdict::Next) {
                events.push(self.emitted(leg, &born, &name, &fork.verdict));
            }
            self.listen(&mut born, fork.verdict, &name);
            travelling.push(born);
        }
        self.listen(leg, judgement.verdict, &name);
    }

    /// What a plugin says of a leg: of the message that it was asked about, or of a fork that it made.
    fn listen(&self, leg: &mut Travelling, verdict: Verdict, plugin: &Arc<str>) {
        leg.said = match verdict {
            Verdict::Next => return,
            Verdict::Accept => {
                leg.next = self.generation.plugins.len();
                return;
            }
            Verdict::Route(targets) => Said::Targets(targets, Arc::clone(plugin)),
            Verdict::Reject(reply) => {
                Said::Fate(Fate::Reject(filled(reply, 554, "5.7.1", 0x45, "Message rejected")))
            }
            Verdict::Defer(reply, hint) => Said::Fate(Fate::Defer(
                filled(reply, 451, "4.7.1", 0x58, "Try again later"),
                hint.unwrap_or(Duration::ZERO),
            )),
            Verdict::Drop(reason) => Said::Fate(Fate::Drop(reason)),
            Verdict::Hold(reason) => Said::Fate(Fate::Hold(reason)),
            Verdict::Wait(what) => {
                let words = format!("plugin {plugin} waits for the look-up {what}");
                Said::Fate(Fate::Defer(reply(451, "4.3.0", 0x58, &words), Duration::ZERO))
            }
        };
    }

    /// What becomes of a message that a plugin does not look at now: it waits undecided, or its peer
    /// comes again. Nothing is let through, refused for good or held unseen.
    fn spare(
        &self,
        slot: &PluginSlot,
        leg: &Travelling,
        turn: Turn,
        events: &mut Vec<Event>,
    ) -> Result<Fate, Decided> {
        let name = &slot.config.name;
        let (wait, why) = match turn {
            Turn::Runs => (Duration::ZERO, "it runs"),
            Turn::SenderWaits(wait) => (wait, "messages of this sender made it fail"),
            Turn::AllWait(wait) => (wait, "it failed for all of the last senders"),
        };
        let reason: Arc<str> = format!("plugin {name} is paused: {why}").into();
        let plugin = Arc::clone(&slot.label);
        let (verdict, detail) = (PAUSED.into(), why.into());
        let what = What::Decided { plugin, verdict, detail, micros: 0 };
        events.push(Event::new(self.now, leg.message.id, what));
        if slot.config.on_error == OnError::Refuse && self.stage == Stage::Door {
            let reply = reply(451, "4.3.0", 0x08, "Temporary failure, try again later");
            return Ok(Fate::Defer(reply, wait));
        }
        Err(Decided::Later(Later { reason, fault: false, wait }))
    }

    /// What a fault means: a fate, the next plugin (none), or later.
    fn fault(
        &self,
        slot: &PluginSlot,
        leg: &Travelling,
        fault: &Fault,
        events: &mut Vec<Event>,
    ) -> Result<Option<Fate>, Decided> {
        let label = &slot.label;
        if matches!(fault, Fault::Busy(_)) {
            // The router's own back-pressure: neither the plugin nor the message has failed.
            return Err(later(format!("plugin {} waits: {fault}", slot.config.name), false));
        }
        tracing::warn!(
            event = "plugin.fault", plugin = &**label, id = %leg.message.id, error = %fault,
        );
        let detail: Arc<str> = fault.to_string().into();
        events.push(Event::new(
            self.now,
            leg.message.id,
            What::Fault { plugin: Arc::clone(label), detail: Arc::clone(&detail) },
        ));
        let name = &slot.config.name;
        match slot.config.on_error {
            OnError::Retry => Err(later(format!("plugin {name} failed: {detail}"), true)),
            OnError::Refuse if self.stage == Stage::Queue => {
                Err(later(format!("plugin {name} failed: {detail}"), true))
            }
            OnError::Refuse => Ok(Some(Fate::Defer(
                reply(451, "4.3.0", 0x08, "Temporary failure, try again later"),
                Duration::ZERO,
            ))),
            OnError::Next => Ok(None),
            OnError::Reject => Ok(Some(Fate::Reject(reply(
                554,
                "5.3.0",
                0x45,
                "The message could not be checked",
            )))),
            OnError::Hold => Ok(Some(Fate::Hold(format!("plugin {name} failed: {detail}").into()))),
        }
    }

    fn decided(&self, leg: &Travelling, plugin: &Arc<str>, judgement: &Judgement) -> Event {
        let (verdict, mut detail) = describe(&judgement.verdict);
        if judgement.message.is_some() {
            detail =
                if detail.is_empty() { "edited".to_owned() } else { format!("{detail}; edited") };
        }
        let micros = u64::try_from(judgement.duration.as_micros()).unwrap_or(u64::MAX);
        let what = What::Decided {
            plugin: Arc::clone(plugin),
            verdict: verdict.into(),
            detail: detail.into(),
            micros,
        };
        Event::new(self.now, leg.message.id, what)
    }
}

/// What stands in the journal of a verdict about a fork.
impl Run<'_> {
    fn emitted(
        &self,
        parent: &Travelling,
        fork: &Travelling,
        plugin: &Arc<str>,
        verdict: &Verdict,
    ) -> Event {
        let (verdict, detail) = describe(verdict);
        let detail =
            if detail.is_empty() { "a fork".to_owned() } else { format!("a fork: {detail}") };
        let plugin = Arc::clone(plugin);
        let what =
            What::Decided { plugin, verdict: verdict.into(), detail: detail.into(), micros: 0 };
        Event::about(self.now, fork.message.id, parent.message.id, what)
    }
}

/// Says in the log what a breaker does from now on.
fn tell(slot: &PluginSlot, change: &Change) {
    let plugin = &*slot.label;
    match change {
        Change::SenderPaused(sender, wait) => tracing::warn!(
            event = "plugin.paused",
            plugin,
            party = &**sender.party(),
            seconds = wait.as_secs(),
            "messages of one sender make it fail: they wait undecided",
        ),
        Change::SenderResumed(sender) => tracing::info!(
            event = "plugin.resumed",
            plugin,
            party = &**sender.party(),
            "it looks at the sender's messages again",
        ),
        Change::Opened(wait) => tracing::error!(
            event = "plugin.opened",
            plugin,
            seconds = wait.as_secs(),
            "it fails for several senders and serves none: all messages wait undecided",
        ),
        Change::Closed => tracing::warn!(event = "plugin.closed", plugin, "it serves again"),
    }
}

/// A reply of our own.
#[must_use]
pub fn reply(smtp_code: u16, enhanced: &str, smpp_status: u32, text: &str) -> Reply {
    Reply { smtp_code, enhanced: enhanced.into(), smpp_status, text: text.into() }
}

/// A plugin's reply with what it left to us.
fn filled(given: plugin::Reply, code: u16, enhanced: &str, status: u32, text: &str) -> Reply {
    Reply {
        smtp_code: given.smtp_code.unwrap_or(code),
        enhanced: given.enhanced.unwrap_or_else(|| enhanced.into()),
        smpp_status: given.smpp_status.unwrap_or(status),
        text: if given.text.is_empty() { text.into() } else { given.text },
    }
}

fn later(reason: String, fault: bool) -> Decided {
    Decided::Later(Later { reason: reason.into(), fault, wait: Duration::ZERO })
}

fn describe(verdict: &Verdict) -> (&'static str, String) {
    let detail = match verdict {
        Verdict::Next | Verdict::Accept => String::new(),
        Verdict::Route(targets) => targets.join(", "),
        Verdict::Reject(reply) | Verdict::Defer(reply, _) => reply.text.to_string(),
        Verdict::Drop(reason) | Verdict::Hold(reason) | Verdict::Wait(reason) => reason.to_string(),
    };
    (verdict.name(), detail)
}
