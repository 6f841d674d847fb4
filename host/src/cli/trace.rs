//! `wirepost trace`: what happened to one message, from the first octet to the last receipt.

use std::process::ExitCode;

use clap::Args;
use message::{MessageId, Timestamp};
use serde_json::Value;

use super::control::{Place, field, say, say_json};

/// Tells the story of a message.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// The id that the sender was given, or that of a leg or delivery
    id: MessageId,
    #[command(flatten)]
    place: Place,
}

/// Asks and prints.
pub async fn run(args: TraceArgs) -> ExitCode {
    match args.place.get(&format!("/trace/{}", args.id)).await {
        Ok(story) if args.place.json => say_json(&story),
        Ok(story) => say(&for_people(&story, args.id)),
        Err(error) => return error.complained(),
    }
    ExitCode::SUCCESS
}

fn for_people(story: &Value, about: MessageId) -> String {
    let empty = Vec::new();
    let mut text = String::new();
    let mut last_id = about.to_string();
    for event in story.as_array().unwrap_or(&empty) {
        let id = field(event, "id");
        if id != last_id {
            let of = field(event, "of");
            let of = if of.is_empty() { of } else { format!(" of {of}") };
            text.push_str(&format!("{id}{of}\n"));
            last_id = id;
        }
        text.push_str(&format!("  {}\n", told(event)));
    }
    text
}

/// One event without its id: the time, what happened, and what belongs to it.
pub(super) fn told(event: &Value) -> String {
    let at = event.get("at").and_then(Value::as_u64).map_or(Timestamp::NEVER, Timestamp::from_ms);
    let mut text = format!("{at}  {:<10}", field(event, "event"));
    for name in event.as_object().into_iter().flat_map(|fields| fields.keys()) {
        if matches!(name.as_str(), "at" | "id" | "of" | "event" | "cursor") {
            continue;
        }
        let value = match (name.as_str(), event.get(name).and_then(Value::as_u64)) {
            ("next", Some(ms)) => Timestamp::from_ms(ms).to_string(),
            _ => field(event, name),
        };
        if !value.is_empty() {
            let quote = if value.contains(' ') { "\"" } else { "" };
            text.push_str(&format!(" {name}={quote}{value}{quote}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_a_line_an_event_under_the_id_it_is_about() {
        let story = serde_json::json!([
            { "at": 1_795_425_725_123_u64, "id": "5", "event": "accepted", "door": "mail", "to": ["a", "b"] },
            { "at": 1_795_425_725_200_u64, "id": "6", "of": "5", "event": "attempt", "reply": "451 later", "next": 0 },
        ]);
        assert_eq!(
            for_people(&story, MessageId::from_u64(5)),
            "  2026-11-23T09:22:05.123Z  accepted   door=mail to=a,b\n\
             6 of 5\n  \
             2026-11-23T09:22:05.200Z  attempt    next=1970-01-01T00:00:00.000Z reply=\"451 later\"\n"
        );
    }
}
