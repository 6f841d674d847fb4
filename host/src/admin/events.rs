//! The journal, page by page.

use axum::Json;
use axum::extract::{Query, State};
use message::MessageId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Shared;
use super::control::{blocking, no_journal, parse_id};
use super::failure::Failure;
use crate::observe::event::Event;
use crate::observe::journal::{Cursor, Position, Reader};

/// Events in a page if nobody says how many.
const LIMIT: usize = 1_000;
/// Events in a page at most.
const LIMIT_MAX: usize = 10_000;

/// Which events are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    /// `start`, `end`, or where the page before ended; `start` if it is left out.
    from: Option<String>,
    limit: Option<usize>,
    /// Only those about this id and what belongs to it.
    id: Option<String>,
}

/// A page.
#[derive(Debug, Serialize)]
pub(super) struct Events {
    /// Lines of the journal, each with the position after it.
    events: Vec<Value>,
    /// Where the next page begins.
    next: String,
    /// Lines before these were removed before they were read.
    gap: bool,
}

pub(super) async fn events(
    State(shared): State<Shared>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Events>, Failure> {
    let id = query.id.as_deref().map(parse_id).transpose()?;
    let Some(reader) = shared.router.journal.reader() else { return Err(no_journal()) };
    let journal = shared.router.journal.clone();
    blocking(move || {
        journal.flush();
        page(&reader, &query, id).map(Json)
    })
    .await
}

fn page(reader: &Reader, query: &EventsQuery, id: Option<MessageId>) -> Result<Events, Failure> {
    let failed = |error: std::io::Error| Failure::ours(format!("the journal: {error}"));
    let from = match query.from.as_deref() {
        None | Some("" | "start") => Position::Start,
        Some("end") => reader.end().map_err(failed)?,
        Some(text) => Position::After(
            text.parse().map_err(|error| Failure::bad(format!("{error}; or `start`, or `end`")))?,
        ),
    };
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let page = reader.page(from, limit, id).map_err(failed)?;
    let events = page.events.iter().map(|(cursor, event)| with_cursor(event, *cursor));
    Ok(Events {
        events: events.collect::<Result<_, _>>()?,
        next: page.next.to_string(),
        gap: page.gap,
    })
}

fn with_cursor(event: &Event, cursor: Cursor) -> Result<Value, Failure> {
    let mut value =
        serde_json::to_value(event).map_err(|error| Failure::ours(error.to_string()))?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("cursor".to_owned(), cursor.to_string().into());
    }
    Ok(value)
}
