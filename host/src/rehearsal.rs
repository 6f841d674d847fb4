//! The `tests` of a configuration, run: each message goes through the plugins, routes and
//! conversions of a router of its own – the code that carries traffic, without sockets and without
//! a disk – and what would be written is compared with what is expected.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use message::mail::MailView;
use message::{Content, Message, Timestamp};
use serde::Serialize;

use crate::cli::specimen::specimen;
use crate::config::{
    ANYBODY, Config, ConnectorKind, Expectation, ListenerKind, Outcome, Reply, SpoolPlace,
    TestCase, TestMessage,
};
use crate::convert;
use crate::delivery::{Delivery, Queued};
use crate::generation::{Generation, Health};
use crate::intake::Refusal;
use crate::last_good::LastGood;
use crate::observe::event::What;
use crate::observe::journal::Journal;
use crate::observe::metrics::Metrics;
use crate::plan::{Plan, no_route};
use crate::platform::clock::Clock;
use crate::platform::machine::Machine;
use crate::plugin::{Compiler, HostEnv};
use crate::plugins::{Before, PluginSet, Surroundings};
use crate::route::RouteTable;
use crate::router::{Parts, Rehearsed, Router, Targets};
use crate::sms::compose::{Composing, compose};

/// A router to rehearse with.
#[derive(Debug)]
pub struct Rehearsal {
    router: Arc<Router>,
    generation: Arc<Generation>,
    _plugins: PluginSet,
}

/// Why there is no router to rehearse with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Plugins could not be loaded.
    #[error("plugins could not be loaded:\n{}", .0.join("\n"))]
    Plugins(Vec<String>),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// One thing that a message became: a delivery, or the lack of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Became {
    /// `sent`, `rejected` and so on.
    pub outcome: &'static str,
    /// The first target.
    pub target: Option<Arc<str>>,
    /// The route that chose it; none if a plugin did.
    pub route: Option<Arc<str>>,
    /// The text that goes out; none if it has none.
    pub text: Option<Arc<str>>,
    /// The recipient.
    pub to: Option<Arc<str>>,
    /// The sender that it goes out with.
    pub from: Option<Arc<str>>,
    /// SMS parts; none for mail.
    pub parts: Option<u32>,
    /// Why it is not sent.
    pub why: Option<Arc<str>>,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key of `expect`.
    pub what: &'static str,
    /// Its value.
    pub expected: String,
    /// What came instead.
    pub got: String,
}

/// What came of one test.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Its name.
    pub name: Arc<str>,
    /// File, line and column.
    pub place: Arc<str>,
    /// Whether everything is as expected.
    pub ok: bool,
    /// What is not, where it comes nearest.
    pub differences: Vec<Difference>,
    /// All that the message became.
    pub became: Vec<Became>,
}

