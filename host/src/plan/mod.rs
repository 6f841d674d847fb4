//! From legs to what must be written: deliveries, what is held, what is owed, or a refusal. Pure.

use std::sync::Arc;
use std::time::Duration;

use message::{Address, Content, Message, MessageId, Protocol, Recipient, Short, Timestamp};

use crate::config::{DropAnswer, MailReceipt, Reply, RouteConfig, RouteOptions};
use crate::conversation::{Spoken, spoken};
use crate::convert;
use crate::delivery::{
    AGAIN_MIN, Answers, Cause, DECIDER, Delivery, HELD, KnownAs, Terms, route_after,
};
use crate::generation::{Generation, TargetKind};
use crate::loops;
use crate::observe::event::{Event, What};
use crate::pipeline::{Fate, Leg};
use crate::receipt::answer::{About, Outcome};
use crate::receipt::{DELIVERED, REJECTED};
use crate::route::{MessageFacts, RouteDecision};
use shares::Shares;

mod replies;
mod shares;

use replies::too_many_answers;
pub use replies::{no_route, queue_full};

/// What is to be written for one message.
#[derive(Debug, Default)]
pub struct Plan {
    /// Deliveries with their legs.
    pub deliveries: Vec<(Delivery, Arc<Message>)>,
    /// What waits for an operator.
    pub held: Vec<(Delivery, Arc<Message>)>,
    /// Forks that are decided again later.
    pub later: Vec<(Delivery, Arc<Message>)>,
    /// Outcomes that the origin may want to hear of at once.
    pub outcomes: Vec<(About, Outcome)>,
    /// What is remembered so that an SMS that answers finds the mail's sender.
    pub spoken: Vec<Spoken>,
    /// What happened, for the journal.
    pub events: Vec<Event>,
    /// Refusals of recipients; with nothing else in the plan, the whole message is refused.
    pub refused: Vec<Refused>,
    /// Recipients that were dropped by rule: they count as taken.
    pub dropped: usize,
    /// Recipients of copies that nothing takes: a refusal of them concerns nobody.
    pub lost: usize,
}

/// A refusal of one recipient.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The answer.
    pub reply: Reply,
    /// Whether it may be tried again later.
    pub temporary: bool,
    /// Whom it concerns.
    pub about: About,
}

/// What planning needs to know of the world.
pub struct Planner<'a> {
    /// What decides.
    pub generation: &'a Generation,
    /// The time of the decision.
    pub now: Timestamp,
    /// Whether a target can be used now.
    pub is_up: &'a dyn Fn(&str) -> bool,
    /// Whether a target's queue takes more. What is ours already is planned with room everywhere.
    pub has_room: &'a dyn Fn(&str) -> bool,
    /// Whether plugins and routes may hold messages; what an operator released they may not.
    pub may_hold: bool,
    /// Counts an answer that leaves by the target that its question came by; false if it is one too
    /// many.
    pub may_answer: &'a dyn Fn(&str, &Address) -> bool,
    /// Makes ids of deliveries.
    pub new_id: &'a dyn Fn() -> MessageId,
    /// Where reports about a leg come back to, if there is such a place.
    pub return_address: &'a dyn Fn(MessageId) -> Option<Address>,
}

impl std::fmt::Debug for Planner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Where a recipient of a leg goes.
struct Way<'a> {
    route: Option<&'a Arc<RouteConfig>>,
    targets: Vec<Arc<str>>,
}

