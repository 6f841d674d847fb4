//! `wirepost spool export`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use spool::portable::{Counts, Part, Writer, is_portable};
use spool::{NO_BODY, ReadError, Spool};

use super::filter::Filter;
use super::{Folder, ToolError, open};
use crate::cli::complain;
use crate::cli::control::{say, say_json};

/// Keys read at once.
const PAGE: usize = 1000;

/// What to write where.
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    folder: Folder,
    /// The file to write; it must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    filter: Filter,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Writes the file under another name first, so that it is whole or not there.
pub(super) fn run(args: &ExportArgs) -> Result<ExitCode, ToolError> {
    let path = args.folder.path()?;
    let at = |doing| {
        let path = args.output.clone();
        move |error| ToolError::File { doing, path: path.clone(), error }
    };
    if args.output.try_exists().map_err(at("look for"))? {
        let error = std::io::ErrorKind::AlreadyExists.into();
        return Err(at("write")(error));
    }
    let spool = open(&path, false)?;
    let unfinished = args.output.with_added_extension("unfinished");
    let written = write(&spool, &path, &unfinished, &args.filter, at("write"));
    spool.close();
    let (counts, left_out) = match written {
        Ok(written) => written,
        Err(error) => {
            // A half of an export is of no use.
            drop(fs::remove_file(&unfinished));
            return Err(error);
        }
    };
    fs::rename(&unfinished, &args.output).map_err(at("write"))?;
    for reason in &left_out {
        complain(&format!("wirepost: left out: {reason}"));
    }
    let Counts { entries, bodies, keys } = counts;
    if args.json {
        let output = args.output.display().to_string();
        say_json(&json!({
            "file": output, "entries": entries, "bodies": bodies, "keys": keys, "left_out": left_out,
        }));
    } else {
        let file = args.output.display();
        say(&format!("{file}: {entries} entries, {bodies} bodies, {keys} keys\n"));
    }
    let complete = left_out.is_empty();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(super::EX_DATAERR) })
}

fn write(
    spool: &Spool,
    path: &Path,
    file: &Path,
    filter: &Filter,
    failed: impl Fn(std::io::Error) -> ToolError,
) -> Result<(Counts, Vec<String>), ToolError> {
    let unread = |error| ToolError::Read(path.to_owned(), error);
    // Other people's mail.
    let mut options = OpenOptions::new();
    let out = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    let mut writer = Writer::new(BufWriter::new(out.map_err(&failed)?)).map_err(&failed)?;
    let mut by_body: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut alone = Vec::new();
    let sort = |entry: spool::Entry| {
        if entry.body == NO_BODY {
            alone.push(entry.id);
        } else {
            by_body.entry(entry.body).or_default().push(entry.id);
        }
        Ok::<(), ReadError>(())
    };
    filter.each(spool, sort).map_err(unread)?;
    let mut left_out = Vec::new();
    let messages = by_body.into_iter().map(|(body, entries)| (Some(body), entries));
    for (body, ids) in messages.chain(alone.into_iter().map(|id| (None, vec![id]))) {
        match part(spool, body, &ids) {
            Ok(Some(part)) => writer.write(&part).map_err(&failed)?,
            Ok(None) => {}
            Err(Left::Out(reason)) => left_out.push(reason),
            Err(Left::Broken(error)) => return Err(unread(error)),
        }
    }
    if filter.is_everything() {
        left_out.extend(write_keys(spool, &mut writer, &failed, unread)?);
    }
    let (out, counts) = writer.finish().map_err(&failed)?;
    out.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(&failed)?;
    Ok((counts, left_out))
}

/// Why a message is not in the export.
enum Left {
    Out(String),
    Broken(ReadError),
}

impl From<ReadError> for Left {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Corrupt { .. } => Self::Out(error.to_string()),
            ReadError::Io(_) => Self::Broken(error),
        }
    }
}

fn part(spool: &Spool, body: Option<u64>, ids: &[u64]) -> Result<Option<Part>, Left> {
    let body = match body {
        None => None,
        Some(id) => match spool.body(id)? {
            Some(content) => Some((id, content)),
            None => return Err(Left::Out(format!("the body {id} is not there"))),
        },
    };
    let mut entries = Vec::with_capacity(ids.len());
    for &id in ids {
        entries.extend(spool.entry(id)?);
    }
    Ok((!entries.is_empty()).then_some(Part::Message { body, entries }))
}

fn write_keys(
    spool: &Spool,
    writer: &mut Writer<BufWriter<File>>,
    failed: impl Fn(std::io::Error) -> ToolError,
    unread: impl Fn(ReadError) -> ToolError,
) -> Result<Vec<String>, ToolError> {
    let mut after: Option<bytes::Bytes> = None;
    loop {
        let page = match spool.keys_with_prefix(b"", after.as_deref(), PAGE) {
            Ok(page) => page,
            // What is behind a damaged one cannot be told from here.
            Err(error @ ReadError::Corrupt { .. }) => {
                return Ok(vec![format!("{error}, and the keys after it")]);
            }
            Err(error) => return Err(unread(error)),
        };
        let Some(last) = page.last() else { return Ok(Vec::new()) };
        after = Some(last.key.clone());
        for key in page.into_iter().filter(|key| is_portable(&key.key)) {
            writer.write(&Part::Key(key)).map_err(&failed)?;
        }
    }
}
