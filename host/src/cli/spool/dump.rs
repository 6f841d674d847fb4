//! `wirepost spool dump`.

use std::io::{BufWriter, Write as _};
use std::process::ExitCode;

use clap::Args;
use message::content::{Content, ShortBody};
use message::{Message, Timestamp, record};
use serde_json::{Map, Value, json};
use spool::{Entry, Spool};

use super::filter::Filter;
use super::{Folder, ToolError, open};
use crate::delivery::{Delivery, STATE_HELD, STATE_SCHEDULED, STATE_UNDECIDED};
use crate::spooler::{LoadError, load_entry};

/// Records set aside that are shown at most.
const ASIDE_MAX: usize = 100_000;

/// What to print.
#[derive(Args, Debug)]
pub struct DumpArgs {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    filter: Filter,
    /// With addresses and content
    #[arg(long)]
    content: bool,
    /// Records that were set aside as corrupt instead, with their bytes if --content is given
    #[arg(long, conflicts_with_all = ["target", "ids"])]
    aside: bool,
}

/// Prints one line for each; a reader that goes away ends it.
pub(super) fn run(args: &DumpArgs) -> Result<ExitCode, ToolError> {
    let path = args.folder.path()?;
    let spool = open(&path, false)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut print = |line: &Value| writeln!(out, "{line}").map_err(|_gone| Stop::ReaderGone);
    let done = if args.aside {
        let records = spool.aside(ASIDE_MAX).map_err(Stop::Read);
        records.and_then(|records| {
            records.iter().try_for_each(|(key, record)| print(&evidence(key, record, args.content)))
        })
    } else {
        args.filter.each(&spool, |entry| print(&line(&spool, &entry, args.content)))
    };
    let done = done.and_then(|()| out.flush().map_err(|_gone| Stop::ReaderGone));
    spool.close();
    match done {
        Ok(()) | Err(Stop::ReaderGone) => Ok(ExitCode::SUCCESS),
        Err(Stop::Read(error)) => Err(ToolError::Read(path, error)),
    }
}

/// Why no further line is printed.
enum Stop {
    /// Such as `head`.
    ReaderGone,
    Read(spool::ReadError),
}

impl From<spool::ReadError> for Stop {
    fn from(error: spool::ReadError) -> Self {
        Self::Read(error)
    }
}

fn evidence(key: &[u8], bytes: &[u8], content: bool) -> Value {
    let id = <[u8; 8]>::try_from(key).map(u64::from_be_bytes).ok();
    let mut line = json!({
        "id": id.map(|id| id.to_string()),
        "key": hex(key),
        "bytes": bytes.len(),
    });
    if content {
        line["record"] = hex(bytes).into();
    }
    line
}

/// An entry with its columns; its delivery and message as far as they can be read.
fn line(spool: &Spool, entry: &Entry, content: bool) -> Value {
    let mut line = json!({
        "id": entry.id.to_string(),
        "body": entry.body.to_string(),
        "state": state(entry.state),
        "target": &*entry.target,
        "account": &*entry.account,
        "priority": entry.priority,
        "due": Timestamp::from_ms(entry.due_ms).to_string(),
        "expires": Timestamp::from_ms(entry.expires_ms).to_string(),
    });
    let Some(fields) = line.as_object_mut() else { return line };
    match record::decode::<Delivery>(&entry.bytes) {
        Ok(delivery) => add_delivery(fields, &delivery, content),
        Err(error) => drop(fields.insert("damaged".to_owned(), error.to_string().into())),
    }
    match load_entry(spool, entry) {
        Ok(queued) => add_message(fields, &queued.message, content),
        Err(LoadError::Gone) => {
            fields.insert("damaged".to_owned(), "its body is not there".into());
        }
        Err(error) => drop(fields.insert("damaged".to_owned(), error.to_string().into())),
    }
    line
}

fn state(state: u8) -> Value {
    match state {
        STATE_SCHEDULED => "scheduled".into(),
        STATE_UNDECIDED => "undecided".into(),
        STATE_HELD => "held".into(),
        other => other.into(),
    }
}

fn add_delivery(fields: &mut Map<String, Value>, delivery: &Delivery, content: bool) {
    let why = delivery.last.as_ref();
    let shown = json!({
        "message": delivery.message.to_string(),
        "route": &*delivery.route,
        "targets": delivery.targets.iter().map(|target| &**target).collect::<Vec<_>>(),
        "attempts": delivery.attempts,
        "faults": delivery.faults,
        "parts": delivery.parts.as_ref().map(|parts| parts.total),
        "doubtful": delivery.doubtful,
        "status": why.map(|cause| &*cause.enhanced),
    });
    join(fields, shown);
    if content {
        let shown = json!({
            "to": &*delivery.recipient.address.value,
            "why": why.map(|cause| &*cause.text),
            "sms": delivery.sms.as_ref().map(|sms| json!({
                "from": &*sms.sender.value,
                "text": &*sms.text,
            })),
        });
        join(fields, shown);
    }
}

fn add_message(fields: &mut Map<String, Value>, message: &Message, content: bool) {
    let shown = json!({
        "door": &*message.origin.door,
        "protocol": message.origin.protocol.name(),
        "received": message.received.to_string(),
        "size": message.content.size_bytes(),
    });
    join(fields, shown);
    if content {
        let shown = match &message.content {
            Content::Mail(raw) => json!({ "mail": String::from_utf8_lossy(raw) }),
            Content::Short(short) => match &short.body {
                ShortBody::Text(text) => json!({ "text": &**text }),
                ShortBody::Coded(octets) => json!({
                    "data_coding": short.data_coding,
                    "esm_class": short.esm_class,
                    "octets": hex(octets),
                }),
            },
        };
        join(fields, json!({ "from": &*message.sender.value, "content": shown }));
    }
}

fn join(fields: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
