//! Messages and keys as a stream of bytes: out of one spool, into another. See `FORMAT.md`.
//!
//! The stream does not depend on the database underneath. Every frame has a checksum, records have
//! theirs as well, and the last frame counts the others, so that a stream that was cut is found.

use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::entry::{Entry, Key};
use crate::index::TOTAL_PREFIX;
use crate::options::Options;
use crate::store::record::{self, Body};

/// How every stream begins; the version follows.
const MAGIC: &[u8] = b"wirepost spool export\n";
/// The version that is written.
const VERSION: u32 = 1;

const BODY: u8 = b'B';
const ENTRY: u8 = b'E';
const MESSAGE: u8 = b'M';
const KEY: u8 = b'K';
const END: u8 = b'Z';

/// More than any record takes beside its bytes, names and keys.
const FRAME_BYTES_SPARE: u64 = 64 * 1024;
/// Entries of one message at most.
const ENTRIES_MAX: usize = 1_000_000;

/// What belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A body, if there is one, and entries that need it.
    Message {
        /// The id of the body, and its content.
        body: Option<(u64, Bytes)>,
        /// At least one.
        entries: Vec<Entry>,
    },
    /// A keyed value.
    Key(Key),
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries.
    pub entries: u64,
    /// Bodies.
    pub bodies: u64,
    /// Keyed values.
    pub keys: u64,
}

/// Whether a key means something in another spool. Totals do not: each spool counts its own.
#[must_use]
pub fn is_portable(key: &[u8]) -> bool {
    !key.starts_with(TOTAL_PREFIX)
}

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PortableError {
    /// It is something else.
    #[error("it is no export of a spool")]
    Foreign,
    /// It was written by a version that this one does not know.
    #[error("it has version {0}, this program reads up to {VERSION}: use a newer one")]
    Version(u32),
    /// It was damaged or cut.
    #[error("it is damaged at byte {at}: {reason}; make or copy it again")]
    Damaged {
        /// Where the frame begins that does not hold together.
        at: u64,
        /// What does not fit.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes a stream; [`Writer::finish`] makes it whole.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_be_bytes())?;
        Ok(Self { out, counts: Counts::default() })
    }

    /// Adds what belongs together.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&mut self, part: &Part) -> io::Result<()> {
        match part {
            Part::Message { body, entries } => {
                if let Some((id, content)) = body {
                    self.counts.bodies += 1;
                    self.frame(BODY, &[&id.to_be_bytes(), &record::encode_body(*id, content)])?;
                }
                for entry in entries {
                    self.counts.entries += 1;
                    let id = entry.id.to_be_bytes();
                    self.frame(ENTRY, &[&id, &record::encode_entry(entry)])?;
                }
                self.frame(MESSAGE, &[])
            }
            Part::Key(key) => {
                self.counts.keys += 1;
                let bytes = u16::try_from(key.key.len()).unwrap_or(u16::MAX).to_be_bytes();
                self.frame(KEY, &[&bytes, &key.key, &record::encode_key(key)])
            }
        }
    }

    /// Says how much there was, without which the stream counts as cut.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(mut self) -> io::Result<(W, Counts)> {
        let Counts { entries, bodies, keys } = self.counts;
        let counts = [entries, bodies, keys].map(u64::to_be_bytes);
        self.frame(END, &[counts.as_flattened()])?;
        self.out.flush()?;
        Ok((self.out, self.counts))
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let mut hasher = crc32fast::Hasher::new();
        let head = [&[kind][..], &len.to_be_bytes()].concat();
        for part in [&*head].iter().chain(parts) {
            hasher.update(part);
            self.out.write_all(part)?;
        }
        self.out.write_all(&hasher.finalize().to_be_bytes())
    }
}

/// Reads a stream.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Where the next frame begins.
    at: u64,
    counts: Counts,
    ended: bool,
}

struct Frame {
    at: u64,
    kind: u8,
    payload: Bytes,
}

