//! What waits, why, and what an operator does to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use super::control::{Why, blocking, parse_id};
use super::failure::Failure;
use crate::delivery::{DECIDER, HELD};
use crate::router::{Router, Shown};

/// Deliveries in a listing if nobody says how many.
const LIMIT: usize = 100;
/// Deliveries in a listing at most.
const LIMIT_MAX: usize = 100_000;
/// Deliveries of one target that are looked at for their reasons.
const SAMPLE: usize = 2_000;

/// Which deliveries are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    target: Option<String>,
    state: Option<String>,
    limit: Option<usize>,
}

/// Reasons for which deliveries of one target wait.
#[derive(Debug, Serialize)]
pub(super) struct Reasons {
    target: Arc<str>,
    up: bool,
    /// Deliveries that are there.
    count: usize,
    /// What the queue as a whole waits for.
    waiting: Arc<str>,
    /// What single deliveries wait for, the most frequent first.
    reasons: Vec<Reason>,
    /// Whether only the first were looked at.
    sampled: bool,
}

#[derive(Debug, Serialize)]
struct Reason {
    why: Arc<str>,
    count: usize,
    /// One of them, to look at.
    example: String,
}

pub(super) async fn list(
    State(shared): State<Shared>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<Shown>>, Failure> {
    blocking(move || listed(&shared.router, &query).map(Json)).await
}

fn listed(router: &Router, query: &ListQuery) -> Result<Vec<Shown>, Failure> {
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let wanted = query.target.as_deref();
    if let Some(name) = wanted
        && name != HELD
        && router.target(name).is_none()
    {
        return Err(Failure::missing(format!("there is no connector or account \"{name}\"")));
    }
    let places: Vec<Arc<str>> = match (query.state.as_deref(), wanted) {
        (Some("held"), _) => vec![HELD.into()],
        (Some("undecided"), _) => vec![DECIDER.into()],
        (None | Some("scheduled"), Some(name)) => vec![name.into()],
        (Some("scheduled"), None) => names(router),
        (None, None) => names(router).into_iter().chain([DECIDER.into(), HELD.into()]).collect(),
        (Some(other), _) => {
            let help = "scheduled, undecided or held";
            return Err(Failure::bad(format!("\"{other}\" is no state: it is {help}")));
        }
    };
    let mut all = Vec::new();
    for place in places {
        let room = limit - all.len();
        if room == 0 {
            break;
        }
        let found = router.list(Some(&place), room);
        let found = found.map_err(|error| Failure::ours(format!("the spool: {error}")))?;
        all.extend(found.into_iter().filter(|shown| {
            wanted.is_none_or(|name| *place == *name || shown.targets.iter().any(|t| **t == *name))
        }));
    }
    Ok(all)
}

fn names(router: &Router) -> Vec<Arc<str>> {
    router.targets().iter().map(|target| Arc::clone(&target.name)).collect()
}

pub(super) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Failure> {
    let id = parse_id(&id)?;
    blocking(move || Ok(Json(shared.router.shown(id)?))).await
}

pub(super) async fn why(State(shared): State<Shared>) -> Result<Json<Vec<Reasons>>, Failure> {
    blocking(move || {
        let router = &shared.router;
        let places = names(router).into_iter().chain([DECIDER.into(), HELD.into()]);
        let mut all = Vec::new();
        for place in places {
            all.extend(reasons(router, &place)?);
        }
        Ok(Json(all))
    })
    .await
}

/// Why deliveries wait at one place; none if there are none.
fn reasons(router: &Router, place: &Arc<str>) -> Result<Option<Reasons>, Failure> {
    let shown = router.list(Some(place), SAMPLE);
    let shown = shown.map_err(|error| Failure::ours(format!("the spool: {error}")))?;
    if shown.is_empty() {
        return Ok(None);
    }
    let target = router.target(place);
    let mut groups: BTreeMap<Arc<str>, (usize, String)> = BTreeMap::new();
    for delivery in &shown {
        let group = groups.entry(Arc::clone(&delivery.why));
        group.or_insert_with(|| (0, delivery.id.clone())).0 += 1;
    }
    let mut reasons: Vec<_> =
        groups.into_iter().map(|(why, (count, example))| Reason { why, count, example }).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    Ok(Some(Reasons {
        target: Arc::clone(place),
        up: target.as_ref().is_some_and(|target| target.is_up()),
        count: target.as_ref().map_or(0, |target| target.counts().0).max(shown.len()),
        waiting: if target.is_some() { router.waits_for(place) } else { "an operator".into() },
        reasons,
        sampled: shown.len() == SAMPLE,
    }))
}

#[derive(Debug, Deserialize)]
pub(super) struct RetryQuery {
    target: Option<String>,
}

/// Makes everything that is scheduled for later ready now, of one target or of all.
pub(super) async fn retry_all(
    State(shared): State<Shared>,
    Query(query): Query<RetryQuery>,
) -> Result<Json<Value>, Failure> {
    let router = &shared.router;
    if let Some(name) = &query.target
        && router.target(name).is_none()
    {
        return Err(Failure::missing(format!("there is no connector or account \"{name}\"")));
    }
    let count = router.retry(query.target.as_deref(), None);
    tracing::info!(event = "operator.retry", target = query.target.as_deref(), count);
    Ok(Json(json!({ "retried": count })))
}

pub(super) async fn retry(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let id = parse_id(&id)?;
    let router = Arc::clone(&shared.router);
    let shown = blocking(move || Ok(router.shown(id)?)).await?;
    if shown.state == "held" {
        return Err(Failure::conflict(format!("{id} is held: release it")));
    }
    let count = shared.router.retry(None, Some(id));
    tracing::info!(event = "operator.retry", id = %id, count);
    Ok(Json(json!({ "retried": count })))
}

pub(super) async fn release(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Result<Json<Value>, Failure> {
    let id = parse_id(&id)?;
    exists(&shared, id).await?;
    let done = shared.router.release(id, &why.text()).await;
    done.map_err(Failure::conflict)?;
    tracing::info!(event = "operator.release", id = %id);
    Ok(Json(json!({ "released": id.to_string() })))
}

pub(super) async fn delete(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Result<Json<Value>, Failure> {
    let id = parse_id(&id)?;
    exists(&shared, id).await?;
    let done = shared.router.delete(id, false, &why.text()).await;
    done.map_err(Failure::conflict)?;
    tracing::info!(event = "operator.delete", id = %id);
    Ok(Json(json!({ "deleted": id.to_string() })))
}

pub(super) async fn bounce(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Result<Json<Value>, Failure> {
    let id = parse_id(&id)?;
    exists(&shared, id).await?;
    let done = shared.router.delete(id, true, &why.text()).await;
    done.map_err(Failure::conflict)?;
    tracing::info!(event = "operator.bounce", id = %id);
    Ok(Json(json!({ "bounced": id.to_string() })))
}

async fn exists(shared: &Shared, id: message::MessageId) -> Result<(), Failure> {
    let router = Arc::clone(&shared.router);
    blocking(move || router.shown(id).map(drop).map_err(Failure::from)).await
}