impl Rehearsal {
    /// A router for this configuration, with its plugins and an empty spool in memory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: Arc<Config>, clock: Clock) -> Result<Self, OpenError> {
        Self::open_with(config, clock, Compiler::default()).await
    }

    /// The same with a compiler that may know its plugins already.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_with(
        config: Arc<Config>,
        clock: Clock,
        compiler: Compiler,
    ) -> Result<Self, OpenError> {
        let Loading { machine, spool, targets, plugins, env } =
            Loading::start(&config, clock, compiler)?;
        let loaded =
            plugins.load(&config, &env, Before::Nothing).await.map_err(OpenError::Plugins)?;
        let generation = Arc::new(Generation {
            number: 1,
            routes: RouteTable::compile(&config),
            plugins: loaded.slots,
            env,
            config,
            health: Health::default(),
        });
        let Machine { clock, net, tasks, .. } = machine;
        let parts = Parts {
            clock,
            net,
            tasks,
            spool,
            journal: Journal::none(),
            metrics: Metrics::default(),
            targets,
            generation: Arc::clone(&generation),
        };
        let router = Router::open(parts).await?;
        Ok(Self { router, generation, _plugins: plugins })
    }

    /// Loads the plugins that a router with this configuration would run, dropped files included, and
    /// forgets them.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn try_plugins(config: &Arc<Config>, clock: Clock) -> Result<(), OpenError> {
        if config.plugins.list.is_empty() && config.plugins.auto.is_none() {
            return Ok(());
        }
        let loading = Loading::start(config, clock, Compiler::default())?;
        let loaded = loading.plugins.load(config, &loading.env, Before::Nothing).await;
        loaded.map(drop).map_err(OpenError::Plugins)
    }

    /// Runs one test.
    pub async fn run(&self, case: &TestCase) -> Verdict {
        let became = self.became(&case.send).await;
        let differences = nearest(&case.expect, &became);
        Verdict {
            name: Arc::clone(&case.name),
            place: Arc::clone(&case.place),
            ok: differences.is_empty(),
            differences,
            became,
        }
    }

    async fn became(&self, wanted: &TestMessage) -> Vec<Became> {
        let now = self.router.clock.now();
        let mut message = match specimen(&self.generation.config, wanted, now) {
            Ok(message) => message,
            Err(problem) => return vec![Became::refused(Outcome::Rejected, None, problem)],
        };
        message.id = self.router.next_id();
        if !self.may_send_as(wanted, &message) {
            let why = "the account may not use this sender";
            return vec![Became::refused(Outcome::Rejected, None, why)];
        }
        let mut became = self.admit(&mut message);
        if message.recipients.is_empty() {
            return became;
        }
        let first = message.recipients.first().map(|to| Arc::clone(&to.address.value));
        match self.router.rehearse(&self.generation, message).await {
            Rehearsed::Refused(refusal) => became.push(Became::by(&refusal, first)),
            Rehearsed::Undecided(why) => {
                became.push(Became::refused(Outcome::Undecided, first, why));
            }
            Rehearsed::Planned(plan) => became.extend(self.planned(plan, now)),
        }
        became
    }

    /// Takes out the recipients that the door would refuse, and says why.
    fn admit(&self, message: &mut Message) -> Vec<Became> {
        let relay_allowed = self.may_relay(message);
        let mut refused = Vec::new();
        for recipient in std::mem::take(&mut message.recipients) {
            let to = Arc::clone(&recipient.address.value);
            let admitted = self.router.admit_recipient(
                &self.generation,
                &message.origin,
                &message.sender,
                recipient,
                relay_allowed,
            );
            match admitted {
                Ok(recipient) => message.recipients.push(recipient),
                Err(refusal) => refused.push(Became::by(&refusal, Some(to))),
            }
        }
        refused
    }

    /// The peer of a test is one that the listener allows, if it allows anybody.
    fn may_relay(&self, message: &Message) -> bool {
        let listener = self.generation.config.listeners.get(&message.origin.door);
        match listener.map(|listener| &listener.kind) {
            Some(ListenerKind::Smtp(smtp)) => {
                smtp.open_relay || !smtp.allow.is_empty() || !message.origin.account.is_empty()
            }
            _ => true,
        }
    }

    fn may_send_as(&self, wanted: &TestMessage, message: &Message) -> bool {
        let account = self.generation.config.accounts.get(&message.origin.account);
        account
            .is_none_or(|account| &*wanted.from == ANYBODY || account.may_send_as(&message.sender))
    }

    fn planned(&self, plan: Plan, now: Timestamp) -> Vec<Became> {
        let mut became = Vec::new();
        for (delivery, message) in plan.deliveries {
            became.push(self.sent(Queued { delivery, message }, now));
        }
        for (delivery, _message) in plan.held {
            let why = delivery.last.as_ref().map(|cause| Arc::clone(&cause.text));
            let to = Some(Arc::clone(&delivery.recipient.address.value));
            became.push(Became::refused(Outcome::Held, to, why.unwrap_or_default()));
        }
        for (delivery, _message) in plan.later {
            let why = delivery.last.as_ref().map(|cause| Arc::clone(&cause.text));
            let to = Some(Arc::clone(&delivery.recipient.address.value));
            became.push(Became::refused(Outcome::Undecided, to, why.unwrap_or_default()));
        }
        for refused in plan.refused {
            let refusal = Refusal::from_reply(&refused.reply, !refused.temporary);
            became.push(Became::by(&refusal, Some(refused.about.recipient.address.value)));
        }
        for event in plan.events {
            if let What::Dropped { reason } = event.what {
                became.push(Became::refused(Outcome::Dropped, None, reason));
            }
        }
        became
    }

    fn sent(&self, mut queued: Queued, now: Timestamp) -> Became {
        let parts = self.parts(&mut queued, now);
        let Queued { delivery, message } = &queued;
        let from = delivery.sms.as_ref().map_or(&message.sender, |sms| &sms.sender);
        Became {
            outcome: Outcome::Sent.word(),
            target: delivery.target().cloned(),
            route: Some(&delivery.route).filter(|route| !route.is_empty()).cloned(),
            text: self.text(delivery, message),
            to: Some(Arc::clone(&delivery.recipient.address.value)),
            from: Some(Arc::clone(&from.value)),
            parts,
            why: None,
        }
    }

    /// The text as the recipient reads it, without space at its end.
    fn text(&self, delivery: &Delivery, message: &Message) -> Option<Arc<str>> {
        if let Some(sms) = &delivery.sms {
            return Some(Arc::clone(&sms.text));
        }
        let text = match &message.content {
            Content::Mail(raw) => MailView::new(raw.clone()).text().map(str::to_owned),
            Content::Short(short) => short.text(convert::zero_at(&self.generation.config, message)),
        };
        text.map(|text| text.trim_end().into())
    }

    /// How many parts its first target gets.
    fn parts(&self, queued: &mut Queued, now: Timestamp) -> Option<u32> {
        let config = &self.generation.config;
        let target = queued.delivery.target()?;
        let connector = config.connectors.get(target).map(|connector| &connector.kind);
        let composing = match (connector, config.accounts.get(target)) {
            (Some(ConnectorKind::Smpp(smpp)), _) => Composing::for_connector(smpp),
            (None, Some(account)) => Composing::for_account(account),
            _ => return None,
        };
        let parts = compose(queued, &composing, || 0, now).ok()?;
        u32::try_from(parts.len()).ok()
    }
}

