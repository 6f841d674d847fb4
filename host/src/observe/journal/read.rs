//! Reading the journal: the story of one message, or everything from some point on.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use message::MessageId;

use super::segment;
use crate::observe::event::Event;

/// Ids may run ahead of the clock, or behind it when it is set back: so much earlier than an id
/// says its story is looked for.
const SLACK: Duration = Duration::from_secs(600);
/// No more events than this make up one story.
const STORY_EVENTS_MAX: usize = 100_000;
/// From a delivery to its leg to the message and what that was an answer to: this deep at most.
const ANCESTORS_MAX: usize = 16;
/// Lines that are looked at for one page, wanted or not.
const LINES_PER_PAGE: usize = 100_000;
/// Longer lines are not ours.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where reading goes on. Written as `SEGMENT:OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    first_ms: u64,
    offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.first_ms, self.offset)
    }
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a position in the journal: two numbers with a colon are expected")]
pub struct ParseCursorError(String);

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let numbers = text.split_once(':');
        let parsed = numbers.and_then(|(ms, at)| Some((ms.parse().ok()?, at.parse().ok()?)));
        let (first_ms, offset) = parsed.ok_or_else(|| ParseCursorError(text.to_owned()))?;
        Ok(Self { first_ms, offset })
    }
}

/// From where on to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// The oldest line that is kept.
    #[default]
    Start,
    /// What comes after this.
    After(Cursor),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::After(cursor) => cursor.fmt(f),
        }
    }
}

/// Some lines, and where the next ones are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Events, each with the position after it.
    pub events: Vec<(Cursor, Event)>,
    /// Where reading goes on; `Start` only if there is no line yet.
    pub next: Position,
    /// Lines are missing before these: they were removed before they were read.
    pub gap: bool,
}

/// Reads the segments of a folder, also while they are written, also from another process.
#[derive(Clone, Debug)]
pub struct Reader {
    folder: PathBuf,
}

impl Reader {
    /// A reader of the journal in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The whole story that `id` is part of, in order: of the message it belongs to and of all
    /// that came of that. Empty if nothing is known.
    ///
    /// # Errors
    /// The folder or a segment cannot be read.
    pub fn trace(&self, id: MessageId) -> io::Result<Vec<Event>> {
        let mut root = id;
        for _ in 0..ANCESTORS_MAX {
            let story = self.story(root)?;
            let above = story.iter().find_map(|event| event.of.filter(|_| event.id == root));
            match above {
                Some(above) if above != root => root = above,
                _ => return Ok(story),
            }
        }
        self.story(root)
    }

    /// Events from a position on, those about `id` and what belongs to it if one is given; at most
    /// `limit`, after looking at 100,000 lines at most. The page's `next` also serves to wait for more.
    ///
    /// # Errors
    /// The folder or a segment cannot be read.
    pub fn page(&self, from: Position, limit: usize, id: Option<MessageId>) -> io::Result<Page> {
        let segments = segment::list(&self.folder)?;
        let mut page = Page { events: Vec::new(), next: from, gap: false };
        if let Position::After(cursor) = from {
            // A position whose segment is gone was overtaken, or is none of this journal.
            page.gap = segments.binary_search(&cursor.first_ms).is_err();
        }
        let mut looked_at = 0;
        for first_ms in segments {
            let offset = match page.next {
                Position::After(cursor) if first_ms < cursor.first_ms => continue,
                Position::After(cursor) if first_ms == cursor.first_ms => cursor.offset,
                _ => 0,
            };
            let Some(mut lines) = Lines::open(&self.folder, first_ms, offset)? else {
                page.gap = true;
                continue;
            };
            while page.events.len() < limit
                && looked_at < LINES_PER_PAGE
                && let Some(line) = lines.next_line()?
            {
                looked_at += 1;
                let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
                let wanted = |id: MessageId| event.id == id || event.of == Some(id);
                if id.is_none_or(wanted) {
                    page.events.push((Cursor { first_ms, offset: lines.offset }, event));
                }
            }
            page.next = Position::After(Cursor { first_ms, offset: lines.offset });
            if page.events.len() >= limit || looked_at >= LINES_PER_PAGE {
                break;
            }
        }
        Ok(page)
    }

