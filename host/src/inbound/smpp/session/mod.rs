//! One session of an ESME, from its first octet to its last.

mod binding;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use message::{MessageId, Origin, Timestamp};
use smpp::pdu::{Bind, QuerySmResp, ReplaceSm};
use smpp::session::{Config, Role, WINDOW_MAX};
use smpp::{CommandId, Event, Octets, Pdu, Session, Status};

use super::door::Door;
use super::submit::{Refused, Submit, Submitter};
use super::{answer, bind};
use crate::config::Account;
use crate::inbound::gate::{Pass, SILENCE_CROWDED};
use crate::intake::{Draft, Outcome};
use crate::router::Router;
use crate::sms::compose::Composing;
use crate::sms::flight::Flight;
use crate::sms::link::{Link, Step};
use crate::sms::read::Reading;
use crate::sms::references::References;
use crate::sms::verdict::Judge;
use crate::sms::version;
use crate::target::Target;
use crate::wire::Socket;

/// Something that can be answered now.
enum Answered {
    /// A batch of requests and what became of their drafts.
    Batch(Vec<Submit>, Vec<Outcome>),
    /// A text that was replaced, or was not.
    Replaced(u32, Status),
    /// A cancel_sm, by its sequence number.
    Cancelled(u32, Status),
    /// A bind whose answer has waited long enough.
    Bind(u32, Bind),
    /// A bind that is refused.
    NoBind(u32, CommandId, Status),
}

/// One session.
struct Serving {
    router: Arc<Router>,
    door: Door,
    peer: SocketAddr,
    pass: Pass,
    link: Link<Box<dyn Socket>>,
    bound: Option<Bound>,
    /// Batches on their way to the disk.
    accepting: FuturesOrdered<BoxFuture<'static, Answered>>,
    /// Results on their way to the queue.
    settling: FuturesUnordered<BoxFuture<'static, ()>>,
    state: State,
}

/// What is known once it is bound.
struct Bound {
    account: Arc<Account>,
    origin: Arc<Origin>,
    /// Messages and receipts for it.
    target: Option<Arc<Target>>,
    flight: Flight,
}

/// How far its end is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more is taken; what was taken is answered.
    Finishing,
    /// We unbind.
    Unbinding,
    Ended,
}

/// Serves a session to its end.
pub(super) async fn serve(
    router: Arc<Router>,
    door: Door,
    socket: Box<dyn Socket>,
    peer: SocketAddr,
    pass: Pass,
) {
    let settings = &door.settings;
    let config = Config {
        version: version(settings.version),
        pdu_octets_max: usize::try_from(settings.pdu_bytes_max).unwrap_or(usize::MAX),
        window: usize::from(settings.window),
        session_init: settings.session_init,
        enquire_link: settings.enquire_link,
        response: settings.response_timeout,
        inactivity: Some(settings.inactivity).filter(|time| !time.is_zero()),
        ..Config::new(Role::Smsc)
    };
    tracing::debug!(event = "smpp.connect", listener = &*door.name, %peer);
    let link = Link::new(socket, Session::new(config, router.clock.instant()));
    let serving = Serving {
        router,
        door,
        peer,
        pass,
        link,
        bound: None,
        accepting: FuturesOrdered::new(),
        settling: FuturesUnordered::new(),
        state: State::Open,
    };
    serving.run().await;
}

impl Serving {
    async fn run(mut self) {
        let mut generations = self.router.generations();
        let stopping = self.router.tasks.stopping().clone();
        let mut reason = "closed by the peer";
        self.hurry();
        loop {
            self.events(&mut reason);
            self.deliver();
            self.go_on_with_the_end();
            if self.state == State::Ended {
                break;
            }
            let may_read = self.state != State::Finishing
                && self.link.session.wants_input()
                && self.link.session.unanswered() < self.window();
            let target = self.hungry();
            let clock = self.router.clock.clone();
            tokio::select! {
                biased;
                () = stopping.cancelled(), if self.state == State::Open => {
                    reason = "shutdown";
                    self.finish();
                }
                () = generations.changed() => self.reloaded(),
                () = self.pass.turned(), if self.bound.is_none() => self.hurry(),
                Some(answered) = self.accepting.next(), if !self.accepting.is_empty() => {
                    self.answer(answered);
                }
                Some(()) = self.settling.next(), if !self.settling.is_empty() => {}
                () = ready(target, &clock) => self.take(),
                step = self.link.step(may_read, None) => match step {
                    Ok(Step::Moved) => {}
                    Ok(Step::Gone) => break,
                    Err(error) => {
                        tracing::debug!(event = "smpp.cut", peer = %self.peer, %error);
                        reason = "the connection broke";
                        break;
                    }
                },
            }
        }
        self.end(reason).await;
    }