impl Planner<'_> {
    /// Plans all legs of a message, which the origin knows under this id and as it came.
    #[must_use]
    pub fn plan(&self, (origin, as_it_came): (MessageId, &Message), legs: &[Leg]) -> Plan {
        let mut plan = Plan::default();
        let mut shares = Shares::new(as_it_came, legs);
        // What was born of a released message is not what an operator released.
        let of_forks = Planner { may_hold: true, ..*self };
        for (at, leg) in legs.iter().enumerate() {
            let planner = if at == 0 { self } else { &of_forks };
            for recipient in &leg.message.recipients {
                let before = plan.counts();
                planner.recipient(&mut plan, origin, leg, recipient);
                if let Some(shares) = shares.as_mut().filter(|_| leg.answers != Answers::Copy) {
                    shares.deal(&mut plan, before, recipient);
                }
            }
        }
        if let Some(shares) = shares {
            shares.conclude(&mut plan);
        }
        plan
    }

    fn recipient(&self, plan: &mut Plan, origin: MessageId, leg: &Leg, recipient: &Recipient) {
        match &leg.fate {
            Fate::Tables => self.by_tables(plan, origin, leg, recipient),
            Fate::Targets(targets, plugin) => {
                let way = Way { route: None, targets: targets.clone() };
                let _chosen_by: &Arc<str> = plugin;
                self.deliver(plan, origin, leg, recipient, way);
            }
            Fate::Reject(reply) => {
                self.refuse(plan, (origin, leg), recipient, (reply.clone(), false));
            }
            Fate::Defer(reply, _) if leg.answers == Answers::Origin => {
                self.refuse(plan, (origin, leg), recipient, (reply.clone(), true));
            }
            // Nobody comes again with a fork: we do.
            Fate::Defer(reply, hint) => self.put_off(plan, origin, leg, recipient, (reply, *hint)),
            Fate::Drop(reason) => self.drop_it(plan, origin, leg, reason),
            Fate::Hold(reason) if self.may_hold => {
                self.hold(plan, origin, leg, recipient, reason);
            }
            Fate::Hold(_) => self.by_tables(plan, origin, leg, recipient),
        }
    }

    /// Plans another decision about a fork, by the plugins after the one that made it.
    fn put_off(
        &self,
        plan: &mut Plan,
        origin: MessageId,
        leg: &Leg,
        recipient: &Recipient,
        (reply, hint): (&Reply, Duration),
    ) {
        let mut delivery = self.blank(origin, leg, recipient, &[Arc::from(DECIDER)]);
        delivery.route = route_after(leg.after.as_deref());
        (delivery.attempts, delivery.due) = (1, self.now.after(hint.max(AGAIN_MIN)));
        delivery.last = Some(Cause::ours("4.3.0", Arc::clone(&reply.text)));
        let what = What::Undecided { reason: Arc::clone(&reply.text) };
        plan.events.push(Event::about(self.now, delivery.id, origin, what));
        plan.later.push((delivery, Arc::clone(&leg.message)));
    }

    fn by_tables(&self, plan: &mut Plan, origin: MessageId, leg: &Leg, recipient: &Recipient) {
        let zero = convert::zero_at(&self.generation.config, &leg.message);
        let facts = MessageFacts::new(&leg.message, &recipient.address, self.now, zero)
            .fork(leg.answers != Answers::Origin);
        let routes = &self.generation.routes;
        let decision =
            if self.may_hold { routes.resolve(&facts) } else { routes.resolve_past_holds(&facts) };
        match decision {
            RouteDecision::Targets { route, targets } => {
                let way = Way { route: Some(&route), targets: targets.to_vec() };
                self.deliver(plan, origin, leg, recipient, way);
            }
            RouteDecision::Drop { route, answer } => {
                self.drop_it(plan, origin, leg, &format!("route {}", route.name).into());
                let state = match answer {
                    DropAnswer::Silent => return,
                    DropAnswer::Delivered => DELIVERED,
                    DropAnswer::Rejected => REJECTED,
                };
                let cause = Cause::ours("", "");
                let about = About::recipient(&leg.message, recipient, leg.answers);
                plan.outcomes.push((about, Outcome::last(state, cause, self.now)));
            }
            RouteDecision::Reject { reply, .. } => {
                self.refuse(plan, (origin, leg), recipient, (reply, false));
            }
            RouteDecision::Hold { reason, .. } => self.hold(plan, origin, leg, recipient, &reason),
            RouteDecision::NoRoute => {
                self.refuse(plan, (origin, leg), recipient, (no_route(), false));
            }
        }
    }

    /// Plans a delivery, or refuses what its targets cannot take.
    fn deliver(
        &self,
        plan: &mut Plan,
        origin: MessageId,
        leg: &Leg,
        recipient: &Recipient,
        mut way: Way<'_>,
    ) {
        let to = &recipient.address;
        let mut answers = 0;
        way.targets.retain(|name| match loops::Way::of(&leg.message, to, name) {
            loops::Way::On => true,
            loops::Way::Back => false,
            loops::Way::Answer => {
                answers += 1;
                (self.may_answer)(name, to)
            }
        });
        if way.targets.is_empty() && answers > 0 {
            return self.refuse(plan, (origin, leg), recipient, (too_many_answers(), false));
        }
        let Some(kind) = way.targets.iter().find_map(|name| self.generation.target_kind(name))
        else {
            return self.refuse(plan, (origin, leg), recipient, (no_route(), false));
        };
        way.targets.retain(|name| self.generation.target_kind(name) == Some(kind));
        // A copy cannot be refused, so it goes even where there is no room.
        if leg.answers != Answers::Copy && !way.targets.iter().any(|name| (self.has_room)(name)) {
            return self.refuse(plan, (origin, leg), recipient, (queue_full(), true));
        }
        let options = match way.route {
            Some(route) => Arc::clone(&route.options),
            None => Arc::clone(&self.generation.config.route_options),
        };
        match self.delivery(origin, leg, recipient, &way, (kind, &*options)) {
            Ok((mut delivery, message)) => {
                delivery.cursor = self.first(&delivery.targets);
                if plan.deliveries.is_empty() && plan.held.is_empty() {
                    // The first delivery goes under the id that the origin was given.
                    delivery.id = leg.message.id;
                }
                let what = What::Routed {
                    to: Arc::clone(&delivery.recipient.address.value),
                    route: Arc::clone(&delivery.route),
                    targets: delivery.targets.clone(),
                };
                plan.events.push(Event::about(self.now, delivery.id, origin, what));
                if let Some((sms, within)) = delivery.sms.as_ref().zip(options.convert.conversation)
                {
                    let (theirs, until) = (&delivery.recipient.address, self.now.after(within));
                    plan.spoken.extend(spoken(&leg.message, &sms.sender, theirs, until));
                }
                plan.deliveries.push((delivery, message));
            }
            // An SMSC that hears of a mistake of ours would give the message up.
            Err(reply) if is_from_smsc(&leg.message) => {
                self.hold(plan, origin, leg, recipient, &reply.text);
            }
            Err(reply) => self.refuse(plan, (origin, leg), recipient, (reply, false)),
        }
    }

    /// The target to begin with: one that is up and has room, else one with room, else one that is up.
    fn first(&self, targets: &[Arc<str>]) -> u16 {
        let (is_up, has_room) = (self.is_up, self.has_room);
        let at = targets
            .iter()
            .position(|name| is_up(name) && has_room(name))
            .or_else(|| targets.iter().position(|name| has_room(name)))
            .or_else(|| targets.iter().position(|name| is_up(name)));
        at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }

    fn delivery(
        &self,
        origin: MessageId,
        leg: &Leg,
        recipient: &Recipient,
        way: &Way<'_>,
        (kind, options): (TargetKind, &RouteOptions),
    ) -> Result<(Delivery, Arc<Message>), Reply> {
        let mut delivery = self.blank(origin, leg, recipient, &way.targets);
        delivery.route = way.route.map_or_else(|| Arc::from(""), |route| Arc::clone(&route.name));
        let (from, to) = (&leg.message.sender, &recipient.address);
        if let Some(template) = &options.rewrite_to {
            let text = template.render(|place| convert::address_place(place, (from, to), to));
            delivery.recipient.original.get_or_insert_with(|| Arc::clone(&to.value));
            delivery.recipient.address = Address::guess(&text);
        }
        delivery.terms.ask = options.receipts;
        delivery.priority = options.priority.unwrap_or(leg.message.priority);
        delivery.expires = self.expiry(&leg.message, &way.targets, options);
        delivery.due = delivery.due.max(options.not_before(delivery.due.max(self.now)));
        let mut message = Arc::clone(&leg.message);
        match (&leg.message.content, kind) {
            (Content::Mail(raw), TargetKind::Short) => {
                delivery.sms = Some(convert::to_sms(&leg.message, raw, &options.convert)?);
            }
            (Content::Short(short), TargetKind::Mail) => {
                message = self.mail(leg, short, &mut delivery, options)?;
            }
            (Content::Mail(_), TargetKind::Mail) | (Content::Short(_), TargetKind::Short) => {}
        }
        let is_new_mail = message.id != leg.message.id;
        if let Some(template) = options.rewrite_from.as_ref().filter(|_| !is_new_mail) {
            let text = template.render(|place| convert::address_place(place, (from, to), from));
            let sender = Address::guess(&text);
            match &mut delivery.sms {
                Some(sms) => sms.sender = sender,
                None => {
                    let mut renamed = (*message).clone();
                    renamed.id = (self.new_id)();
                    renamed.sender = sender;
                    delivery.body = renamed.id;
                    message = Arc::new(renamed);
                }
            }
        }
        if delivery.recipient.address != *to || message.sender != *from {
            let known_as = KnownAs { sender: from.clone(), recipient: to.clone() };
            delivery.known_as = Some(Box::new(known_as));
        }
        Ok((delivery, message))
    }

    /// The mail that a short message becomes. It is a leg of its own: the SMS stays what it was for
    /// other recipients. Its envelope sender is a return address, its author another mailbox.
    fn mail(
        &self,
        leg: &Leg,
        short: &Short,
        delivery: &mut Delivery,
        options: &RouteOptions,
    ) -> Result<Arc<Message>, Reply> {
        let config = &self.generation.config;
        let how = convert::MailHow {
            options: &options.convert,
            from: options.convert.mail_from.as_ref().or(options.rewrite_from.as_ref()),
            fallback_from: config.bounces.as_ref().map_or("", |bounces| &bounces.from.value),
            hostname: &config.node.hostname,
            now: self.now,
        };
        let zero = convert::zero_at(config, &leg.message);
        let to = &delivery.recipient.address;
        let (raw, author) = convert::to_mail(&leg.message, short, to, zero, &how)?;
        let mut mail = (*leg.message).clone();
        mail.id = (self.new_id)();
        mail.sender = (self.return_address)(mail.id).unwrap_or(author);
        mail.content = Content::Mail(raw);
        delivery.body = mail.id;
        if options.convert.receipt == MailReceipt::Reported {
            delivery.terms.report_within = Some(options.convert.receipt_within);
        }
        Ok(Arc::new(mail))
    }

    /// The earliest of: the message's own expiry, the route's validity, the end of its retries.
    fn expiry(&self, message: &Message, targets: &[Arc<str>], options: &RouteOptions) -> Timestamp {
        let connectors = &self.generation.config.connectors;
        let target = targets.iter().find_map(|name| connectors.get(name));
        let retry = options.retry.as_ref().or_else(|| target.map(|connector| &connector.retry));
        let ttl = targets
            .iter()
            .find_map(|name| self.generation.config.accounts.get(name))
            .map(|account| account.receipts_ttl);
        let longest = retry.map(|retry| retry.give_up).or(ttl);
        let limits = [options.validity, longest].into_iter().flatten();
        limits.map(|limit| message.received.after(limit)).fold(message.expires, Timestamp::min)
    }

    fn blank(
        &self,
        origin: MessageId,
        leg: &Leg,
        recipient: &Recipient,
        targets: &[Arc<str>],
    ) -> Delivery {
        let message = &leg.message;
        Delivery {
            id: (self.new_id)(),
            body: message.id,
            message: origin,
            recipient: recipient.clone(),
            route: Arc::from(""),
            targets: targets.to_vec(),
            cursor: 0,
            answers: leg.answers,
            sms: None,
            parts: None,
            attempts: 0,
            faults: 0,
            due: message.not_before.unwrap_or(message.received),
            expires: message.expires,
            priority: message.priority,
            account: Arc::clone(&message.origin.account),
            doubtful: false,
            known_as: None,
            last: None,
            terms: Terms::default(),
        }
    }

    fn hold(
        &self,
        plan: &mut Plan,
        origin: MessageId,
        leg: &Leg,
        recipient: &Recipient,
        reason: &Arc<str>,
    ) {
        let mut delivery = self.blank(origin, leg, recipient, &[Arc::from(HELD)]);
        delivery.route = route_after(leg.after.as_deref());
        delivery.expires = self.now.after(self.generation.config.spool.held_ttl);
        delivery.last = Some(Cause::ours("4.7.0", Arc::clone(reason)));
        let what = What::Held { reason: Arc::clone(reason) };
        plan.events.push(Event::about(self.now, delivery.id, origin, what));
        plan.held.push((delivery, Arc::clone(&leg.message)));
    }

    fn refuse(
        &self,
        plan: &mut Plan,
        (origin, leg): (MessageId, &Leg),
        recipient: &Recipient,
        (reply, temporary): (Reply, bool),
    ) {
        if leg.answers == Answers::Copy {
            let to = &recipient.address;
            let reason = format!("a copy for {to} that was refused: {}", reply.text);
            let what = What::Dropped { reason: reason.into() };
            plan.events.push(Event::about(self.now, leg.message.id, origin, what));
            plan.lost += 1;
            return;
        }
        let about = About::recipient(&leg.message, recipient, leg.answers);
        plan.refused.push(Refused { reply, temporary, about });
    }

    fn drop_it(&self, plan: &mut Plan, origin: MessageId, leg: &Leg, reason: &Arc<str>) {
        let what = What::Dropped { reason: Arc::clone(reason) };
        plan.events.push(Event::about(self.now, leg.message.id, origin, what));
        plan.dropped += 1;
    }
}

