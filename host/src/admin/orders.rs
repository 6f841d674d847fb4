//! What operators order about whole targets, and about many deliveries at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::failure::Failure;
use crate::config::{Glob, parse_duration};
use crate::router::{Act, Filter, JobShown, Mandate};
use crate::target::StopKind;

/// What is ordered about a target.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    Suspend,
    Drain,
    Resume,
}

/// Orders it; the answer says what waits there.
pub(super) async fn target(
    State(shared): State<Shared>,
    Path((name, order)): Path<(String, Order)>,
    mandate: Mandate,
) -> Result<Json<Value>, Failure> {
    let kind = match order {
        Order::Suspend => Some(StopKind::Suspended),
        Order::Drain => Some(StopKind::Draining),
        Order::Resume => None,
    };
    let router = &shared.router;
    let Some(target) = router.target(&name) else {
        return Err(Failure::missing(format!("there is no connector or account \"{name}\"")));
    };
    router.order(&name, kind, &mandate).await.map_err(Failure::ours)?;
    let (queued, _, in_flight) = target.counts();
    let stopped = kind.map(StopKind::word);
    Ok(Json(
        json!({ "target": name, "stopped": stopped, "queued": queued, "in_flight": in_flight }),
    ))
}

/// Which deliveries a job is about, and what it does to them.
#[derive(Debug, Deserialize)]
pub(super) struct JobQuery {
    act: Act,
    target: Option<Arc<str>>,
    state: Option<String>,
    account: Option<Arc<str>>,
    to: Option<String>,
    older_than: Option<String>,
    /// Everything, since nothing else is asked for.
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn start(
    State(shared): State<Shared>,
    Query(query): Query<JobQuery>,
    mandate: Mandate,
) -> Result<Json<JobShown>, Failure> {
    let state = query.state.as_deref().map(Filter::state_of).transpose().map_err(Failure::bad)?;
    let to = query.to.as_deref().map(Glob::parse).transpose().map_err(Failure::bad)?;
    let older_than =
        query.older_than.as_deref().map(parse_duration).transpose().map_err(Failure::bad)?;
    let filter = Filter { target: query.target, state, account: query.account, to, older_than };
    if filter.is_empty() && !query.all {
        return Err(Failure::bad(
            "say which deliveries: target, state, account, to, older_than, or all",
        ));
    }
    let router = &shared.router;
    let id =
        router.start_job(query.act, filter, &mandate, query.dry_run).map_err(Failure::conflict)?;
    router.job(id).map(Json).ok_or_else(|| Failure::ours("the job is gone"))
}

pub(super) async fn jobs(State(shared): State<Shared>) -> Json<Vec<JobShown>> {
    Json(shared.router.jobs())
}

pub(super) async fn job(
    State(shared): State<Shared>,
    Path(id): Path<u64>,
) -> Result<Json<JobShown>, Failure> {
    shared.router.job(id).map(Json).ok_or_else(|| no_job(id))
}

pub(super) async fn cancel(
    State(shared): State<Shared>,
    Path(id): Path<u64>,
) -> Result<Json<JobShown>, Failure> {
    if !shared.router.cancel_job(id) {
        return Err(no_job(id));
    }
    shared.router.job(id).map(Json).ok_or_else(|| no_job(id))
}

fn no_job(id: u64) -> Failure {
    Failure::missing(format!("there is no job {id}: jobs are forgotten when the router stops"))
}
