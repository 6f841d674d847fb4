//! The frames of a journal as fjall 3 writes them: a start, items, an end with a checksum.
//!
//! Numbers are little-endian. Nothing here trusts a length: what does not fit into what is left of
//! the file is no frame.

use std::hash::Hasher as _;
use std::io::{self, Read};

use xxhash_rust::xxh3::Xxh3;

use super::mark::{MARK_BYTES, Mark};

/// The first byte of every batch.
pub(super) const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// What closes a batch behind its checksum.
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Keyspace, length of the key, length of the value, length as stored; behind tag, kind, compression.
const ITEM_NUMBERS: usize = 8 + 2 + 4 + 4;
/// Values are read in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

/// A whole batch whose checksum matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// What it takes in the file.
    pub(super) bytes: u64,
    /// The database's own number of it.
    pub(super) sequence: u64,
    /// What we wrote into it about the groups before.
    pub(super) mark: Option<Mark>,
}

/// Why there is no further frame.
#[derive(Debug)]
pub(super) enum Stop {
    /// The bytes are no whole frame.
    Broken,
    /// The file could not be read.
    Io(io::Error),
}

/// Reads one frame from `source`, of which `left` bytes are there.
pub(super) fn read(source: &mut impl Read, left: u64) -> Result<Frame, Stop> {
    let mut reader = Counted { source, left, bytes: 0 };
    if reader.byte()? != START {
        return Err(Stop::Broken);
    }
    let items = u32::from_le_bytes(reader.array()?);
    let sequence = u64::from_le_bytes(reader.array()?);
    let mut hasher = Xxh3::new();
    let mut mark = None;
    for _ in 0..items {
        match reader.byte()? {
            ITEM => mark = item(&mut reader, &mut hasher)?.or(mark),
            CLEAR => {
                hasher.update(&[CLEAR]);
                hasher.update(&reader.array::<8>()?);
            }
            _ => return Err(Stop::Broken),
        }
    }
    let closed = reader.byte()? == END
        && u64::from_le_bytes(reader.array()?) == hasher.finish()
        && reader.array()? == TRAILER;
    if closed { Ok(Frame { bytes: reader.bytes, sequence, mark }) } else { Err(Stop::Broken) }
}

/// Reads an item behind its tag; gives its mark if it is one.
fn item(reader: &mut Counted<'_, impl Read>, hasher: &mut Xxh3) -> Result<Option<Mark>, Stop> {
    let [kind, compression] = reader.array()?;
    let numbers: [u8; ITEM_NUMBERS] = reader.array()?;
    let mut rest = numbers.as_slice();
    let keyspace = u64::from_le_bytes(take(&mut rest)?);
    let key_bytes = u16::from_le_bytes(take(&mut rest)?);
    let value_bytes = u32::from_le_bytes(take(&mut rest)?);
    let stored_bytes = u32::from_le_bytes(take(&mut rest)?);
    // We write without compression: anything else is damage.
    if compression != 0 || value_bytes != stored_bytes || !matches!(kind, 0..=2) {
        return Err(Stop::Broken);
    }
    hasher.update(&[ITEM, kind, compression]);
    hasher.update(&numbers);
    let key = reader.vec(u64::from(key_bytes))?;
    hasher.update(&key);
    if Mark::is_under(keyspace, &key) && u64::from(stored_bytes) == MARK_BYTES {
        let value = reader.vec(MARK_BYTES)?;
        hasher.update(&value);
        return Ok(Mark::decode(&value));
    }
    let mut left = u64::from(stored_bytes);
    while left > 0 {
        let piece = reader.vec(left.min(PIECE_BYTES as u64))?;
        hasher.update(&piece);
        left -= piece.len() as u64;
    }
    Ok(None)
}

/// Reads and counts, and never more than there is.
struct Counted<'a, R> {
    source: &'a mut R,
    left: u64,
    bytes: u64,
}

impl<R: Read> Counted<'_, R> {
    fn byte(&mut self) -> Result<u8, Stop> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// At most [`PIECE_BYTES`] at once, so that a damaged length costs no memory.
    fn vec(&mut self, bytes: u64) -> Result<Vec<u8>, Stop> {
        let mut out = vec![0; usize::try_from(bytes).map_err(|_large| Stop::Broken)?];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), Stop> {
        let bytes = out.len() as u64;
        self.left = self.left.checked_sub(bytes).ok_or(Stop::Broken)?;
        self.bytes += bytes;
        self.source.read_exact(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Stop::Broken,
            _ => Stop::Io(error),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Stop> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Stop::Broken)?;
    *rest = tail;
    Ok(*head)
}
