//! One bind while it lasts: deliveries out, answers, receipts and messages in.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use message::{Origin, Protocol};
use smpp::pdu::MessageResp;
use smpp::session::empty_response;
use smpp::{CommandId, Event, Octets, Pdu, Status};

use super::Bound;
use super::incoming::{self, Incoming};
use crate::config::SmppConnector;
use crate::sms::flight::Flight;
use crate::sms::link::{Link, Step};
use crate::sms::read::Reading;
use crate::wire::Socket;

/// Requests of the SMSC that may be without our answer; then nothing more is read.
const UNANSWERED_MAX: usize = 200;

/// Answers that are known now: (sequence, request, status).
pub(super) type Answers = Vec<(u32, CommandId, Status)>;

/// One bind.
struct Serving<'a> {
    bound: &'a Bound,
    link: Link<Box<dyn Socket>>,
    flight: Flight,
    origin: Arc<Origin>,
    reading: Reading,
    /// Receipts and messages on their way to the disk.
    accepting: FuturesUnordered<BoxFuture<'static, Answers>>,
    /// Results on their way to the queue.
    settling: FuturesUnordered<BoxFuture<'static, ()>>,
    ended: Option<&'static str>,
}

/// Serves a bind to its end; says why it ended.
pub(super) async fn serve(
    bound: &Bound,
    settings: &SmppConnector,
    link: Link<Box<dyn Socket>>,
) -> &'static str {
    let origin = Origin {
        door: Arc::clone(&bound.connector.name),
        protocol: Protocol::Smpp,
        peer: format!("{}:{}", settings.host, settings.port).into(),
        account: Arc::from(""),
        session: bound.router.next_session(),
        helo: Arc::clone(&settings.system_id),
        tls: settings.tls.is_some(),
    };
    let serving = Serving {
        flight: bound.flight(settings),
        bound,
        link,
        origin: Arc::new(origin),
        reading: Reading {
            zero: settings.data_coding_0_in,
            source: settings.source,
            dest: settings.dest,
        },
        accepting: FuturesUnordered::new(),
        settling: FuturesUnordered::new(),
        ended: None,
    };
    let sends = Bound::sends(settings);
    if sends {
        bound.count_sender(true);
    }
    let why = serving.run(sends).await;
    if sends {
        bound.count_sender(false);
    }
    why
}

