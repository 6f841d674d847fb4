//! The connections of the HTTP port: few, and with little time each.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::router::Router;

/// Connections at one time. Whoever watches needs few; a further one is closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long the head of a request may take, also while a connection is idle.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last, however much of an answer its peer has read by then.
const CONNECTION_WITHIN: Duration = Duration::from_mins(5);
/// Pause after an accept that failed: out of descriptors, as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until the router stops.
pub(super) async fn run(router: Arc<Router>, listener: TcpListener, routes: axum::Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopping = router.tasks.stopping().clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(event = "admin.accept", %error);
                router.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!(event = "admin.refused", reason = "too many connections");
            continue;
        };
        let (stopping, routes) = (stopping.clone(), routes.clone());
        router.tasks.spawn("admin http connection", async move {
            tokio::select! {
                biased;
                // Nobody needs the last answer.
                () = stopping.cancelled() => {}
                () = serve(stream, routes) => {}
            }
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, routes: axum::Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Ok(Err(error)) = timeout(CONNECTION_WITHIN, serving).await {
        tracing::debug!(event = "admin.broken", %error);
    }
}
