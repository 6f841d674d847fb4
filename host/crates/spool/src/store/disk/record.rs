//! The bytes of every record, version 1. `FORMAT.md` is the description; this is the code.
//!
//! Numbers are big-endian. The checksum covers the record's key as well, so that a record under a
//! wrong key is found too.

use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Entry, Key};

/// The version of a record's layout, its first byte.
const VERSION: u8 = 1;
/// Where the checksum of every record sits.
const CRC_AT: usize = 4;
/// The part common to all records: version, three bytes of flags, checksum.
const HEADER_BYTES: usize = 8;
/// An entry's columns behind the header: body, due, expires, two lengths.
const COLUMNS_BYTES: usize = 8 + 8 + 8 + 2 + 2;
/// A body's flag: the content is a file of its own.
const IN_FILE: u8 = 1;

/// What does not fit, for [`crate::ReadError::Corrupt`].
pub(crate) type Misfit = &'static str;

/// Where a body's content is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Here.
    Inline(Bytes),
    /// In a file of its own, of this length and with this checksum.
    File { len: u64, crc: u32 },
}

pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let names = entry.target.len() + entry.account.len();
    let mut out = Vec::with_capacity(HEADER_BYTES + COLUMNS_BYTES + names + entry.bytes.len());
    out.extend_from_slice(&[VERSION, entry.state, entry.priority, 0, 0, 0, 0, 0]);
    for column in [entry.body, entry.due_ms, entry.expires_ms] {
        out.extend_from_slice(&column.to_be_bytes());
    }
    for name in [&entry.target, &entry.account] {
        // A batch with a longer name was refused.
        out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    out.extend_from_slice(entry.target.as_bytes());
    out.extend_from_slice(entry.account.as_bytes());
    out.extend_from_slice(&entry.bytes);
    seal(&entry.id.to_be_bytes(), &mut out);
    out
}

pub(crate) fn decode_entry(id: u64, record: &[u8]) -> Result<Entry, Misfit> {
    let mut rest = open(&id.to_be_bytes(), record)?;
    let body = take_u64(&mut rest)?;
    let due_ms = take_u64(&mut rest)?;
    let expires_ms = take_u64(&mut rest)?;
    let target_bytes = take_u16(&mut rest)?;
    let account_bytes = take_u16(&mut rest)?;
    let target = take_name(&mut rest, target_bytes)?;
    let account = take_name(&mut rest, account_bytes)?;
    let (state, priority) = (flag(record, 1), flag(record, 2));
    let bytes = Bytes::copy_from_slice(rest);
    Ok(Entry { id, body, target, state, due_ms, priority, account, expires_ms, bytes })
}

/// The body of an entry whose record does not hold together, if it is still to be seen.
pub(crate) fn guess_body(record: &[u8]) -> Option<u64> {
    take_u64(&mut record.get(HEADER_BYTES..)?).ok()
}

pub(crate) fn encode_body(id: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + content.len());
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(content);
    seal(&id.to_be_bytes(), &mut out);
    out
}

/// The record of a body whose content is a file.
pub(crate) fn encode_body_file(id: u64, content: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION, IN_FILE, 0, 0, 0, 0, 0, 0];
    let len = u64::try_from(content.len()).unwrap_or(u64::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&crc32fast::hash(content).to_be_bytes());
    seal(&id.to_be_bytes(), &mut out);
    out
}

pub(crate) fn decode_body(id: u64, record: &[u8]) -> Result<Body, Misfit> {
    let mut rest = open(&id.to_be_bytes(), record)?;
    match flag(record, 1) {
        0 => Ok(Body::Inline(Bytes::copy_from_slice(rest))),
        IN_FILE => Ok(Body::File { len: take_u64(&mut rest)?, crc: take_u32(&mut rest)? }),
        _ => Err("unknown kind of body"),
    }
}

pub(crate) fn encode_key(key: &Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + 8 + key.value.len());
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&key.expires_ms.to_be_bytes());
    out.extend_from_slice(&key.value);
    seal(&key.key, &mut out);
    out
}

pub(crate) fn decode_key(key: &[u8], record: &[u8]) -> Result<Key, Misfit> {
    let mut rest = open(key, record)?;
    let expires_ms = take_u64(&mut rest)?;
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(rest));
    Ok(Key { key, value, expires_ms })
}

/// Writes the checksum into a record that is otherwise complete.
fn seal(key: &[u8], record: &mut [u8]) {
    let crc = checksum(key, record);
    if let Some(place) = record.get_mut(CRC_AT..HEADER_BYTES) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
}

