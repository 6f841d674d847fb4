//! Plugins in order: from a message to legs with a fate each.
//!
//! A plugin's edits become real only when it returns; a fault leaves the message as it was and
//! follows the operator's `on_error`. A fork runs the plugins after its parent's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use message::{Message, MessageId, Timestamp};

use crate::config::{OnError, Reply};
use crate::delivery::Answers;
use crate::generation::{Generation, PluginSlot};
use crate::observe::event::{Event, What};
use crate::plugin::{
    self, Call, Claims, Fault, HostEnv, Judgement, KvWrite, ReceiptCall, ReceiptJudgement, Stage,
    Verdict,
};

/// Legs of one message at most; more is a fault of the plugin that made them.
pub const LEGS_MAX: usize = 256;

/// A message, or a fork of it, that has passed the plugins.
#[derive(Debug)]
pub struct Leg {
    /// The message as the plugins left it.
    pub message: Arc<Message>,
    /// Whether its outcome concerns the origin.
    pub answers: Answers,
    /// What happens to it.
    pub fate: Fate,
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
    Later {
        /// Why.
        reason: Arc<str>,
        /// Whether a plugin failed, which counts towards the hold.
        fault: bool,
    },
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

/// A leg on its way through the plugins.
struct Travelling {
    message: Arc<Message>,
    answers: Answers,
    /// Index of the plugin that is next.
    next: usize,
    /// The last route a plugin chose.
    chosen: Option<(Vec<Arc<str>>, Arc<str>)>,
}

impl Run<'_> {
    /// Runs the plugins over `message`. What they did goes into `events`.
    pub async fn decide(&self, message: Arc<Message>, events: &mut Vec<Event>) -> Decided {
        let mut writes = Writes::default();
        let mut legs = Vec::new();
        let mut travelling =
            vec![Travelling { message, answers: Answers::Origin, next: 0, chosen: None }];
        while let Some(mut leg) = travelling.pop() {
            let at = legs.len();
            match self.travel(&mut leg, &mut travelling, &mut writes, events).await {
                Ok(fate) => {
                    let refused = matches!(fate, Fate::Reject(_) | Fate::Defer(..));
                    legs.push(Leg { message: leg.message, answers: leg.answers, fate });
                    if at == 0 && refused {
                        // Forks die with their parent's refusal, and so do its writes.
                        return Decided::Legs(legs, Writes::default());
                    }
                }
                Err(later) => return later,
            }
            if legs.len() + travelling.len() > LEGS_MAX {
                return later(format!("plugins made more than {LEGS_MAX} legs of it"), true);
            }
        }
        Decided::Legs(legs, writes)
    }

    /// One leg through its remaining plugins; forks join `travelling`.
    async fn travel(
        &self,
        leg: &mut Travelling,
        travelling: &mut Vec<Travelling>,
        writes: &mut Writes,
        events: &mut Vec<Event>,
    ) -> Result<Fate, Decided> {
        while let Some(slot) = self.generation.plugins.get(leg.next) {
            leg.next += 1;
            if !slot.runs_at(&leg.message.origin.door) {
                continue;
            }
            let call =
                Call { message: &leg.message, stage: self.stage, run: self.run, env: self.env };
            let judgement = match slot.plugin.judge(call).await {
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
            if let Some(fate) = self.obey(slot, leg, judgement, (travelling, writes), events) {
                return Ok(fate);
            }
        }
        Ok(match leg.chosen.take() {
            Some((targets, plugin)) => Fate::Targets(targets, plugin),
            None => Fate::Tables,
        })
    }

    /// Takes over what a plugin returned; a fate ends the leg's travel.
    fn obey(
        &self,
        slot: &PluginSlot,
        leg: &mut Travelling,
        judgement: Judgement,
        (travelling, writes): (&mut Vec<Travelling>, &mut Writes),
        events: &mut Vec<Event>,
    ) -> Option<Fate> {
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
            let mut born = Travelling {
                message: Arc::new(message),
                answers: match fork.answers {
                    plugin::Answers::Copy => Answers::Copy,
                    plugin::Answers::Share => Answers::Share,
                },
                next: leg.next,
                chosen: None,
            };
            if let Verdict::Route(targets) = fork.verdict {
                born.chosen = Some((targets, Arc::clone(&name)));
            } else if matches!(fork.verdict, Verdict::Accept) {
                born.next = self.generation.plugins.len();
            }
            travelling.push(born);
        }
        match judgement.verdict {
            Verdict::Next => None,
            Verdict::Accept => {
                leg.next = self.generation.plugins.len();
                None
            }
            Verdict::Route(targets) => {
                leg.chosen = Some((targets, name));
                None
            }
            Verdict::Reject(reply) => {
                Some(Fate::Reject(filled(reply, 554, "5.7.1", 0x45, "Message rejected")))
            }
            Verdict::Defer(reply, hint) => Some(Fate::Defer(
                filled(reply, 451, "4.7.1", 0x58, "Try again later"),
                hint.unwrap_or(Duration::ZERO),
            )),
            Verdict::Drop(reason) => Some(Fate::Drop(reason)),
            Verdict::Hold(reason) => Some(Fate::Hold(reason)),
            Verdict::Wait(what) => {
                let words = format!("plugin {name} waits for the look-up {what}");
                Some(Fate::Defer(reply(451, "4.3.0", 0x58, &words), Duration::ZERO))
            }
        }
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
    Decided::Later { reason: reason.into(), fault }
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
