//! The HTTP port: health and metrics, nothing that tells of a message.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::Shared;
use super::gauges::Gauges;

/// The type of the metrics (OpenMetrics 1.0).
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug)]
struct Watched {
    shared: Shared,
    registry: Arc<Registry>,
}

/// What the port answers.
pub(super) fn routes(shared: Shared) -> axum::Router {
    let mut registry = Registry::with_prefix("wirepost");
    shared.router.metrics.register(&mut registry);
    registry.register_collector(Box::new(Gauges::new(Arc::clone(&shared.router))));
    let watched = Watched { shared, registry: Arc::new(registry) };
    axum::Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(watched.clone(), check_host))
        .with_state(watched)
}

/// Whether messages are taken.
async fn ready(State(watched): State<Watched>) -> Response {
    let router = &watched.shared.router;
    if router.tasks.stopping().is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if let Some(why) = router.spool.poisoned() {
        let text = format!("the spool's disk failed: {why}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    "ready\n".into_response()
}

async fn metrics(State(watched): State<Watched>) -> Response {
    let registry = Arc::clone(&watched.registry);
    let encoded = tokio::task::spawn_blocking(move || {
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &registry).map(|()| text)
    });
    match encoded.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A page in a browser must not read this by a name that it lets point here (DNS rebinding): names
/// other than ours are refused.
async fn check_host(State(watched): State<Watched>, request: Request, next: Next) -> Response {
    let hostname = Arc::clone(&watched.shared.router.generation().config.node.hostname);
    if is_ours(request.headers(), &hostname) {
        return next.run(request).await;
    }
    let text =
        "this is not the host that you ask for: use an address, localhost or node.hostname\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

pub(super) fn is_ours(headers: &HeaderMap, hostname: &str) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || name.eq_ignore_ascii_case(hostname)
}