impl<R: Read> Reader<R> {
    /// Begins one.
    ///
    /// # Errors
    /// [`PortableError`].
    pub fn new(mut source: R) -> Result<Self, PortableError> {
        let mut magic = [0; MAGIC.len()];
        let mut version = [0; 4];
        let began = source.read_exact(&mut magic).and_then(|()| source.read_exact(&mut version));
        began.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => PortableError::Foreign,
            _ => PortableError::Io(error),
        })?;
        if magic != MAGIC {
            return Err(PortableError::Foreign);
        }
        match u32::from_be_bytes(version) {
            VERSION => Ok(Self {
                source,
                at: (MAGIC.len() + version.len()) as u64,
                counts: Counts::default(),
                ended: false,
            }),
            other => Err(PortableError::Version(other)),
        }
    }

    /// What was read so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads what belongs together; nothing at the end.
    ///
    /// # Errors
    /// [`PortableError`].
    pub fn next_part(&mut self) -> Result<Option<Part>, PortableError> {
        if self.ended {
            return Ok(None);
        }
        let mut body = None;
        let mut entries = Vec::new();
        loop {
            let frame = self.frame()?;
            let begun = body.is_some() || !entries.is_empty();
            match frame.kind {
                BODY if !begun => body = Some(self.body(&frame)?),
                ENTRY if entries.len() < ENTRIES_MAX => entries.push(self.entry(&frame)?),
                MESSAGE if !entries.is_empty() => return Ok(Some(Part::Message { body, entries })),
                KEY if !begun => return self.key(&frame).map(|key| Some(Part::Key(key))),
                END if !begun => return self.end(&frame).map(|()| None),
                _ => return Err(frame.damaged("it does not belong here")),
            }
        }
    }

    fn body(&mut self, frame: &Frame) -> Result<(u64, Bytes), PortableError> {
        let (id, record) = frame.id()?;
        self.counts.bodies += 1;
        match record::decode_body(id, record).map_err(|reason| frame.damaged(reason))? {
            Body::Inline(content) => Ok((id, content)),
            Body::File { .. } => Err(frame.damaged("the content of a body is not in it")),
        }
    }

    fn entry(&mut self, frame: &Frame) -> Result<Entry, PortableError> {
        let (id, record) = frame.id()?;
        self.counts.entries += 1;
        record::decode_entry(id, record).map_err(|reason| frame.damaged(reason))
    }

    fn key(&mut self, frame: &Frame) -> Result<Key, PortableError> {
        let split = || {
            let (bytes, rest) = frame.payload.split_first_chunk::<2>()?;
            rest.split_at_checked(u16::from_be_bytes(*bytes).into())
        };
        let (key, record) = split().ok_or_else(|| frame.damaged("a key ends too early"))?;
        self.counts.keys += 1;
        record::decode_key(key, record).map_err(|reason| frame.damaged(reason))
    }

    fn end(&mut self, frame: &Frame) -> Result<(), PortableError> {
        self.ended = true;
        let Counts { entries, bodies, keys } = self.counts;
        let counts = [entries, bodies, keys].map(u64::to_be_bytes);
        if *frame.payload == *counts.as_flattened() {
            Ok(())
        } else {
            Err(frame.damaged("it counts other records than there were"))
        }
    }

    fn frame(&mut self) -> Result<Frame, PortableError> {
        let at = self.at;
        let damaged = |reason| PortableError::Damaged { at, reason };
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it ends here, without its last frame"),
            _ => PortableError::Io(error),
        };
        let mut head = [0; 9];
        self.source.read_exact(&mut head).map_err(cut)?;
        let [kind, len @ ..] = head;
        let len = u64::from_be_bytes(len);
        if len > Options::BODY_BYTES_MAX as u64 + FRAME_BYTES_SPARE {
            return Err(damaged("a frame is too long"));
        }
        // What is not there costs no memory.
        let mut payload = Vec::new();
        let read = self.source.by_ref().take(len).read_to_end(&mut payload)?;
        let mut crc = [0; 4];
        self.source.read_exact(&mut crc).map_err(cut)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head);
        hasher.update(&payload);
        if read as u64 != len || hasher.finalize() != u32::from_be_bytes(crc) {
            return Err(damaged("its checksum does not match"));
        }
        self.at += head.len() as u64 + len + crc.len() as u64;
        Ok(Frame { at, kind, payload: payload.into() })
    }
}

