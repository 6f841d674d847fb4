//! From a bind to a bound session, or to the refusal of one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use message::{Origin, Protocol};
use smpp::pdu::Bind;
use smpp::{CommandId, Octets, Status};

use super::super::bind;
use super::{Answered, Bound, Serving, State, flight};
use crate::config::Account;
use crate::inbound::logins::{Outcome as Login, Try};
use crate::observe::metrics::Metrics;

impl Serving {
    /// Decides whether the bind may be looked at and is right; its answer may have to wait, during
    /// which nothing is read.
    pub(super) fn bind(&mut self, sequence: u32, bind: Bind) {
        let config = &self.router.generation().config;
        let looked = bind::look(config, &self.door, self.peer, &bind);
        let system_id = bind.system_id.to_text();
        let tried = Try {
            protocol: Protocol::Smpp,
            door: &self.door.name,
            peer: self.peer.ip(),
            name: &system_id,
            is_allowed: looked.is_allowed,
            is_right: looked.account.is_ok(),
        };
        let now = self.router.clock.instant();
        let judged = self.router.logins.judge(&config.logins, &tried, now);
        let metrics = &self.router.metrics;
        let (status, why) = match (judged.outcome, looked.account) {
            (Login::In, Ok(_)) if judged.wait.is_zero() => return self.enter(sequence, &bind),
            (Login::In, Ok(_)) => {
                return self.wait(judged.wait, Answered::Bind(sequence, bind));
            }
            (Login::ShutOut, _) => {
                Metrics::add(&metrics.logins_shut_out, &self.door.name, 1);
                (Status::RBINDFAIL, "too many wrong passwords")
            }
            (_, Err(refused)) => {
                Metrics::add(&metrics.logins_failed, &self.door.name, 1);
                refused
            }
            // Who is right is in or shut out.
            (Login::Wrong, Ok(_)) => (Status::RBINDFAIL, ""),
        };
        if judged.is_told {
            self.log_refused(&bind, status, why);
        }
        self.wait(judged.wait, Answered::NoBind(sequence, bind.mode.command(), status));
    }

    /// Binds whom we know, if there is room for him and he wants what he may.
    pub(super) fn enter(&mut self, sequence: u32, bind: &Bind) {
        let config = &self.router.generation().config;
        let admitted = bind::look(config, &self.door, self.peer, bind).admit(bind);
        let admitted = admitted.and_then(|account| {
            let binds_max = account.smpp.as_ref().map_or(0, |smpp| smpp.binds_max);
            if self.router.accounts.enter(&account, binds_max) {
                Ok(account)
            } else {
                Err((Status::RBINDFAIL, "the account has too many sessions"))
            }
        });
        match admitted {
            Ok(account) => self.bound(sequence, bind, account),
            Err((status, why)) => {
                self.log_refused(bind, status, why);
                let pause = config.logins.delay;
                self.wait(pause, Answered::NoBind(sequence, bind.mode.command(), status));
            }
        }
    }

    fn bound(&mut self, sequence: u32, bind: &Bind, account: Arc<Account>) {
        let now = self.router.clock.instant();
        let name = Octets::from_text(&self.door.settings.system_id).unwrap_or_default();
        if let Err(error) = self.link.session.accept_bind(now, sequence, bind, name) {
            tracing::error!(event = "smpp.bind", listener = &*self.door.name, %error);
            self.router.accounts.leave(&account.name);
            return self.turn_away(sequence, bind.mode.command(), Status::RSYSERR);
        }
        let target = bind.mode.receives().then(|| self.router.target(&account.name)).flatten();
        if let Some(target) = &target {
            target.join(self.router.clock.now());
        }
        let origin = Origin {
            door: Arc::clone(&self.door.name),
            protocol: Protocol::Smpp,
            peer: self.peer.to_string().into(),
            account: Arc::clone(&account.name),
            session: self.router.next_session(),
            helo: bind.system_id.to_text().into(),
            tls: self.door.settings.tls.is_some(),
        };
        tracing::info!(event = "smpp.bind", listener = &*self.door.name, peer = %self.peer,
            account = &*account.name, session = origin.session, mode = ?bind.mode,
            version = format_args!("{:#04x}", bind.interface_version.0));
        if let Some(window) = account.window {
            self.link.session.set_window(usize::from(window));
        }
        self.pass.know();
        self.bound = Some(Bound {
            flight: flight(&account, self.router.clock.now()),
            origin: Arc::new(origin),
            account,
            target,
        });
    }

    /// Refuses a bind and ends the session.
    pub(super) fn turn_away(&mut self, sequence: u32, command: CommandId, status: Status) {
        self.refuse(sequence, command, status);
        self.state = State::Ended;
    }

    /// Answers after a wait, or when the router stops.
    fn wait(&mut self, wait: Duration, answered: Answered) {
        let (clock, stopping) = (self.router.clock.clone(), self.router.tasks.stopping().clone());
        let waiting: BoxFuture<'static, Answered> = Box::pin(async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = clock.sleep(wait) => {}
            }
            answered
        });
        self.accepting.push_back(waiting);
    }

    fn log_refused(&self, bind: &Bind, status: Status, why: &'static str) {
        tracing::warn!(event = "smpp.bind_refused", listener = &*self.door.name,
            peer = %self.peer, system_id = %bind.system_id.to_text(), %status, reason = why);
    }
}