    /// Who has not bound gets less time while places run out.
    fn hurry(&mut self) {
        let within = self.door.settings.session_init;
        let within = if self.pass.is_hurried() { within.min(SILENCE_CROWDED) } else { within };
        self.link.session.set_session_init(within);
    }

    /// How many requests may be unanswered.
    fn window(&self) -> usize {
        let own = self.bound.as_ref().and_then(|bound| bound.account.window);
        usize::from(own.unwrap_or(self.door.settings.window)).clamp(1, WINDOW_MAX)
    }

    /// The queue to take from, if there is room for more.
    fn hungry(&self) -> Option<Arc<Target>> {
        let bound = self.bound.as_ref().filter(|_| self.state == State::Open)?;
        let target = bound.target.as_ref()?;
        (bound.flight.room(&self.link.session) > 0).then(|| Arc::clone(target))
    }

    /// Handles everything that one read brought. Submits among it are one batch.
    fn events(&mut self, reason: &mut &'static str) {
        let mut batch = Batch::default();
        while let Some(event) = self.link.session.poll_event() {
            match event {
                Event::Request { sequence, pdu, quirks } => {
                    if !quirks.is_empty() {
                        tracing::debug!(event = "smpp.quirk", peer = %self.peer, ?quirks);
                    }
                    self.request(sequence, pdu, &mut batch);
                }
                Event::Response { token, status, pdu, .. } => {
                    let now = self.router.clock.now();
                    if let Some(bound) = &mut self.bound {
                        bound.flight.answered(token, status, &pdu, now);
                    }
                }
                Event::Timeout { token } => {
                    if let Some(bound) = &mut self.bound {
                        bound.flight.timed_out(token);
                    }
                }
                Event::Refused { command, status, fault, .. } => {
                    tracing::info!(event = "smpp.refused", listener = &*self.door.name,
                        peer = %self.peer, %command, %status, fault = fault.map(tracing::field::display));
                }
                Event::Orphan { command, sequence, status } => {
                    tracing::debug!(event = "smpp.orphan", peer = %self.peer, %command, sequence, %status);
                }
                Event::Unbound => {
                    if self.state != State::Unbinding {
                        *reason = "unbound";
                    }
                    self.state = State::Ended;
                }
                Event::FramingLost(lost) => {
                    tracing::info!(event = "smpp.framing", peer = %self.peer, error = %lost);
                    *reason = "framing lost";
                    self.state = State::Ended;
                }
                Event::LinkDead(dead) => {
                    tracing::info!(event = "smpp.dead", peer = %self.peer, error = %dead);
                    *reason = "the peer does not answer";
                    self.state = State::Ended;
                }
                // Only an ESME hears these.
                Event::Bound { .. } | Event::BindRefused { .. } => {}
            }
        }
        if !batch.submits.is_empty() {
            self.accept(batch);
        }
    }

    fn request(&mut self, sequence: u32, pdu: Pdu, batch: &mut Batch) {
        let command = pdu.command();
        match pdu {
            Pdu::SubmitSm(sm) => self.submit(sequence, command, &sm, batch),
            Pdu::DataSm(data) => self.submit(sequence, command, &data.into_sm(), batch),
            Pdu::SubmitMulti(multi) => {
                let cost = u32::try_from(multi.destinations.len()).unwrap_or(u32::MAX);
                let draft = self.submitter(cost, batch, |submitter| {
                    submitter.several(&multi.sm, multi.destinations)
                });
                self.queue(sequence, command, draft, batch);
            }
            Pdu::Bind(bind) => self.bind(sequence, bind),
            Pdu::QuerySm(query) => self.query(sequence, &query.message_id),
            Pdu::CancelSm(cancel) => self.cancel(sequence, &cancel.message_id),
            Pdu::ReplaceSm(replace) => self.replace(sequence, replace),
            _ if command.is_unanswered() => {}
            _ => self.refuse(sequence, command, Status::RINVCMDID),
        }
    }

    fn submit(&mut self, sequence: u32, command: CommandId, sm: &smpp::Sm, batch: &mut Batch) {
        let draft = self
            .submitter(1, batch, |submitter| submitter.one(sm).map(|draft| (draft, Vec::new())));
        self.queue(sequence, command, draft, batch);
    }

