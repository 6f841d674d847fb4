//! Phone numbers and mailboxes in texts that reach the log: a keyed hash in their place, so that the
//! records about one person can be found without telling who it is. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Fewer digits are no phone number; more are an id of ours (E.164 §6: 15 at most).
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Longer is no local part (RFC 5321 §4.5.3.1.1 has 64).
const LOCAL_MAX: usize = 256;
/// Octets of the hash that are shown.
const SHOWN: usize = 4;

/// What makes hashes different from those of everybody else.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// From random octets.
    #[must_use]
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    fn hash(&self, what: &str) -> String {
        let digest = Sha256::new().chain_update(self.0).chain_update(what).finalize();
        let mut hash = String::with_capacity(2 * SHOWN);
        for octet in digest.iter().take(SHOWN) {
            // Writing to a string cannot fail.
            let _written = write!(hash, "{octet:02x}");
        }
        hash
    }

    /// The text with its numbers as `~HASH..78` and its mailboxes as `~HASH@domain`.
    #[must_use]
    pub fn conceal<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.conceal_but(text, |_, _| false)
    }

    /// The same of a text that we made: what says how large something is stays.
    #[must_use]
    pub fn conceal_ours<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.conceal_but(text, is_size)
    }

    fn conceal_but<'a>(&self, text: &'a str, stays: impl Fn(&str, &str) -> bool) -> Cow<'a, str> {
        let mut out = String::new();
        let mut kept = 0;
        let mut at = 0;
        while let Some(found) = next_secret(text, at) {
            let (_, end) = found.range();
            if let Found::Number(start, _) = found
                && let Some((number, behind)) = text.get(start..end).zip(text.get(end..))
                && stays(number, behind)
            {
                at = end;
                continue;
            }
            let (start, end) = found.range();
            out.push_str(text.get(kept..start).unwrap_or_default());
            let secret = text.get(start..end).unwrap_or_default();
            match found {
                Found::Number(..) => out.push_str(&self.number(secret)),
                Found::Mailbox(..) => out.push_str(&self.mailbox(secret)),
            }
            (kept, at) = (end, end);
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(text.get(kept..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// However it is written, the same number has the same hash.
    fn number(&self, text: &str) -> String {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let last = digits.get(digits.len().saturating_sub(2)..).unwrap_or_default();
        format!("~{}..{last}", self.hash(&digits))
    }

    fn mailbox(&self, text: &str) -> String {
        let domain = text.rsplit_once('@').map_or("", |(_, domain)| domain);
        format!("~{}@{domain}", self.hash(&text.to_lowercase()))
    }
}

/// Whether a number, with what is behind it, is a size. Nobody writes a phone number so, and one that
/// begins with `+` is none.
fn is_size(number: &str, behind: &str) -> bool {
    const UNITS: [&str; 2] = [" octets", " bytes"];
    let ends =
        |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '=');
    !number.starts_with('+') && UNITS.iter().any(|unit| behind.strip_prefix(unit).is_some_and(ends))
}

/// Something to conceal, and where it stands.
#[derive(Clone, Copy)]
enum Found {
    Number(usize, usize),
    Mailbox(usize, usize),
}

impl Found {
    const fn range(self) -> (usize, usize) {
        match self {
            Self::Number(start, end) | Self::Mailbox(start, end) => (start, end),
        }
    }
}

/// The first one that begins at `from` or later.
fn next_secret(text: &str, from: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..)?;
        if (is_local(byte) || byte == b'"')
            && let Some(length) = mailbox(rest)
        {
            return Some(Found::Mailbox(at, at + length));
        }
        if byte == b'+' || byte.is_ascii_digit() {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before)).copied();
            let length = number(rest);
            let after = bytes.get(at + length.1).copied();
            let alone = !before.is_some_and(is_word) && !after.is_some_and(is_word);
            if DIGITS.contains(&length.0) && alone {
                return Some(Found::Number(at, at + length.1));
            }
            at += length.1.max(1);
        } else if is_local(byte) {
            // A word that is no mailbox.
            at += rest.iter().take_while(|byte| is_local(**byte) && !byte.is_ascii_digit()).count();
        } else {
            at += 1;
        }
    }
    None
}

/// Digits and octets of the number that this begins with; after a `+` it may have spaces and the like
/// in it.
fn number(text: &[u8]) -> (usize, usize) {
    let plus = text.first() == Some(&b'+');
    let (mut digits, mut length) = (0, 0);
    let mut before_gap = None;
    for (at, &byte) in text.iter().enumerate().skip(usize::from(plus)) {
        if byte.is_ascii_digit() {
            digits += 1;
            length = at + 1;
            if digits > *DIGITS.end()
                && let Some(shorter) = before_gap
            {
                // Another number follows.
                return shorter;
            }
        } else if plus && b" -.()/".contains(&byte) && at == length {
            before_gap = Some((digits, length));
        } else if let Some(shorter) = before_gap.filter(|_| is_word(byte) && at == length) {
            // A word that begins with digits follows.
            return shorter;
        } else {
            break;
        }
    }
    (digits, length)
}

