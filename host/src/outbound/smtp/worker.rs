//! One connection of the pool, from the first message to the last.

use std::sync::Arc;

use smtp::Reply;
use smtp::client::{Event, Outcome};
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::exchange::{self, Group};
use super::hosts::{Failure, Ready};
use super::pool::{Pool, Report};
use crate::delivery::{Attempt, Queued};

const NOT_READY: Reply = Reply::new(451, (4, 3, 0), "the connection was not ready");

/// Sends groups of deliveries over a connection that it opens by need.
pub(super) struct Worker {
    pool: Arc<Pool>,
    reports: mpsc::Sender<Report>,
    ready: Option<Ready>,
    /// The connection has carried a message already.
    reused: bool,
}

impl Worker {
    pub(super) fn new(pool: Arc<Pool>, reports: mpsc::Sender<Report>) -> Self {
        Self { pool, reports, ready: None, reused: false }
    }

    /// Sends `group` and whatever comes after it, until there is nothing to do for the idle time.
    pub(super) async fn run(mut self, group: Vec<Queued>) {
        let mut next = Some(group);
        while let Some(group) = next {
            let results = self.send(Group::new(group)).await;
            self.pool.router.settle(&self.pool.target, results).await;
            let usable = self.ready.is_some();
            if self.pool.stop.is_cancelled() || !usable {
                break;
            }
            let more = self.pool.take();
            next = if more.is_empty() { self.wait().await } else { Some(more) };
        }
        self.quit().await;
        // The pool is gone if it does not listen any more.
        drop(self.reports.send(Report::Ended).await);
    }

    async fn send(&mut self, group: Group) -> Vec<(Queued, Attempt)> {
        if group.items.is_empty() {
            return group.refused;
        }
        loop {
            let reused = self.reused;
            let pool = Arc::clone(&self.pool);
            let connected = tokio::select! {
                biased;
                () = pool.stop.cancelled() => {
                    pool.target.give_back(group.items);
                    return group.refused;
                }
                connected = self.connect() => connected,
            };
            if let Err(failure) = connected {
                pool.target.set_up(false, pool.router.clock.now());
                return group.broken(&failure.reply, failure.local, &failure.name);
            }
            let Some(Ready { mut connection, name }) = self.ready.take() else {
                return group.broken(&NOT_READY, true, "");
            };
            let now = self.pool.router.clock.instant();
            let begun = group.envelope().map(|envelope| connection.session().send(now, envelope));
            if !matches!(begun, Some(Ok(()))) {
                return group.broken(&NOT_READY, true, &name);
            }
            let outcome = sent(&mut connection).await;
            let stale = reused && exchange::is_stale(&outcome.recipients);
            if connection.session().is_ready() {
                self.ready = Some(Ready { connection, name: name.clone() });
                self.reused = true;
            } else {
                self.reused = false;
                if !connection.session().is_closed() {
                    self.part(Ready { connection, name: name.clone() }).await;
                }
            }
            if !stale {
                return group.attempts(&outcome, &name);
            }
        }
    }

    /// Makes sure that there is a connection.
    async fn connect(&mut self) -> Result<(), Failure> {
        if self.ready.is_none() {
            self.reused = false;
            let Pool { router, target, hosts, .. } = &*self.pool;
            self.ready = Some(hosts.open(&router.net, &router.clock).await?);
            target.set_up(true, router.clock.now());
        }
        Ok(())
    }

    /// Waits for work with an open connection; none when it is time to go.
    async fn wait(&mut self) -> Option<Vec<Queued>> {
        let (waiting, mut work) = oneshot::channel();
        self.reports.send(Report::Idle(waiting)).await.ok()?;
        let Pool { router, config, stop, .. } = &*self.pool;
        let Some(Ready { connection, .. }) = &mut self.ready else { return None };
        tokio::select! {
            biased;
            group = &mut work => return group.ok(),
            _ = connection.next() => self.ready = None,
            () = router.clock.sleep(config.idle) => {}
            () = stop.cancelled() => {}
        }
        // Work that was handed over at the last moment must not be lost.
        work.close();
        work.try_recv().ok()
    }

    async fn quit(&mut self) {
        if let Some(ready) = self.ready.take() {
            self.part(ready).await;
        }
    }

    async fn part(&self, Ready { mut connection, .. }: Ready) {
        connection.session().quit(self.pool.router.clock.instant());
        while !matches!(connection.next().await, Event::Closed { .. }) {}
    }
}

/// Waits for what becomes of the message on its way.
async fn sent(connection: &mut Connection) -> Outcome {
    loop {
        if let Event::Sent(outcome) = connection.next().await {
            return outcome;
        }
    }
}