    /// Makes a draft, if the session may submit now.
    fn submitter<T>(
        &self,
        cost: u32,
        batch: &mut Batch,
        draft: impl FnOnce(&Submitter<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let Some(bound) = &self.bound else { return Err(Refused::Status(Status::RINVBNDSTS)) };
        if self.state != State::Open {
            return Err(Refused::Status(Status::RSYSERR));
        }
        let now = self.router.clock.now();
        if !self.router.accounts.may_submit(&bound.account, cost, now) {
            return Err(Refused::Status(Status::RTHROTTLED));
        }
        let generation = batch.generation.get_or_insert_with(|| self.router.generation());
        draft(&Submitter {
            router: &self.router,
            generation,
            account: &bound.account,
            origin: &bound.origin,
            reading: reading(&bound.account),
        })
    }

    fn queue(
        &mut self,
        sequence: u32,
        command: CommandId,
        draft: Result<(Draft, Vec<smpp::pdu::Unsuccess>), Refused>,
        batch: &mut Batch,
    ) {
        match draft {
            Ok((draft, unsuccess)) => {
                batch.submits.push(Submit { sequence, command, unsuccess });
                batch.drafts.push(draft);
            }
            Err(Refused::Status(status)) => self.refuse(sequence, command, status),
            Err(Refused::Refusal(refusal)) => {
                let (status, pdu) = answer::refused(&refusal, command);
                self.respond(sequence, status, &pdu);
            }
        }
    }

    fn accept(&mut self, batch: Batch) {
        let Batch { submits, drafts, generation: Some(generation) } = batch else { return };
        let router = Arc::clone(&self.router);
        self.accepting.push_back(Box::pin(async move {
            let outcomes = router.accept(&generation, drafts).await;
            Answered::Batch(submits, outcomes)
        }));
    }

    fn answer(&mut self, answered: Answered) {
        let (submits, outcomes) = match answered {
            Answered::Batch(submits, outcomes) => (submits, outcomes),
            Answered::Replaced(sequence, status) => {
                return self.respond(sequence, status, &Pdu::ReplaceSmResp);
            }
            Answered::Cancelled(sequence, status) => {
                return self.respond(sequence, status, &Pdu::CancelSmResp);
            }
            Answered::Bind(sequence, bind) => return self.enter(sequence, &bind),
            Answered::NoBind(sequence, command, status) => {
                return self.turn_away(sequence, command, status);
            }
        };
        let long_ids = self.link.session.dialect().version.has_long_ids();
        for (submit, outcome) in submits.into_iter().zip(outcomes) {
            let Submit { sequence, command, unsuccess } = submit;
            let (status, pdu) = match outcome {
                Outcome::Accepted(accepted) => {
                    let id = if long_ids {
                        accepted.id.to_string()
                    } else {
                        format!("{:08X}", self.router.alias(accepted.id))
                    };
                    let id = Octets::from(id.into_bytes());
                    answer::accepted(&accepted, command, id, unsuccess)
                }
                Outcome::Refused(refusal) => answer::refused(&refusal, command),
            };
            self.respond(sequence, status, &pdu);
        }
    }

    fn query(&mut self, sequence: u32, given: &Octets) {
        let known = self.id_of(given).and_then(|(account, id)| self.router.query(&account, id));
        let Some(known) = known else {
            return self.refuse(sequence, CommandId::QUERY_SM, Status::RQUERYFAIL);
        };
        let final_date = known.ended.and_then(|at| i64::try_from(at.as_ms()).ok());
        let resp = QuerySmResp {
            message_id: given.clone(),
            final_date: final_date
                .map(|at_ms| smpp::time::Time::Absolute(at_ms).format())
                .unwrap_or_default(),
            message_state: known.state,
            error_code: known.error,
        };
        self.respond(sequence, Status::ROK, &Pdu::QuerySmResp(resp));
    }

    /// Takes a message back; the answer waits until that is durable.
    fn cancel(&mut self, sequence: u32, given: &Octets) {
        let Some((account, id)) = self.id_of(given) else {
            return self.respond(sequence, Status::RCANCELFAIL, &Pdu::CancelSmResp);
        };
        let router = Arc::clone(&self.router);
        self.accepting.push_back(Box::pin(async move {
            let done = router.cancel(&account, id).await;
            Answered::Cancelled(sequence, if done { Status::ROK } else { Status::RCANCELFAIL })
        }));
    }

    /// Replaces a text; it costs as much as a submit, whose way it goes again.
    fn replace(&mut self, sequence: u32, replace: ReplaceSm) {
        let known = self.id_of(&replace.message_id).zip(self.bound.as_ref());
        let Some(((account, id), bound)) = known else {
            return self.respond(sequence, Status::RREPLACEFAIL, &Pdu::ReplaceSmResp);
        };
        let router = Arc::clone(&self.router);
        if !router.accounts.may_submit(&bound.account, 1, router.clock.now()) {
            return self.respond(sequence, Status::RTHROTTLED, &Pdu::ReplaceSmResp);
        }
        let reading = reading(&bound.account);
        self.accepting.push_back(Box::pin(async move {
            let replaced = router.replace(&account, id, &replace, &reading).await;
            Answered::Replaced(sequence, replaced.err().unwrap_or(Status::ROK))
        }));
    }

    /// The account and the message that an id of ours stands for.
    fn id_of(&self, given: &Octets) -> Option<(Arc<str>, MessageId)> {
        let account = Arc::clone(&self.bound.as_ref()?.account.name);
        let text = given.to_text();
        let id = if self.link.session.dialect().version.has_long_ids() {
            text.parse().ok()?
        } else {
            self.router.unalias(u32::from_str_radix(&text, 16).ok()?)?
        };
        Some((account, id))
    }

    /// Takes deliveries for the ESME.
    fn take(&mut self) {
        let Some(bound) = &mut self.bound else { return };
        let Some(target) = &bound.target else { return };
        let now = self.router.clock.now();
        for queued in target.take(now, bound.flight.room(&self.link.session)) {
            bound.flight.start(queued, now);
        }
    }

    /// Sends what was taken, and hands back what has come to an end.
    fn deliver(&mut self) {
        let Some(bound) = &mut self.bound else { return };
        bound.flight.send(&mut self.link.session, self.router.clock.instant());
        let Some(target) = &bound.target else { return };
        let progress = bound.flight.take_progress();
        if !progress.is_empty() {
            self.router.note_progress(target, &progress);
        }
        let results = bound.flight.take_results();
        if !results.is_empty() {
            let (router, target) = (Arc::clone(&self.router), Arc::clone(target));
            self.settling.push(Box::pin(async move { router.settle(&target, results).await }));
        }
    }

    /// A reload ends sessions whose account is gone or changed; others go on with its new limits.
    fn reloaded(&mut self) {
        if self.state != State::Open {
            return;
        }
        let generation = self.router.generation();
        let Some(bound) = &mut self.bound else { return };
        // An account that was removed and is back is another one: what is for it waits elsewhere.
        let is_same = bound.target.as_ref().is_none_or(|own| {
            let target = self.router.target(&bound.account.name);
            target.is_some_and(|target| Arc::ptr_eq(own, &target))
        });
        if is_same && bind::still_admitted(&generation.config, &bound.account, self.peer) {
            if let Some(account) = generation.config.accounts.get(&bound.account.name) {
                bound.account = Arc::clone(account);
            }
        } else {
            tracing::info!(event = "smpp.revoked", account = &*bound.account.name, peer = %self.peer);
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.state = if self.bound.is_some() { State::Finishing } else { State::Ended };
    }

    /// Unbinds once everything that was taken is answered.
    fn go_on_with_the_end(&mut self) {
        if self.state == State::Finishing
            && self.accepting.is_empty()
            && self.link.session.unanswered() == 0
        {
            self.state = State::Unbinding;
            self.link.session.unbind(self.router.clock.instant());
        }
    }

    fn respond(&mut self, sequence: u32, status: Status, pdu: &Pdu) {
        let now = self.router.clock.instant();
        if let Err(error) = self.link.session.respond(now, sequence, status, pdu) {
            tracing::error!(event = "smpp.answer", peer = %self.peer, %error);
            self.refuse(sequence, pdu.command().request(), Status::RSYSERR);
        }
    }

    fn refuse(&mut self, sequence: u32, command: CommandId, status: Status) {
        let now = self.router.clock.instant();
        self.link.session.refuse(now, sequence, command, status);
    }

    /// Nothing that was begun is left undone: batches go to the disk though nobody can be told,
    /// and every delivery comes back.
    async fn end(mut self, reason: &'static str) {
        let tokens = self.link.close().await;
        let account = self.bound.as_ref().map_or("", |bound| &*bound.account.name).to_owned();
        if let Some(bound) = self.bound {
            self.router.accounts.leave(&bound.account.name);
            if let Some(target) = &bound.target {
                target.leave(self.router.clock.now());
                let cut = bound.flight.cut(&tokens);
                target.give_back(cut.untried);
                if !cut.results.is_empty() {
                    self.router.settle(target, cut.results).await;
                }
            }
        }
        while self.accepting.next().await.is_some() {}
        while self.settling.next().await.is_some() {}
        tracing::info!(event = "smpp.close", listener = &*self.door.name, peer = %self.peer,
            account, reason);
    }
}

/// Submits that were read at once.
#[derive(Default)]
struct Batch {
    submits: Vec<Submit>,
    drafts: Vec<Draft>,
    /// Pinned by the first of them.
    generation: Option<Arc<crate::generation::Generation>>,
}

fn reading(account: &Account) -> Reading {
    Reading { zero: account.data_coding_0, source: account.source, dest: account.dest }
}

fn flight(account: &Account, now: Timestamp) -> Flight {
    let references = Arc::new(References::starting_at(now.as_ms()));
    let composing = Composing::for_account(account);
    Flight::new(composing, Judge::Esme, true, Arc::clone(&account.name), references)
}

/// Resolves when the queue may have something; never without one.
async fn ready(target: Option<Arc<Target>>, clock: &crate::platform::clock::Clock) {
    match target {
        Some(target) => target.ready(clock).await,
        None => std::future::pending().await,
    }
}
