//! A pool of connections to the relays of one connector.
//!
//! Busy connections feed themselves from the target's queue. Only what they do not take is handed
//! out here: to the connection that was busy last, so that the others may fall idle and close, or to
//! a new one.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::hosts::Hosts;
use super::worker::Worker;
use crate::config::{Connector, ConnectorKind, SmtpConnector};
use crate::delivery::Queued;
use crate::router::Router;
use crate::target::Target;

/// What all connections of one connector share.
pub(super) struct Pool {
    pub(super) router: Arc<Router>,
    pub(super) target: Arc<Target>,
    pub(super) config: SmtpConnector,
    pub(super) hosts: Hosts,
    pub(super) stop: CancellationToken,
}

/// Where a worker that has nothing to do takes the next deliveries.
pub(super) type Waiting = oneshot::Sender<Vec<Queued>>;

/// What a worker tells the pool.
pub(super) enum Report {
    /// It has nothing to do and waits here.
    Idle(Waiting),
    /// It is gone.
    Ended,
}

/// Carries out what is queued for `target` until `stop`; what is in flight then is finished.
///
/// A connector that is not of SMTP does nothing.
pub fn start(
    router: &Arc<Router>,
    connector: &Arc<Connector>,
    target: &Arc<Target>,
    stop: &CancellationToken,
) {
    let ConnectorKind::Smtp(config) = &connector.kind else { return };
    let now = router.clock.now();
    let hosts = match Hosts::new(config) {
        Ok(hosts) => hosts,
        Err(error) => {
            tracing::error!(event = "smtp.tls", target = &*target.name, %error);
            target.set_up(false, now);
            return;
        }
    };
    // Nothing is known against the relays yet; whoever fails to connect says so.
    target.set_up(true, now);
    let pool = Pool {
        router: Arc::clone(router),
        target: Arc::clone(target),
        config: SmtpConnector::clone(config),
        hosts,
        stop: stop.clone(),
    };
    router.tasks.spawn("smtp.connector", Arc::new(pool).run());
}

impl Pool {
    async fn run(self: Arc<Self>) {
        let connections_max = usize::from(self.config.connections_max.max(1));
        let (reports, mut reported) = mpsc::channel(connections_max);
        let mut idle: Vec<Waiting> = Vec::new();
        let mut open = 0;
        loop {
            let may_hand_out = !idle.is_empty() || open < connections_max;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(report) = reported.recv() => match report {
                    Report::Idle(worker) => idle.push(worker),
                    Report::Ended => open -= 1,
                },
                () = self.target.ready(&self.router.clock), if may_hand_out => {
                    let group = self.take();
                    if !group.is_empty() {
                        open += self.hand_out(group, &mut idle, &reports);
                    }
                }
            }
            // Idle workers whose connection closed are still on the list.
            idle.retain(|worker| !worker.is_closed());
        }
    }

    /// Deliveries for one transaction.
    pub(super) fn take(&self) -> Vec<Queued> {
        let recipients_max = usize::try_from(self.config.recipients_max.max(1)).unwrap_or(1);
        self.target.take_group(self.router.clock.now(), recipients_max)
    }

    /// Gives work to an idle worker or a new one; returns how many were started.
    fn hand_out(
        self: &Arc<Self>,
        mut group: Vec<Queued>,
        idle: &mut Vec<Waiting>,
        reports: &mpsc::Sender<Report>,
    ) -> usize {
        while let Some(worker) = idle.pop() {
            match worker.send(group) {
                Ok(()) => return 0,
                Err(refused) => group = refused,
            }
        }
        let worker = Worker::new(Arc::clone(self), reports.clone());
        self.router.tasks.spawn("smtp.connection", worker.run(group));
        1
    }
}