impl Plan {
    /// Recipients of all legs together, whatever becomes of them.
    #[must_use]
    pub fn units(&self) -> usize {
        let here = self.deliveries.len() + self.held.len() + self.later.len();
        here + self.refused.len() + self.dropped + self.lost
    }

    /// Whether nothing of the message was taken.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !self.refused.is_empty()
            && self.deliveries.is_empty()
            && self.held.is_empty()
            && self.later.is_empty()
            && self.dropped == 0
    }

    /// The refusal that the peer gets for the whole message, if it gets one: nothing was taken, or
    /// some recipient can be taken later. Then all of it comes again, and nobody gets it twice.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refused> {
        let later = self.refused.iter().find(|refused| refused.temporary);
        later.or_else(|| self.refused.first().filter(|_| self.is_refusal()))
    }
}

/// Whether it is a message that an SMSC sent us: nobody can be told about it.
fn is_from_smsc(message: &Message) -> bool {
    message.origin.protocol == Protocol::Smpp && message.origin.account.is_empty()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::specimen::specimen;
    use crate::config::{CheckOptions, TestMessage, load_text};
    use crate::platform::clock::Clock;
    use crate::route::RouteTable;

    const NOW: Timestamp = Timestamp::from_ms(1_795_425_725_123);

    const CONFIG: &str = "
listeners: { esmes: { smpp: { bind: '127.0.0.1:2775' } } }
accounts: { shop: { smpp: { system_id: shop, password: { env: P } } } }
connectors:
  a: { smpp: { host: 127.0.0.1, system_id: w, password: { env: P } } }
  b: { smpp: { host: 127.0.0.1, system_id: w, password: { env: P } } }
routes:
  - { name: french, when: { to: { prefix: '+33' } }, to: { failover: [a, b] } }
  - { name: rest, to: shop }
";

    fn generation() -> Generation {
        let loaded = load_text("w.yaml".as_ref(), CONFIG, CheckOptions { environment: false });
        let config = Arc::new(loaded.config.unwrap());
        let clock = Clock::system();
        let spool = spool::Spool::open_memory(spool::Options::new(|| Clock::system().instant()));
        let started = clock.instant();
        let env = crate::router::Env::new(
            spool.unwrap(),
            clock,
            Arc::clone(&config),
            Arc::default(),
            (started, 1),
        );
        let routes = RouteTable::compile(&config);
        let (plugins, health) = (Vec::new(), crate::generation::Health::default());
        Generation { number: 1, config, routes, plugins, env: Arc::new(env), health }
    }

    /// A leg of a message from an ESME to these recipients.
    pub(crate) fn leg(to: &[&str], answers: Answers) -> Leg {
        let wanted = TestMessage {
            door: "esmes".into(),
            account: None,
            from: "33700".into(),
            to: to.iter().map(|to| Arc::from(*to)).collect(),
            subject: None,
            headers: std::collections::BTreeMap::new(),
            text: "Hi".into(),
        };
        let message = Arc::new(specimen(&generation().config, &wanted, NOW).unwrap());
        Leg { message, answers, fate: Fate::Tables, after: None }
    }

    /// Plans legs with every target up and room everywhere.
    pub(super) fn plan_legs(origin: (MessageId, &Message), legs: &[Leg]) -> Plan {
        plan_while(origin, legs, &[], &[])
    }

    fn plan_while(
        origin: (MessageId, &Message),
        legs: &[Leg],
        down: &[&str],
        full: &[&str],
    ) -> Plan {
        let generation = generation();
        let planner = Planner {
            generation: &generation,
            now: NOW,
            is_up: &|name| !down.contains(&name),
            has_room: &|name| !full.contains(&name),
            may_hold: true,
            may_answer: &|_target, _to| true,
            new_id: &|| MessageId::from_u64(2),
            return_address: &|_leg| None,
        };
        planner.plan(origin, legs)
    }

    /// Plans a message to these recipients while these targets are down or full.
    fn plan(to: &[&str], answers: Answers, down: &[&str], full: &[&str]) -> Plan {
        let leg = leg(to, answers);
        let message = Arc::clone(&leg.message);
        plan_while((message.id, &message), &[leg], down, full)
    }

    #[track_caller]
    fn check_first(down: &[&str], full: &[&str], expect: Option<&str>) {
        let plan = plan(&["+33612345678"], Answers::Origin, down, full);
        let first = plan.deliveries.first().and_then(|(delivery, _)| delivery.target());
        assert_eq!(first.map(|name| &**name), expect, "down {down:?}, full {full:?}");
        assert_eq!(plan.refusal().is_some_and(|refused| refused.temporary), expect.is_none());
    }

    #[test]
    fn a_delivery_begins_where_there_is_room() {
        check_first(&[], &[], Some("a"));
        check_first(&["a"], &[], Some("b"));
        check_first(&["a", "b"], &[], Some("a"));
        check_first(&[], &["a"], Some("b"));
        check_first(&["b"], &["a"], Some("b"));
        check_first(&[], &["a", "b"], None);
    }

    #[test]
    fn one_full_queue_puts_the_whole_message_off() {
        let both = plan(&["+33612345678", "+49301234567"], Answers::Origin, &[], &["shop"]);
        assert_eq!(both.deliveries.len(), 1);
        let refused = both.refusal().unwrap();
        assert!(refused.temporary);
        assert_eq!((refused.reply.smtp_code, refused.reply.smpp_status), (452, 0x14));
    }

    #[test]
    fn a_copy_goes_where_there_is_no_room() {
        let copy = plan(&["+33612345678"], Answers::Copy, &["a"], &["a", "b"]);
        assert_eq!(copy.deliveries[0].0.target().map(|name| &**name), Some("b"));
        assert!(copy.refusal().is_none());
    }
}