/// Checks version and checksum; what follows the header.
fn open<'a>(key: &[u8], record: &'a [u8]) -> Result<&'a [u8], Misfit> {
    let rest = record.get(HEADER_BYTES..).ok_or("shorter than its header")?;
    if flag(record, 0) != VERSION {
        return Err("unknown version");
    }
    let stored = take_u32(&mut record.get(CRC_AT..).unwrap_or_default())?;
    if stored == checksum(key, record) { Ok(rest) } else { Err("the checksum does not match") }
}

/// Over the key and the record without the place of the checksum itself.
fn checksum(key: &[u8], record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(record.get(..CRC_AT).unwrap_or_default());
    hasher.update(record.get(HEADER_BYTES..).unwrap_or_default());
    hasher.finalize()
}

fn flag(record: &[u8], at: usize) -> u8 {
    record.get(at).copied().unwrap_or(0)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Misfit> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("it ends too early")?;
    *rest = tail;
    Ok(*head)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, Misfit> {
    take(rest).map(u64::from_be_bytes)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Misfit> {
    take(rest).map(u32::from_be_bytes)
}

fn take_u16(rest: &mut &[u8]) -> Result<u16, Misfit> {
    take(rest).map(u16::from_be_bytes)
}

fn take_name(rest: &mut &[u8], bytes: u16) -> Result<Arc<str>, Misfit> {
    let (name, tail) = rest.split_at_checked(bytes.into()).ok_or("a name ends too early")?;
    *rest = tail;
    let Ok(name) = std::str::from_utf8(name) else { return Err("a name is not UTF-8") };
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let names = ("[a-zé-]{0,40}", "[a-zé-]{0,40}");
        let numbers = any::<(u64, u64, u64, u64, u8, u8)>();
        (numbers, names, any::<Vec<u8>>()).prop_map(|(n, names, bytes)| Entry {
            id: n.0,
            body: n.1,
            target: names.0.into(),
            state: n.4,
            due_ms: n.2,
            priority: n.5,
            account: names.1.into(),
            expires_ms: n.3,
            bytes: bytes.into(),
        })
    }

    #[test]
    fn version_1_is_these_bytes() {
        let entry = Entry {
            id: 2,
            body: 3,
            target: "ab".into(),
            state: 4,
            due_ms: 5,
            priority: 6,
            account: "c".into(),
            expires_ms: u64::MAX,
            bytes: Bytes::from_static(b"xyz"),
        };
        let record = encode_entry(&entry);
        // The checksums were computed by another program.
        let golden = "01040600 1a4fb593 0000000000000003 0000000000000005 ffffffffffffffff 0002 0001 6162 63 78797a";
        assert_eq!(hex(&record), golden.replace(' ', ""));
        assert_eq!(hex(&encode_body(7, b"hi")), "01000000460aacbf6869");
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_and_no_damage_goes_unseen(
            entry in entries(),
            cut in any::<proptest::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut record = encode_entry(&entry);
            prop_assert_eq!(decode_entry(entry.id, &record), Ok(entry.clone()));
            prop_assert!(decode_entry(entry.id ^ 1, &record).is_err());
            let at = cut.index(record.len());
            prop_assert!(decode_entry(entry.id, &record[..at]).is_err());
            record[at] ^= 1 << bit;
            prop_assert!(decode_entry(entry.id, &record).is_err());
        }

        #[test]
        fn bodies_and_keys_come_back(id in any::<u64>(), key in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
            let inline = Body::Inline(Bytes::from(value.clone()));
            prop_assert_eq!(decode_body(id, &encode_body(id, &value)), Ok(inline));
            let file = Body::File { len: value.len() as u64, crc: crc32fast::hash(&value) };
            prop_assert_eq!(decode_body(id, &encode_body_file(id, &value)), Ok(file));
            let key = Key { key: key.into(), value: value.into(), expires_ms: id };
            prop_assert_eq!(decode_key(&key.key, &encode_key(&key)), Ok(key.clone()));
        }

        #[test]
        fn nothing_makes_the_decoders_panic(id in any::<u64>(), bytes in any::<Vec<u8>>()) {
            prop_assert!(decode_entry(id, &bytes).is_err());
            prop_assert!(decode_body(id, &bytes).is_err());
            prop_assert!(decode_key(&bytes, &bytes).is_err());
            let _seen = guess_body(&bytes);
        }
    }
}