    /// Where the journal ends now: what comes next is after it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn end(&self) -> io::Result<Position> {
        let Some(&first_ms) = segment::list(&self.folder)?.last() else {
            return Ok(Position::Start);
        };
        let offset = std::fs::metadata(segment::path(&self.folder, first_ms))?.len();
        Ok(Position::After(Cursor { first_ms, offset }))
    }

    /// The events of `root` and, as they turn up, of all that belongs to it.
    fn story(&self, root: MessageId) -> io::Result<Vec<Event>> {
        let slack_ms = u64::try_from(SLACK.as_millis()).unwrap_or(u64::MAX);
        let from_ms = root.time().as_ms().saturating_sub(slack_ms);
        let segments = segment::list(&self.folder)?;
        // The segment before the first that began later may hold the beginning.
        let first = segments.partition_point(|&first_ms| first_ms <= from_ms).saturating_sub(1);
        let mut family = BTreeSet::from([root]);
        let mut story = Vec::new();
        for &first_ms in segments.get(first..).unwrap_or_default() {
            let Some(mut lines) = Lines::open(&self.folder, first_ms, 0)? else { continue };
            while let Some(line) = lines.next_line()? {
                if !concerns(line, &family) {
                    continue;
                }
                let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
                let belongs = |id| family.contains(&id);
                if belongs(event.id) || event.of.is_some_and(belongs) {
                    family.insert(event.id);
                    story.push(event);
                }
                if story.len() >= STORY_EVENTS_MAX {
                    return Ok(story);
                }
            }
        }
        Ok(story)
    }
}

/// Whether a line may be about one of the family, without parsing all of it. Lines begin with the
/// time, the id and what it belongs to; one that does not look so is parsed.
fn concerns(line: &[u8], family: &BTreeSet<MessageId>) -> bool {
    let Some((id, rest)) = quoted_number_after(line, b"\"id\":\"") else { return true };
    if family.contains(&MessageId::from_u64(id)) {
        return true;
    }
    if !rest.starts_with(b",\"of\":") {
        return false;
    }
    quoted_number_after(rest, b",\"of\":\"")
        .is_none_or(|(of, _)| family.contains(&MessageId::from_u64(of)))
}

/// The digits after the first `label` near the beginning, and what follows their closing quote.
fn quoted_number_after<'a>(line: &'a [u8], label: &[u8]) -> Option<(u64, &'a [u8])> {
    const LABEL_WITHIN: usize = 64;
    let head = line.get(..LABEL_WITHIN.min(line.len()))?;
    let at = head.windows(label.len()).position(|window| window == label)? + label.len();
    let digits = line.get(at..)?;
    let end = digits.iter().position(|&byte| byte == b'"')?;
    let number = std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    Some((number, digits.get(end + 1..)?))
}

/// The complete lines of one segment.
#[derive(Debug)]
struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
    /// After the last complete line.
    offset: u64,
}

impl Lines {
    /// `None` if the segment has gone meanwhile.
    fn open(folder: &Path, first_ms: u64, offset: u64) -> io::Result<Option<Self>> {
        let mut file = match File::open(segment::path(folder, first_ms)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(offset))?;
        let file = BufReader::with_capacity(64 * 1024, file);
        Ok(Some(Self { file, line: Vec::new(), offset }))
    }

    /// The next line, without its end; a last one that is not complete yet is not returned.
    fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = io::Read::take(&mut self.file, limit).read_until(b'\n', &mut self.line)?;
            let complete = self.line.ends_with(b"\n");
            if read == 0 || (!complete && read < LINE_BYTES_MAX) {
                return Ok(None);
            }
            self.offset += u64::try_from(read).unwrap_or(0);
            if complete {
                return Ok(self.line.strip_suffix(b"\n"));
            }
        }
    }
}
