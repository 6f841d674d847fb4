//! `wirepost queue`: what waits, why, and what to do about it.

mod jobs;

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
    /// Route deliveries again, without plugins.
    Reroute(ManyArgs),
    /// Put deliveries aside until they are released.
    Hold(ManyArgs),
    /// Send held deliveries on; what held them does not hold them again.
    Release(ManyArgs),
    /// Remove deliveries; nobody is told.
    Delete(ManyArgs),
    /// Remove deliveries and tell their senders that they failed.
    Bounce(ManyArgs),
    /// Remove deliveries and tell their senders that their time was over.
    Expire(ManyArgs),
    /// Make no more attempts at a connector or account; messages for it are still taken.
    Suspend(OrderArgs),
    /// Send out what waits for a connector or account, and take nothing more for it.
    Drain(OrderArgs),
    /// Let a connector or account work again.
    Resume(OrderArgs),
    /// Show jobs: what is being done to many deliveries.
    Jobs(JobsArgs),
    /// End a job before it is done; what it did stays done.
    Cancel(CancelArgs),
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

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Undecided => "undecided",
            Self::Held => "held",
        }
    }
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
    #[arg(required_unless_present_any = ["target", "state", "account", "to", "older_than", "all"])]
    ids: Vec<MessageId>,
    #[command(flatten)]
    chosen: Chosen,
    /// Why, for the journal and for the sender
    #[arg(long, alias = "why", value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Many deliveries, by what they have in common: those that fit all of it.
#[derive(Args, Debug)]
pub struct Chosen {
    /// Those for this connector or account
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    target: Option<String>,
    /// Those in this state
    #[arg(long, value_enum, conflicts_with = "ids")]
    state: Option<State>,
    /// Those of this account
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    account: Option<String>,
    /// Those to recipients of this shape, such as "+33*" or "*@example.org"
    #[arg(long, value_name = "PATTERN", conflicts_with = "ids")]
    to: Option<String>,
    /// Those taken at least so long ago, such as 2h
    #[arg(long, value_name = "DURATION", conflicts_with = "ids")]
    older_than: Option<String>,
    /// All that there are
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Only count them, and show some
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long, conflicts_with = "ids")]
    detach: bool,
}

/// A target as a whole.
#[derive(Args, Debug)]
pub struct OrderArgs {
    /// The connector or account
    target: String,
    /// Why, for the journal and for whoever looks
    #[arg(long, alias = "why", value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Which job.
#[derive(Args, Debug)]
pub struct JobsArgs {
    /// Its number; all if left out
    id: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Which job.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// Its number
    id: u64,
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
            return each("retry", "is tried now", (&args.ids, None, &args.place)).await;
        }
        Queue::Reroute(args) => return many("reroute", "routed again", &args).await,
        Queue::Hold(args) => return many("hold", "held", &args).await,
        Queue::Release(args) => return many("release", "released", &args).await,
        Queue::Delete(args) => return many("delete", "deleted", &args).await,
        Queue::Bounce(args) => return many("bounce", "bounced", &args).await,
        Queue::Expire(args) => return many("expire", "expired", &args).await,
        Queue::Suspend(args) => order("suspend", &args).await,
        Queue::Drain(args) => order("drain", &args).await,
        Queue::Resume(args) => order("resume", &args).await,
        Queue::Jobs(args) => jobs::list(&args.place, args.id).await,
        Queue::Cancel(args) => jobs::cancel(&args.place, args.id).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.complained(),
    }
}

async fn order(word: &str, args: &OrderArgs) -> Result<(), AskError> {
    let path = format!("/targets/{}/{word}", args.target);
    let done = args.place.post(&with_query(&path, &[("why", args.reason.as_deref())])).await?;
    if args.place.json {
        say_json(&done);
        return Ok(());
    }
    let stopped = field(&done, "stopped");
    let is = if stopped.is_empty() { "works again".to_owned() } else { format!("is {stopped}") };
    let (name, queued, in_flight) =
        (&args.target, field(&done, "queued"), field(&done, "in_flight"));
    say(&format!("{name} {is}; {queued} deliveries are there, {in_flight} of them in flight\n"));
    Ok(())
}

async fn many(act: &str, past: &str, args: &ManyArgs) -> ExitCode {
    if !args.ids.is_empty() {
        return each(act, past, (&args.ids, args.reason.as_deref(), &args.place)).await;
    }
    let Chosen { target, state, account, to, older_than, all, dry_run, detach } = &args.chosen;
    let query = [
        ("act", Some(act)),
        ("target", target.as_deref()),
        ("state", state.map(State::word)),
        ("account", account.as_deref()),
        ("to", to.as_deref()),
        ("older_than", older_than.as_deref()),
        ("all", all.then_some("true")),
        ("dry_run", dry_run.then_some("true")),
        ("why", args.reason.as_deref()),
    ];
    match jobs::start(&args.place, &query, !detach).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.complained(),
    }
}

async fn list(args: &ListArgs) -> Result<(), AskError> {
    let limit = args.limit.to_string();
    let state = args.state.map(State::word);
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
        let oldest = f("oldest");
        let since = if oldest.is_empty() { oldest } else { format!(", the oldest of {oldest}") };
        text.push_str(&format!(
            "{}: {} deliveries{since}; {}\n",
            f("target"),
            f("count"),
            f("waiting")
        ));
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
async fn each(
    verb: &str,
    past: &str,
    (ids, reason, place): (&[MessageId], Option<&str>, &Place),
) -> ExitCode {
    let mut exit = ExitCode::SUCCESS;
    let mut results = Vec::new();
    for id in ids {
        let path = with_query(&format!("/queue/{id}/{verb}"), &[("why", reason)]);
        match place.post(&path).await {
            Ok(_) => {
                results.push(json!({ "id": id.to_string(), "ok": true }));
                if !place.json {
                    say(&format!("{id} {past}\n"));
                }
            }
            Err(error) => {
                let text = error.to_string();
                results.push(json!({ "id": id.to_string(), "ok": false, "error": text }));
                exit = if place.json { error.exit() } else { error.complained() };
                if matches!(error, AskError::Nobody { .. }) {
                    break;
                }
            }
        }
    }
    if place.json {
        say_json(&Value::Array(results));
    }
    exit
}
