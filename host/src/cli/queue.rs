//! `wirepost queue`: what waits, why, and what to do about it.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use message::MessageId;
use serde_json::{Value, json};

use super::control::{AskError, Place, field, say, say_json, table, with_query};

/// What `queue` does.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// List deliveries that wait.
    List(ListArgs),
    /// Show one delivery.
    Show(OneArgs),
    /// Say why deliveries wait, grouped.
    Why(WhyArgs),
    /// Try deliveries now that are scheduled for later.
    Retry(RetryArgs),
    /// Send held deliveries on.
    Release(ManyArgs),
    /// Remove deliveries; nobody is told.
    Delete(ManyArgs),
    /// Remove deliveries and tell their senders.
    Bounce(ManyArgs),
}

/// Which deliveries to list.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only those for this connector or account
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// So many at most
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Scheduled,
    Undecided,
    Held,
}

/// One delivery.
#[derive(Args, Debug)]
pub struct OneArgs {
    /// Its id
    id: MessageId,
    #[command(flatten)]
    place: Place,
}

/// Where to ask.
#[derive(Args, Debug)]
pub struct WhyArgs {
    #[command(flatten)]
    place: Place,
}

/// What to try now.
#[derive(Args, Debug)]
pub struct RetryArgs {
    /// Ids of deliveries
    #[arg(required_unless_present_any = ["target", "all"])]
    ids: Vec<MessageId>,
    /// Everything for this connector or account
    #[arg(long, value_name = "NAME", conflicts_with_all = ["ids", "all"])]
    target: Option<String>,
    /// Everything
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    place: Place,
}

/// Several deliveries.
#[derive(Args, Debug)]
pub struct ManyArgs {
    /// Their ids
    #[arg(required = true)]
    ids: Vec<MessageId>,
    /// Why, for the journal and for the sender
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Asks and prints.
pub async fn run(queue: Queue) -> ExitCode {
    let done = match queue {
        Queue::List(args) => list(&args).await,
        Queue::Show(args) => show(&args).await,
        Queue::Why(args) => why(&args.place).await,
        Queue::Retry(args) if args.ids.is_empty() => retry_all(&args).await,
        Queue::Retry(args) => {
            let many = ManyArgs { ids: args.ids, why: None, place: args.place };
            return each("retry", "retried", &many).await;
        }
        Queue::Release(args) => return each("release", "released", &args).await,
        Queue::Delete(args) => return each("delete", "deleted", &args).await,
        Queue::Bounce(args) => return each("bounce", "bounced", &args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.complained(),
    }
}

async fn list(args: &ListArgs) -> Result<(), AskError> {
    let limit = args.limit.to_string();
    let state = args.state.map(|state| match state {
        State::Scheduled => "scheduled",
        State::Undecided => "undecided",
        State::Held => "held",
    });
    let query = [("target", args.target.as_deref()), ("state", state), ("limit", Some(&*limit))];
    let found = args.place.get(&with_query("/queue", &query)).await?;
    if args.place.json {
        say_json(&found);
        return Ok(());
    }
    let items = found.as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        say("nothing waits\n");
        return Ok(());
    }
    let columns = ["id", "state", "target", "from", "to", "attempts", "due", "why"];
    let row = |item: &Value| columns.iter().map(|name| field(item, name)).collect();
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    say(&table(&columns, &rows));
    Ok(())
}

async fn show(args: &OneArgs) -> Result<(), AskError> {
    let found = args.place.get(&format!("/queue/{}", args.id)).await?;
    if args.place.json {
        say_json(&found);
        return Ok(());
    }
    let names = [
        "id", "message", "state", "why", "target", "targets", "route", "from", "to", "door",
        "account", "received", "attempts", "due", "expires", "priority", "size", "doubtful",
    ];
    let line = |name: &&str| format!("{name:<10} {}\n", field(&found, name));
    say(&names.iter().map(line).collect::<String>());
    Ok(())
}

async fn why(place: &Place) -> Result<(), AskError> {
    let found = place.get("/queue/why").await?;
    if place.json {
        say_json(&found);
        return Ok(());
    }
    let mut text = String::new();
    for target in found.as_array().map_or(&[][..], Vec::as_slice) {
        let f = |name: &str| field(target, name);
        text.push_str(&format!("{}: {} deliveries; {}\n", f("target"), f("count"), f("waiting")));
        let reasons =
            target.get("reasons").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for reason in reasons {
            let r = |name: &str| field(reason, name);
            text.push_str(&format!(
                "{:>8}  {}  (such as {})\n",
                r("count"),
                r("why"),
                r("example")
            ));
        }
        if target.get("sampled") == Some(&Value::Bool(true)) {
            text.push_str("          only the first ones were looked at\n");
        }
    }
    say(if text.is_empty() { "nothing waits\n" } else { &text });
    Ok(())
}

async fn retry_all(args: &RetryArgs) -> Result<(), AskError> {
    let path = with_query("/queue/retry", &[("target", args.target.as_deref())]);
    let done = args.place.post(&path).await?;
    if args.place.json {
        say_json(&done);
    } else {
        say(&format!("{} deliveries are tried now\n", field(&done, "retried")));
    }
    Ok(())
}

/// Does the same to each; the exit code is that of the last one that failed.
async fn each(verb: &str, past: &str, args: &ManyArgs) -> ExitCode {
    let mut exit = ExitCode::SUCCESS;
    let mut results = Vec::new();
    for id in &args.ids {
        let path = with_query(&format!("/queue/{id}/{verb}"), &[("why", args.why.as_deref())]);
        match args.place.post(&path).await {
            Ok(done) if done.get("retried").and_then(Value::as_u64) == Some(0) => {
                results.push(json!({ "id": id.to_string(), "ok": true }));
                if !args.place.json {
                    say(&format!("{id} is not scheduled for later: it goes as soon as it can\n"));
                }
            }
            Ok(_) => {
                results.push(json!({ "id": id.to_string(), "ok": true }));
                if !args.place.json {
                    say(&format!("{id} {past}\n"));
                }
            }
            Err(error) => {
                let text = error.to_string();
                results.push(json!({ "id": id.to_string(), "ok": false, "error": text }));
                exit = if args.place.json { error.exit() } else { error.complained() };
                if matches!(error, AskError::Nobody { .. }) {
                    break;
                }
            }
        }
    }
    if args.place.json {
        say_json(&Value::Array(results));
    }
    exit
}