/// What plugins are loaded with: a spool in memory, and targets that nobody uses.
struct Loading {
    machine: Machine,
    spool: spool::Spool,
    targets: Arc<ArcSwap<Targets>>,
    plugins: PluginSet,
    env: Arc<dyn HostEnv>,
}

impl Loading {
    fn start(config: &Arc<Config>, clock: Clock, compiler: Compiler) -> anyhow::Result<Self> {
        let mut options = spool::Options::new(|| Clock::system().instant());
        options.reserve_bytes = 0;
        let spool = spool::Spool::open_memory(options)?;
        let targets = Arc::new(ArcSwap::new(Arc::new(Targets::new())));
        let machine = Machine::from(clock);
        let surroundings = Surroundings {
            spool: spool.clone(),
            targets: Arc::clone(&targets),
            last_good: LastGood::of(Path::new(""), &SpoolPlace::Memory),
            // A rehearsal asks nobody: look-ups are not available.
            lookups: None,
            compiler,
        };
        let plugins = PluginSet::start(&machine, surroundings)?;
        let env = plugins.env(config);
        Ok(Self { machine, spool, targets, plugins, env })
    }
}

impl Became {
    fn refused(outcome: Outcome, to: Option<Arc<str>>, why: impl Into<Arc<str>>) -> Self {
        Self {
            outcome: outcome.word(),
            target: None,
            route: None,
            text: None,
            to,
            from: None,
            parts: None,
            why: Some(why.into()),
        }
    }