/// The length of the mailbox that this begins with.
fn mailbox(text: &[u8]) -> Option<usize> {
    let local = match text.first() {
        Some(b'"') => 2 + text.get(1..)?.iter().position(|byte| *byte == b'"')?,
        _ => text.iter().take(LOCAL_MAX).take_while(|byte| is_local(**byte)).count(),
    };
    let domain = text.get(local..)?.strip_prefix(b"@")?;
    let length = domain.iter().take_while(|byte| is_domain(**byte)).count();
    let domain = domain.get(..length)?;
    let trailing = domain.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-')).count();
    // `name@hash` is a plugin.
    let is_hash = length >= 8 && domain.iter().all(u8::is_ascii_hexdigit);
    let length = length - trailing;
    (length > 0 && !is_hash).then_some(local + 1 + length)
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// What may stand before the `@` (RFC 5322 §3.2.3), but for what often stands around addresses.
fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$%&'*+-^_~".contains(&byte) || byte >= 0x80
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-".contains(&byte) || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let key = Key::new([7; 32]);
        let concealed = key.conceal(text).into_owned();
        // Hashes are what they are; that they are keyed and equal for equals is asked below.
        let mut shape = String::new();
        let mut rest = concealed.as_str();
        while let Some((before, after)) = rest.split_once('~') {
            shape.push_str(before);
            shape.push('~');
            rest = after.get(8..).unwrap();
        }
        shape.push_str(rest);
        assert_eq!(shape, expect);
    }

    #[test]
    fn numbers_keep_their_last_two_digits() {
        check("to +33612345678, again", "to ~..78, again");
        check("33612345678", "~..78");
        check("+33 6 12-34 56 78 is it", "~..78 is it");
        check("numbers 0612345678 and 0712345679.", "numbers ~..78 and ~..79.");
        check("é33612345678é", "é~..78é");
        check("+33612345678 1234567890", "~..78 ~..90");
        check("+33612345678 0A", "~..78 0A");
    }

    #[test]
    fn mailboxes_keep_their_domain() {
        check("RCPT TO:<alice@example.org>", "RCPT TO:<~@example.org>");
        check("a.b+c@x.org. 33700@sms.test", "~@x.org. ~@sms.test");
        check("\"a b\"@example.org", "~@example.org");
        check("ann@localhost", "~@localhost");
        check("0612345678@sms.example.net", "~@sms.example.net");
        check("jürgen@bücher.example", "~@bücher.example");
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "",
            "id 257884012345678901 from 127.0.0.1:2525 and 192.168.100.200",
            "2026-11-26T22:15:31.123Z",
            "stop-words@3fa91b2c and @decider",
            "0x00000058 33700 123456",
            "took 1.234567s",
            "a@ @b",
            "+",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn sizes_in_texts_of_ours_stay() {
        use crate::plugin::{LoadError, LoadStep};
        let key = Key::new([7; 32]);
        let (reason, remedy) =
            ("it has 17904321 octets, 16777216 octets fit".to_owned(), String::new());
        let full = spool::CommitError::Full { free_bytes: 123_456_789, reserve_bytes: 1 << 30 };
        for text in [
            "the plugin wanted more than its 1048576 octets of memory".to_owned(),
            LoadError { step: LoadStep::Read, reason, remedy }.to_string(),
            full.to_string(),
        ] {
            assert_eq!(key.conceal_ours(&text), text);
            assert_ne!(key.conceal(&text), text, "others may have written it");
        }
        for text in [
            "to +33612345678 octets 140",
            "33612345678 octets=140",
            "33612345678 octetsandmore",
            "33612345678, octets",
            "33612345678",
            "ann@example.org has 1048576 octets, 33612345678 as well",
        ] {
            let concealed = key.conceal_ours(text);
            assert!(
                !concealed.contains("33612345678") && !concealed.contains("ann@"),
                "{concealed}"
            );
        }
    }

    #[test]
    fn the_same_number_has_the_same_hash_under_the_same_key() {
        let (key, other) = (Key::new([7; 32]), Key::new([8; 32]));
        let concealed = key.conceal("+33 612345678");
        assert_eq!(concealed, key.conceal("33612345678"));
        assert_ne!(concealed, other.conceal("33612345678"));
        assert_ne!(concealed, key.conceal("33612345778"));
        assert_eq!(
            key.conceal("Ann@x.org").split('@').next(),
            key.conceal("ann@x.org").split('@').next()
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic_and_no_number_of_a_text_remains(before in ".{0,20}", after in ".{0,20}") {
            let text = format!("{before} +33612345678 {after}");
            proptest::prop_assert!(!Key::new([1; 32]).conceal(&text).contains("33612345678"));
        }
    }
}
