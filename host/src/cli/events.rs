//! `wirepost events`: what happens to all messages, line by line, for people and for programs.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use message::MessageId;
use serde_json::{Value, json};

use super::control::{AskError, Place, field, say, with_query};
use super::trace::told;

/// Lines asked for at once.
const PAGE: &str = "1000";
/// How long it waits before it asks for more when there was nothing.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Shows the event journal from a position on.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// `start`, `end`, or the `cursor` of the last line that was read
    #[arg(long, value_name = "CURSOR", default_value = "start")]
    from: String,
    /// Wait for more
    #[arg(long)]
    follow: bool,
    /// Only what is about this id or belongs to it
    #[arg(long)]
    id: Option<MessageId>,
    #[command(flatten)]
    place: Place,
}

/// Asks and prints, page by page.
pub async fn run(args: EventsArgs) -> ExitCode {
    match pages(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.complained(),
    }
}

async fn pages(args: &EventsArgs) -> Result<(), AskError> {
    let id = args.id.map(|id| id.to_string());
    let mut from = args.from.clone();
    loop {
        let query = [("from", Some(&*from)), ("limit", Some(PAGE)), ("id", id.as_deref())];
        let page = args.place.get(&with_query("/events", &query)).await?;
        say(&spelled(&page, &from, args.place.json));
        let next = field(&page, "next");
        // A page without lines may have passed over many that were not asked for.
        if next == from || from == "end" {
            if !args.follow {
                return Ok(());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        from = next;
    }
}

/// The lines of a page. What is missing before them is a line of its own.
fn spelled(page: &Value, from: &str, as_json: bool) -> String {
    let mut text = String::new();
    if page.get("gap") == Some(&Value::Bool(true)) {
        text.push_str(&if as_json {
            format!("{}\n", json!({ "event": "gap", "after": from }))
        } else {
            format!("lines after {from} were removed before they were read\n")
        });
    }
    let empty = Vec::new();
    for event in page.get("events").and_then(Value::as_array).unwrap_or(&empty) {
        if as_json {
            text.push_str(&format!("{event}\n"));
            continue;
        }
        let of = field(event, "of");
        let of = if of.is_empty() { of } else { format!(" of {of}") };
        text.push_str(&format!("{}{of}  {}\n", field(event, "id"), told(event)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_event_and_a_gap_is_told() {
        let page = json!({
            "events": [{ "at": 1_795_425_725_123_u64, "id": "6", "of": "5", "event": "failed",
                "reason": "no", "cursor": "9:120" }],
            "next": "9:120",
            "gap": true,
        });
        assert_eq!(
            spelled(&page, "3:17", false),
            "lines after 3:17 were removed before they were read\n\
             6 of 5  2026-11-23T09:22:05.123Z  failed     reason=no\n"
        );
        let lines = spelled(&page, "3:17", true);
        let (gap, event) = lines.split_once('\n').unwrap();
        assert_eq!(gap, r#"{"after":"3:17","event":"gap"}"#);
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!((field(&event, "cursor"), field(&event, "id")), ("9:120".into(), "6".into()));
    }
}
