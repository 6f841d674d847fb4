//! The control socket: status, reload, traces and the queue, as JSON.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use message::MessageId;
use serde::Deserialize;

use super::failure::Failure;
use super::{Shared, events, orders, queue, status};
use crate::observe::event::Event;
use crate::reload::Report;
use crate::router;

/// What the socket answers.
pub(super) fn routes(shared: Shared) -> axum::Router {
    axum::Router::new()
        .route("/status", get(status))
        .route("/reload", post(reload))
        .route("/trace/{id}", get(trace))
        .route("/events", get(events::events))
        .route("/audit", get(audit))
        .route("/queue", get(queue::list))
        .route("/queue/why", get(queue::why))
        .route("/queue/retry", post(queue::retry_all))
        .route("/queue/jobs", get(orders::jobs).post(orders::start))
        .route("/queue/jobs/{id}", get(orders::job))
        .route("/queue/jobs/{id}/cancel", post(orders::cancel))
        .route("/queue/{id}", get(queue::show))
        .route("/queue/{id}/{act}", post(queue::act))
        .route("/targets/{name}/{order}", post(orders::target))
        .fallback(|| async { Failure::missing("there is nothing of this name here") })
        .with_state(shared)
}

async fn status(State(shared): State<Shared>) -> Result<Json<status::Status>, Failure> {
    blocking(move || Ok(Json(status::status(&shared)))).await
}

#[derive(Debug, Deserialize)]
struct ReloadQuery {
    #[serde(default)]
    dry_run: bool,
}

/// A reload that was refused is an answer too: 422 with what is wrong.
async fn reload(
    State(shared): State<Shared>,
    Query(query): Query<ReloadQuery>,
) -> (StatusCode, Json<Report>) {
    let report = shared.reload.reload(query.dry_run).await;
    let code = if report.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    (code, Json(report))
}

async fn trace(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Event>>, Failure> {
    let id = parse_id(&id)?;
    let Some(reader) = shared.router.journal.reader() else { return Err(no_journal()) };
    let journal = shared.router.journal.clone();
    blocking(move || {
        journal.flush();
        let story = reader.trace(id);
        let story = story.map_err(|error| Failure::ours(format!("the journal: {error}")))?;
        if story.is_empty() {
            return Err(Failure::missing(format!("the journal knows nothing of {id}")));
        }
        Ok(Json(story))
    })
    .await
}

pub(super) fn no_journal() -> Failure {
    Failure::missing(
        "no journal is kept: add `journal: { path: journal }` to the configuration and start again",
    )
}

async fn audit(State(shared): State<Shared>) -> Result<Json<router::Audit>, Failure> {
    let router = &shared.router;
    let (journal, reader) = (&router.journal, router.journal.reader());
    let audited = router::audit(&router.spool, reader, journal, &router.clock).await;
    audited.map(Json).map_err(|error| Failure::ours(format!("the journal: {error:#}")))
}

pub(super) fn parse_id(text: &str) -> Result<MessageId, Failure> {
    text.parse().map_err(|error: message::id::ParseIdError| Failure::bad(error.to_string()))
}

/// Does what reads the disk away from the workers that carry messages.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::ours(error.to_string())),
    }
}
