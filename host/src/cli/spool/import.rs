//! `wirepost spool import`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use message::{MessageId, record};
use serde_json::json;
use spool::portable::{Counts, Part, PortableError, Reader, is_portable};
use spool::{Batch, Commit, Key, NEVER_MS, Spool};

use super::{Folder, ToolError, open};
use crate::cli::control::{say, say_json};
use crate::ledger;
use crate::spooler::HIGH_WATER_KEY;

/// Bytes on their way to the disk at the same time.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Commits on their way to the disk at the same time.
const WAITING_MAX: usize = 512;
/// Ids that are named when they are in the way.
const NAMED_MAX: usize = 10;

/// What to take in.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The export to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    folder: Folder,
    /// Replace what has the same id or key
    #[arg(long)]
    replace: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads all of it first; then adds each message whole.
pub(super) async fn run(args: &ImportArgs) -> Result<ExitCode, ToolError> {
    let path = args.folder.path()?;
    // The stream is looked at before a spool is made for it.
    let mut whole = reader(&args.file)?;
    while next(&args.file, &mut whole)?.is_some() {}
    let spool = open(&path, true)?;
    let done = add_all(args, &path, &spool).await;
    spool.close();
    let Counts { entries, bodies, keys } = done?;
    if args.json {
        let folder = path.display().to_string();
        say_json(&json!({
            "path": folder, "entries": entries, "bodies": bodies, "keys": keys,
        }));
    } else {
        say(&format!(
            "{}: {entries} entries, {bodies} bodies, {keys} keys added\n",
            path.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn add_all(args: &ImportArgs, path: &Path, spool: &Spool) -> Result<Counts, ToolError> {
    let mut in_the_way = Vec::new();
    let mut first = reader(&args.file)?;
    while let Some(part) = next(&args.file, &mut first)? {
        let conflicts = conflicts(spool, &part, args.replace);
        in_the_way.extend(conflicts.map_err(|error| ToolError::Read(path.to_owned(), error))?);
    }
    if !in_the_way.is_empty() {
        return Err(ToolError::Refused(refusal(path, &in_the_way)));
    }
    let mut adding = Adding { path, waiting: VecDeque::new(), waiting_bytes: 0 };
    let unread = |error| ToolError::Read(path.to_owned(), error);
    let mut high = stored_high(spool).map_err(unread)?;
    let door: Arc<str> = Arc::from(ledger::IMPORTED);
    let mut second = reader(&args.file)?;
    while let Some(part) = next(&args.file, &mut second)? {
        let mut batch = Batch::new();
        match part {
            Part::Message { body, entries } => {
                if let Some((id, content)) = body {
                    batch.put_body(id, content);
                }
                let mut born = 0;
                for entry in entries {
                    high = high.max(entry.id);
                    let there = spool.entry(entry.id).map_err(unread)?;
                    born += u64::from(there.is_none());
                    batch.put_entry(entry);
                }
                batch.count(ledger::BORN, &door, born);
            }
            Part::Key(key) if *key.key == *HIGH_WATER_KEY => high = high.max(mark(&key.value)),
            Part::Key(Key { key, value, expires_ms }) if is_portable(&key) => {
                batch.put_key(key, value, expires_ms);
            }
            Part::Key(_) => {}
        }
        adding.commit(spool, batch).await?;
    }
    adding.commit(spool, high_water(high)?).await?;
    adding.finish(0).await?;
    Ok(second.counts())
}

/// The ids and keys of a part that the spool has already.
fn conflicts(spool: &Spool, part: &Part, replace: bool) -> Result<Vec<String>, spool::ReadError> {
    let mut found = Vec::new();
    match part {
        _ if replace => {}
        Part::Message { body, entries } => {
            for entry in entries {
                if spool.entry(entry.id)?.is_some() {
                    found.push(format!("entry {}", entry.id));
                }
            }
            if let Some((id, content)) = body
                && spool.body(*id)?.is_some_and(|there| there != *content)
            {
                found.push(format!("body {id}"));
            }
        }
        // It is joined, and never goes back.
        Part::Key(key) if *key.key == *HIGH_WATER_KEY => {}
        Part::Key(key) => {
            if spool.find(&key.key)?.is_some_and(|there| there != key.value) {
                found.push(format!("key {}", String::from_utf8_lossy(&key.key).escape_debug()));
            }
        }
    }
    Ok(found)
}

fn refusal(path: &Path, in_the_way: &[String]) -> String {
    let mut named = in_the_way.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if in_the_way.len() > NAMED_MAX {
        named.push_str(&format!(" and {} more", in_the_way.len() - NAMED_MAX));
    }
    format!(
        "the spool {} has already: {named}; nothing was added. Say --replace if the export is to win",
        path.display()
    )
}

/// No id that came in may be handed out again, whatever the clock here says.
fn high_water(high: u64) -> Result<Batch, ToolError> {
    let mut batch = Batch::new();
    if high > 0 {
        let value = record::encode(&MessageId::from_u64(high))
            .map_err(|error| ToolError::Refused(error.to_string()))?;
        batch.put_key(bytes::Bytes::from_static(HIGH_WATER_KEY), value, NEVER_MS);
    }
    Ok(batch)
}

fn stored_high(spool: &Spool) -> Result<u64, spool::ReadError> {
    Ok(spool.find(HIGH_WATER_KEY)?.map_or(0, |value| mark(&value)))
}

fn mark(value: &[u8]) -> u64 {
    record::decode::<MessageId>(value).map_or(0, MessageId::as_u64)
}

fn reader(file: &Path) -> Result<Reader<BufReader<File>>, ToolError> {
    let opened = File::open(file).map_err(|error| ToolError::File {
        doing: "read",
        path: file.to_owned(),
        error,
    })?;
    Reader::new(BufReader::with_capacity(256 * 1024, opened)).map_err(|error| stream(file, error))
}

fn next(file: &Path, reader: &mut Reader<BufReader<File>>) -> Result<Option<Part>, ToolError> {
    reader.next_part().map_err(|error| stream(file, error))
}

fn stream(file: &Path, error: PortableError) -> ToolError {
    match error {
        PortableError::Io(error) => ToolError::File { doing: "read", path: file.to_owned(), error },
        other => ToolError::Stream(file.to_owned(), other),
    }
}

/// Commits that are on their way.
struct Adding<'a> {
    path: &'a Path,
    waiting: VecDeque<(usize, Commit)>,
    waiting_bytes: usize,
}

impl Adding<'_> {
    async fn commit(&mut self, spool: &Spool, batch: Batch) -> Result<(), ToolError> {
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = batch.size_bytes();
        while self.waiting.len() >= WAITING_MAX
            || (self.waiting_bytes + bytes > WAITING_BYTES_MAX && !self.waiting.is_empty())
        {
            self.finish(self.waiting.len() - 1).await?;
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back((bytes, spool.commit(batch)));
        Ok(())
    }

    /// Waits until no more than `left` are on their way.
    async fn finish(&mut self, left: usize) -> Result<(), ToolError> {
        while self.waiting.len() > left
            && let Some((bytes, commit)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= bytes;
            let durable =
                commit.await.map_err(|error| ToolError::Commit(self.path.to_owned(), error))?;
            drop(durable);
        }
        Ok(())
    }
}