    fn by(refusal: &Refusal, to: Option<Arc<str>>) -> Self {
        let Reply { smtp_code, enhanced, smpp_status, text } = no_route();
        let is_no_route = refusal.smtp_code == smtp_code
            && refusal.enhanced == enhanced
            && refusal.smpp_status == smpp_status
            && refusal.text == text;
        let outcome = match (is_no_route, refusal.permanent) {
            (true, _) => Outcome::NoRoute,
            (false, true) => Outcome::Rejected,
            (false, false) => Outcome::Deferred,
        };
        let Refusal { smtp_code, enhanced, smpp_status, text, .. } = refusal;
        Self::refused(outcome, to, format!("{smtp_code} {enhanced} {text} / {smpp_status:#010x}"))
    }
}

/// What is not as expected about the one that comes nearest; nothing if one meets it all.
fn nearest(expect: &Expectation, became: &[Became]) -> Vec<Difference> {
    let all = became.iter().map(|one| differences(expect, one));
    all.min_by_key(Vec::len).unwrap_or_else(|| {
        let (expected, got) = ("something".to_owned(), "nothing came of it".to_owned());
        vec![Difference { what: "outcome", expected, got }]
    })
}

fn differences(expect: &Expectation, became: &Became) -> Vec<Difference> {
    let outcome = expect.outcome.map(Outcome::word);
    let number = |parts: Option<u32>| parts.map(|parts| parts.to_string());
    let (wanted_parts, parts) = (number(expect.parts), number(became.parts));
    let text = expect.text.as_deref().map(str::trim_end);
    let pairs = [
        ("outcome", outcome, Some(became.outcome)),
        ("target", expect.target.as_deref(), became.target.as_deref()),
        ("route", expect.route.as_deref(), became.route.as_deref()),
        ("text", text, became.text.as_deref()),
        ("to", expect.to.as_deref(), became.to.as_deref()),
        ("from", expect.from.as_deref(), became.from.as_deref()),
        ("parts", wanted_parts.as_deref(), parts.as_deref()),
    ];
    let mut found = Vec::new();
    for (what, expected, got) in pairs {
        let Some(expected) = expected.filter(|_| expected != got) else { continue };
        let got = got.map_or_else(|| format!("none: it was {}", became.spell()), str::to_owned);
        found.push(Difference { what, expected: expected.to_owned(), got });
    }
    found
}

impl Became {
    /// In a few words.
    #[must_use]
    pub fn spell(&self) -> String {
        match (&self.why, &self.target) {
            (Some(why), _) => format!("{} ({why})", self.outcome),
            (None, Some(target)) => format!("{} to {target}", self.outcome),
            (None, None) => self.outcome.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn became() -> Became {
        Became {
            outcome: "sent",
            target: Some("smsc".into()),
            route: Some("french".into()),
            text: Some("Hi: there".into()),
            to: Some("+33612345678".into()),
            from: Some("33700".into()),
            parts: Some(1),
            why: None,
        }
    }

    #[track_caller]
    fn check(expect: &Expectation, became: &[Became], differ: &[(&str, &str, &str)]) {
        let found = nearest(expect, became);
        let found: Vec<_> =
            found.iter().map(|it| (it.what, it.expected.as_str(), it.got.as_str())).collect();
        assert_eq!(found, differ);
    }

    #[test]
    fn what_is_left_out_is_not_compared() {
        check(&Expectation::default(), &[became()], &[]);
        let expect =
            Expectation { text: Some("Hi: there\n".into()), parts: Some(1), ..Default::default() };
        check(&expect, &[became()], &[]);
    }

    #[test]
    fn a_difference_names_the_key_and_both_values() {
        let expect = Expectation {
            target: Some("relay".into()),
            parts: Some(2),
            outcome: Some(Outcome::Sent),
            ..Default::default()
        };
        check(&expect, &[became()], &[("target", "relay", "smsc"), ("parts", "2", "1")]);
        let held = Became::refused(Outcome::Held, None, "odd");
        check(
            &expect,
            std::slice::from_ref(&held),
            &[
                ("outcome", "sent", "held"),
                ("target", "relay", "none: it was held (odd)"),
                ("parts", "2", "none: it was held (odd)"),
            ],
        );
        check(&expect, &[held, became()], &[("target", "relay", "smsc"), ("parts", "2", "1")]);
        check(&expect, &[], &[("outcome", "something", "nothing came of it")]);
    }
}
