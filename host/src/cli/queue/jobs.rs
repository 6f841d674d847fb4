//! Jobs on many deliveries: started, watched, cancelled.

use std::time::Duration;

use serde_json::Value;

use crate::cli::control::{AskError, Place, field, say, say_json, table, with_query};

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often at most: a day. A job that takes longer goes on alone.
const LOOKS_MAX: u32 = 5 * 86_400;

/// Starts a job; `follow` waits for its end.
pub(super) async fn start(
    place: &Place,
    query: &[(&str, Option<&str>)],
    follow: bool,
) -> Result<(), AskError> {
    let mut job = place.post(&with_query("/queue/jobs", query)).await?;
    let path = format!("/queue/jobs/{}", field(&job, "id"));
    for _ in 0..LOOKS_MAX {
        if !follow || field(&job, "state") != "running" {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        job = place.get(&path).await?;
    }
    show(place, &job);
    Ok(())
}

/// Shows one job or all.
pub(super) async fn list(place: &Place, id: Option<u64>) -> Result<(), AskError> {
    let Some(id) = id else {
        let jobs = place.get("/queue/jobs").await?;
        if place.json {
            say_json(&jobs);
            return Ok(());
        }
        let items = jobs.as_array().map_or(&[][..], Vec::as_slice);
        let columns =
            ["id", "act", "state", "looked_at", "of", "matched", "done", "failed", "filter", "why"];
        let row = |item: &Value| columns.iter().map(|name| field(item, name)).collect();
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        let none = "there were no jobs since the start\n".to_owned();
        say(&if rows.is_empty() { none } else { table(&columns, &rows) });
        return Ok(());
    };
    let job = place.get(&format!("/queue/jobs/{id}")).await?;
    show(place, &job);
    Ok(())
}

/// Asks a job to end.
pub(super) async fn cancel(place: &Place, id: u64) -> Result<(), AskError> {
    let job = place.post(&format!("/queue/jobs/{id}/cancel")).await?;
    show(place, &job);
    Ok(())
}

fn show(place: &Place, job: &Value) {
    if place.json {
        say_json(job);
        return;
    }
    let f = |name: &str| field(job, name);
    let dry = if job.get("dry_run") == Some(&Value::Bool(true)) { ", dry run" } else { "" };
    let mut text = format!(
        "job {} ({}{dry}; {}): {}; {} of {} looked at, {} fit, {} done, {} failed\n",
        f("id"),
        f("act"),
        f("filter"),
        f("state"),
        f("looked_at"),
        f("of"),
        f("matched"),
        f("done"),
        f("failed"),
    );
    if !f("problem").is_empty() {
        text.push_str(&format!("last problem: {}\n", f("problem")));
    }
    let samples = job.get("samples").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !samples.is_empty() {
        let columns = ["id", "target", "account", "to", "why"];
        let row = |item: &Value| columns.iter().map(|name| field(item, name)).collect();
        let rows: Vec<Vec<String>> = samples.iter().map(row).collect();
        text.push_str(&table(&columns, &rows));
    }
    say(&text);
}