impl Frame {
    fn id(&self) -> Result<(u64, &[u8]), PortableError> {
        let split = self.payload.split_first_chunk::<8>();
        let (id, record) = split.ok_or_else(|| self.damaged("an id ends too early"))?;
        Ok((u64::from_be_bytes(*id), record))
    }

    fn damaged(&self, reason: &'static str) -> PortableError {
        PortableError::Damaged { at: self.at, reason }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::entry::{NEVER_MS, NO_BODY};

    fn entry(id: u64, body: u64) -> Entry {
        Entry {
            id,
            body,
            target: "smsc".into(),
            state: 1,
            due_ms: 5,
            priority: 0,
            account: "shop".into(),
            expires_ms: NEVER_MS,
            bytes: Bytes::from_static(b"owner's"),
        }
    }

    fn parts() -> Vec<Part> {
        let key = |key: &'static str| Key {
            key: key.into(),
            value: Bytes::from_static(b"value"),
            expires_ms: 9,
        };
        vec![
            Part::Message {
                body: Some((7, Bytes::from_static(b"a body"))),
                entries: vec![entry(7, 7), entry(8, 7)],
            },
            Part::Key(key("book/1")),
            Part::Message { body: None, entries: vec![entry(9, NO_BODY)] },
            Part::Key(key("k")),
        ]
    }

    fn written(parts: &[Part]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for part in parts {
            writer.write(part).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn read(stream: &[u8]) -> Result<Vec<Part>, PortableError> {
        let mut reader = Reader::new(stream)?;
        let mut parts = Vec::new();
        while let Some(part) = reader.next_part()? {
            parts.push(part);
        }
        Ok(parts)
    }

    #[test]
    fn a_stream_comes_back() {
        for parts in [parts(), vec![]] {
            assert_eq!(read(&written(&parts)).unwrap(), parts);
        }
    }

    #[test]
    fn version_1_is_these_bytes() {
        let key = Key { key: "k".into(), value: Bytes::from_static(b"v"), expires_ms: 9 };
        let hex: String =
            written(&[Part::Key(key)]).iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = GOLDEN.replace([' ', '\n'], "");
        assert_eq!(hex, golden);
    }

    /// The checksums were computed by another program.
    const GOLDEN: &str = "
        77697265706f73742073706f6f6c206578706f72740a000000014b000000000000001400016b0100
        0000a76c7bc6000000000000000976e64d3e6f5a0000000000000018000000000000000000000000
        00000000000000000000000170621f05";

    #[test]
    fn every_cut_and_every_flipped_bit_is_found() {
        let whole = written(&parts());
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(read(&damaged).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn other_files_and_newer_versions_are_said_to_be_that() {
        assert!(matches!(read(b"#!/bin/sh\n"), Err(PortableError::Foreign)));
        assert!(matches!(read(&[b'x'; 100]), Err(PortableError::Foreign)));
        let mut newer = written(&parts());
        newer[MAGIC.len() + 3] = 2;
        assert!(matches!(read(&newer), Err(PortableError::Version(2))));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_reader_panic(tail in any::<Vec<u8>>()) {
            let mut stream = [MAGIC, &VERSION.to_be_bytes()].concat();
            stream.extend_from_slice(&tail);
            prop_assert!(read(&stream).is_err());
        }

        #[test]
        fn any_body_comes_back(id in 1..u64::MAX, content in any::<Vec<u8>>()) {
            let part = Part::Message { body: Some((id, content.into())), entries: vec![entry(1, id)] };
            let parts = vec![part];
            prop_assert_eq!(read(&written(&parts)).unwrap(), parts);
        }
    }
}