impl Serving<'_> {
    async fn run(mut self, sends: bool) -> &'static str {
        let router = Arc::clone(&self.bound.router);
        let mut leaving = false;
        let why = loop {
            self.events();
            self.deliver();
            if let Some(why) = self.ended {
                break why;
            }
            let may_read = self.link.session.unanswered() < UNANSWERED_MAX;
            let hungry = sends && !leaving && self.flight.room(&self.link.session) > 0;
            tokio::select! {
                biased;
                () = self.bound.stop.cancelled(), if !leaving => {
                    leaving = true;
                    self.link.session.unbind(router.clock.instant());
                }
                Some(answers) = self.accepting.next(), if !self.accepting.is_empty() => {
                    self.answer(answers);
                }
                Some(()) = self.settling.next(), if !self.settling.is_empty() => {}
                () = self.bound.target.ready(&router.clock), if hungry => self.take(),
                step = self.link.step(may_read, None) => match step {
                    Ok(Step::Moved) => {}
                    Ok(Step::Gone) => break "the SMSC closed the connection",
                    Err(error) => {
                        tracing::warn!(event = "smpp.cut", connector = &*self.bound.connector.name,
                            %error);
                        break "the connection broke";
                    }
                },
            }
        };
        self.end().await;
        if leaving { "stopped" } else { why }
    }

    fn take(&mut self) {
        let now = self.bound.router.clock.now();
        let room = self.flight.room(&self.link.session);
        for queued in self.bound.target.take(now, room) {
            self.flight.start(queued, now);
        }
    }

    /// Handles everything that one read brought. Receipts and messages among it are one batch each.
    fn events(&mut self) {
        let router = &self.bound.router;
        let mut incoming = Incoming::default();
        while let Some(event) = self.link.session.poll_event() {
            match event {
                Event::Response { token, status, pdu, quirks, .. } => {
                    if !quirks.is_empty() {
                        tracing::debug!(
                            event = "smpp.quirk",
                            connector = &*self.origin.door,
                            ?quirks
                        );
                    }
                    self.flight.answered(token, status, &pdu, router.clock.now());
                }
                Event::Timeout { token } => self.flight.timed_out(token),
                Event::Request { sequence, pdu, .. } => {
                    let command = pdu.command();
                    let sm = match pdu {
                        Pdu::DeliverSm(sm) => sm,
                        Pdu::DataSm(data) => data.into_sm(),
                        _ if command.is_unanswered() => continue,
                        _ => {
                            let now = router.clock.instant();
                            self.link.session.refuse(now, sequence, command, Status::RINVCMDID);
                            continue;
                        }
                    };
                    incoming.add(sequence, command, sm);
                }
                Event::Refused { command, status, fault, .. } => {
                    tracing::warn!(event = "smpp.refused", connector = &*self.origin.door,
                        %command, %status, fault = fault.map(tracing::field::display));
                }
                Event::Orphan { command, sequence, status } => {
                    tracing::info!(event = "smpp.orphan", connector = &*self.origin.door,
                        %command, sequence, %status);
                }
                Event::Unbound => self.ended = Some("the SMSC unbound"),
                Event::FramingLost(lost) => {
                    tracing::warn!(event = "smpp.framing", connector = &*self.origin.door, error = %lost);
                    self.ended = Some("framing lost");
                }
                Event::LinkDead(dead) => {
                    tracing::warn!(event = "smpp.dead", connector = &*self.origin.door, error = %dead);
                    self.ended = Some("the SMSC does not answer");
                }
                Event::Bound { .. } | Event::BindRefused { .. } => {}
            }
        }
        let (origin, reading) = (&self.origin, self.reading);
        for accepting in incoming::accept(router, origin, reading, incoming) {
            self.accepting.push(accepting);
        }
    }

    /// Sends what was taken, and hands back what has come to an end.
    fn deliver(&mut self) {
        let (router, target) = (&self.bound.router, &self.bound.target);
        self.flight.send(&mut self.link.session, router.clock.instant());
        let progress = self.flight.take_progress();
        if !progress.is_empty() {
            router.note_progress(target, &progress);
        }
        let results = self.flight.take_results();
        if !results.is_empty() {
            let (router, target) = (Arc::clone(router), Arc::clone(target));
            self.settling.push(Box::pin(async move { router.settle(&target, results).await }));
        }
    }

    fn answer(&mut self, answers: Answers) {
        let now = self.bound.router.clock.instant();
        for (sequence, command, status) in answers {
            if !status.is_ok() {
                self.link.session.refuse(now, sequence, command, status);
                continue;
            }
            // message_id is unused and empty (v3.4 §4.6.2).
            let pdu = match command {
                CommandId::DELIVER_SM => Pdu::DeliverSmResp(MessageResp::default()),
                CommandId::DATA_SM => Pdu::DataSmResp(MessageResp::new(Octets::new())),
                other => empty_response(other),
            };
            if let Err(error) = self.link.session.respond(now, sequence, status, &pdu) {
                tracing::error!(event = "smpp.answer", connector = &*self.origin.door, %error);
            }
        }
    }

    /// Every delivery comes back, and what the SMSC sent reaches the disk though it cannot be told:
    /// it will send it again.
    async fn end(mut self) {
        let tokens = self.link.close().await;
        let cut = self.flight.cut(&tokens);
        let Bound { router, target, .. } = self.bound;
        target.give_back(cut.untried);
        if !cut.results.is_empty() {
            router.settle(target, cut.results).await;
        }
        while self.accepting.next().await.is_some() {}
        while self.settling.next().await.is_some() {}
    }
}
