//! What waits, why, and what an operator does to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use message::MessageId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spool::Index;

use super::Shared;
use super::control::{blocking, parse_id};
use super::failure::Failure;
use crate::delivery::{DECIDER, HELD, STATE_HELD};
use crate::router::{Act, Mandate, Router, Shown};
use crate::spooler::delivery_of;
use crate::target::{StopKind, Target};

/// Deliveries in a listing if nobody says how many.
const LIMIT: usize = 100;
/// Deliveries in a listing at most.
const LIMIT_MAX: usize = 100_000;
/// Held deliveries that are looked at for their reasons.
const HELD_MAX: usize = 200_000;
/// Those that are read in one go.
const PAGE: usize = 2_000;

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
    /// `suspended` or `draining`, if an operator ordered that.
    stopped: Option<&'static str>,
    /// Deliveries that are there, in flight ones included.
    count: usize,
    /// When the oldest was made.
    oldest: Option<String>,
    /// What the queue as a whole waits for.
    waiting: Arc<str>,
    /// What single deliveries wait for, the most frequent first; together they are all of them.
    reasons: Vec<Counted>,
    /// Whether only the first were looked at: of held ones, if there are very many.
    sampled: bool,
}

#[derive(Debug, Serialize)]
struct Counted {
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
        let mut targets = router.targets();
        targets.extend(router.target(DECIDER));
        let mut all: Vec<_> = targets.iter().filter_map(|target| reasons(router, target)).collect();
        all.extend(held(router)?);
        Ok(Json(all))
    })
    .await
}

/// Why deliveries wait at one target; none if there are none.
fn reasons(router: &Router, target: &Target) -> Option<Reasons> {
    let waiting = router.waits_for(&target.name);
    let reasons: Vec<_> = target
        .reasons()
        .into_iter()
        .map(|reason| Counted {
            why: reason.why.unwrap_or_else(|| format!("not tried yet: {waiting}").into()),
            count: reason.count,
            example: reason.example.to_string(),
        })
        .collect();
    if reasons.is_empty() {
        return None;
    }
    Some(Reasons {
        target: Arc::clone(&target.name),
        up: target.is_well(),
        stopped: target.stopped().map(StopKind::word),
        count: reasons.iter().map(|reason| reason.count).sum(),
        oldest: target.oldest().map(|id| id.time().to_string()),
        waiting,
        reasons,
        sampled: false,
    })
}

/// Why deliveries are held; none if there are none.
fn held(router: &Router) -> Result<Option<Reasons>, Failure> {
    let mut groups: BTreeMap<Arc<str>, (usize, String)> = BTreeMap::new();
    let (mut count, mut oldest, mut cursor) = (0, None, None);
    loop {
        let page = router.spool.scan(&Index::State(STATE_HELD), cursor, PAGE);
        let (entries, next) = page.map_err(|error| Failure::ours(format!("the spool: {error}")))?;
        for entry in &entries {
            count += 1;
            let id = MessageId::from_u64(entry.id);
            oldest.get_or_insert(id.time());
            let last = delivery_of(entry).ok().and_then(|delivery| delivery.last);
            let why = last.map_or_else(|| "no reason is known".into(), |last| last.in_words());
            groups.entry(why).or_insert_with(|| (0, id.to_string())).0 += 1;
        }
        cursor = next;
        if cursor.is_none() || count >= HELD_MAX {
            break;
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let mut reasons: Vec<_> =
        groups.into_iter().map(|(why, (count, example))| Counted { why, count, example }).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    Ok(Some(Reasons {
        target: HELD.into(),
        up: false,
        stopped: None,
        count,
        oldest: oldest.map(|at| at.to_string()),
        waiting: "an operator".into(),
        reasons,
        sampled: cursor.is_some(),
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
    let count = router.retry_all(query.target.as_deref());
    tracing::info!(event = "operator.retry", target = query.target.as_deref(), count);
    Ok(Json(json!({ "retried": count })))
}

/// Does something to one delivery.
pub(super) async fn act(
    State(shared): State<Shared>,
    Path((id, act)): Path<(String, Act)>,
    mandate: Mandate,
) -> Result<Json<Value>, Failure> {
    let id = parse_id(&id)?;
    let router = Arc::clone(&shared.router);
    let shown = blocking(move || router.shown(id).map_err(Failure::from)).await?;
    let results = shared.router.act_on(act, &[id], &mandate).await;
    for (_, result) in results {
        result.map_err(Failure::conflict)?;
    }
    tracing::info!(event = "operator.act", act = act.word(), id = %id, why = &*mandate.why, by = &*mandate.by);
    Ok(Json(json!({ "act": act.word(), "id": id.to_string(), "state": shown.state })))
}
