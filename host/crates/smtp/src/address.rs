//! Mailboxes and paths as MAIL and RCPT carry them (RFC 5321 §4.1.2).

use std::fmt;

/// Longest mailbox taken: a local part of 64 octets, `@` and a domain of 255 (RFC 5321 §4.5.3.1).
pub const PATH_OCTETS_MAX: usize = 64 + 1 + 255;

/// A mailbox exactly as the peer wrote it, without angle brackets and source route.
///
/// A quoted local part stays quoted. The domain may be missing (`<postmaster>`, `<+15551234>`):
/// what such a name means is for the host to say.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    text: Box<str>,
    at: Option<usize>,
}

impl Mailbox {
    /// Reads a whole mailbox, without angle brackets.
    ///
    /// # Errors
    /// When the text is not one mailbox.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (mailbox, rest) = scan(text.as_bytes())?;
        if rest.is_empty() { Ok(mailbox) } else { Err(AddressError::Syntax) }
    }

    /// The mailbox as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`, still quoted if it was.
    #[must_use]
    pub fn local_part(&self) -> &str {
        match self.at {
            Some(at) => self.text.get(..at).unwrap_or_default(),
            None => &self.text,
        }
    }

    /// What stands behind the `@`; `None` for a bare name such as `postmaster`.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.at.and_then(|at| self.text.get(at.saturating_add(1)..))
    }

    /// Whether only a peer with SMTPUTF8 can take it (RFC 6531 §3.2).
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

/// The sender of a transaction: a mailbox, or nobody (`<>`, for mail about mail).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: no answer may be sent to it.
    Null,
    /// Where answers go.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The mailbox as written, empty for `<>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Null => "",
            Self::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    /// Whether only a peer with SMTPUTF8 can take it.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.as_str().is_ascii()
    }
}

/// Why a path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a mailbox.
    #[error("not a mailbox")]
    Syntax,
    /// Longer than [`PATH_OCTETS_MAX`].
    #[error("address longer than {PATH_OCTETS_MAX} octets")]
    TooLong,
    /// Octets above 127 that are not UTF-8.
    #[error("address is not UTF-8")]
    NotUtf8,
}

/// Reads a path at the front of `input` and returns it with what follows it.
///
/// Deviations that real senders need are taken: blanks before the path, and a path without angle
/// brackets up to the next blank. `None` is the empty path.
pub(crate) fn parse_path(input: &[u8]) -> Result<(Option<Mailbox>, &[u8]), AddressError> {
    let input = input.trim_ascii_start();
    let Some(inner) = input.strip_prefix(b"<") else {
        let (mailbox, rest) = scan(input)?;
        return at_word_end(Some(mailbox), rest);
    };
    if let Some(rest) = inner.strip_prefix(b">") {
        return at_word_end(None, rest);
    }
    let (mailbox, rest) = scan(without_source_route(inner)?)?;
    at_word_end(Some(mailbox), rest.strip_prefix(b">").ok_or(AddressError::Syntax)?)
}

fn at_word_end(
    mailbox: Option<Mailbox>,
    rest: &[u8],
) -> Result<(Option<Mailbox>, &[u8]), AddressError> {
    match rest.first() {
        None | Some(b' ' | b'\t') => Ok((mailbox, rest)),
        Some(_) => Err(AddressError::Syntax),
    }
}

/// `@hop,@hop:mailbox` means `mailbox` (RFC 5321 appendix C).
fn without_source_route(input: &[u8]) -> Result<&[u8], AddressError> {
    if input.first() != Some(&b'@') {
        return Ok(input);
    }
    let colon = memchr::memchr2(b':', b'>', input).ok_or(AddressError::Syntax)?;
    match input.split_at_checked(colon) {
        Some((_, rest)) if rest.first() == Some(&b':') => {
            Ok(rest.split_first().map_or(rest, |(_, mailbox)| mailbox))
        }
        _ => Err(AddressError::Syntax),
    }
}

/// Reads a mailbox up to the first octet that cannot belong to it.
fn scan(input: &[u8]) -> Result<(Mailbox, &[u8]), AddressError> {
    let local_octets = local_part_octets(input)?;
    let (_, after_local) = input.split_at_checked(local_octets).ok_or(AddressError::Syntax)?;
    let (at, octets) = match after_local.strip_prefix(b"@") {
        Some(domain) => (
            Some(local_octets),
            local_octets.saturating_add(1).saturating_add(domain_octets(domain)?),
        ),
        None => (None, local_octets),
    };
    if octets > PATH_OCTETS_MAX {
        return Err(AddressError::TooLong);
    }
    let (text, rest) = input.split_at_checked(octets).ok_or(AddressError::Syntax)?;
    let Ok(text) = std::str::from_utf8(text) else { return Err(AddressError::NotUtf8) };
    Ok((Mailbox { text: text.into(), at }, rest))
}

fn local_part_octets(input: &[u8]) -> Result<usize, AddressError> {
    if input.first() == Some(&b'"') {
        return quoted_octets(input);
    }
    // Dots may stand anywhere: some carriers hand out such mailboxes.
    let octets = input.iter().take_while(|octet| is_local_octet(**octet)).count();
    if octets == 0 { Err(AddressError::Syntax) } else { Ok(octets) }
}

fn quoted_octets(input: &[u8]) -> Result<usize, AddressError> {
    let mut escaped = false;
    for (index, octet) in input.iter().enumerate().skip(1) {
        match octet {
            0..=31 | 127 => return Err(AddressError::Syntax),
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(index.saturating_add(1)),
            _ => {}
        }
    }
    Err(AddressError::Syntax)
}

fn is_local_octet(octet: u8) -> bool {
    const SPECIAL: &[u8] = b"<>()[]\\,;:\"@";
    octet >= 128 || (octet.is_ascii_graphic() && !SPECIAL.contains(&octet))
}

fn domain_octets(input: &[u8]) -> Result<usize, AddressError> {
    if input.first() == Some(&b'[') {
        let end = memchr::memchr(b']', input).ok_or(AddressError::Syntax)?;
        let literal = input.get(1..end).unwrap_or_default();
        let plain =
            |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b'[' | b'<' | b'>' | b'\\');
        let valid = !literal.is_empty() && literal.iter().all(plain);
        return if valid { Ok(end.saturating_add(1)) } else { Err(AddressError::Syntax) };
    }
    let is_domain_octet =
        |octet: &&u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | 128..);
    let octets = input.iter().take_while(is_domain_octet).count();
    let domain = input.get(..octets).unwrap_or_default();
    let empty_label = domain.split(|octet| *octet == b'.').any(<[u8]>::is_empty);
    if empty_label { Err(AddressError::Syntax) } else { Ok(octets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expect: Option<(&str, Option<&str>)>) {
        let parsed = parse_path(input.as_bytes());
        let got = match &parsed {
            Ok((Some(mailbox), rest)) => {
                assert!(rest.is_empty(), "left over after {input:?}: {rest:?}");
                Some((mailbox.local_part(), mailbox.domain()))
            }
            Ok((None, _)) => Some(("", None)),
            Err(_) => None,
        };
        assert_eq!(got, expect, "{input}");
    }

    #[test]
    fn paths() {
        check("<>", Some(("", None)));
        check("<a@b.example>", Some(("a", Some("b.example"))));
        check(" <a@b>", Some(("a", Some("b"))));
        check("a@b", Some(("a", Some("b"))));
        check("<postmaster>", Some(("postmaster", None)));
        check("<+15551234567>", Some(("+15551234567", None)));
        check("<@hop.example,@two.example:a@b>", Some(("a", Some("b"))));
        check("<\"a b\\\"@c>\"@d>", Some(("\"a b\\\"@c>\"", Some("d"))));
        check("<..a.@b>", Some(("..a.", Some("b"))));
        check("<a@[192.0.2.1]>", Some(("a", Some("[192.0.2.1]"))));
        check("<a@[IPv6:2001:db8::1]>", Some(("a", Some("[IPv6:2001:db8::1]"))));
        check("<björn@bücher.example>", Some(("björn", Some("bücher.example"))));
    }

    #[test]
    fn not_paths() {
        for input in [
            "",
            "<",
            "<a",
            "<a@b",
            "<a@>",
            "<@b>",
            "<a@b>c",
            "<a@@b>",
            "<a b@c>",
            "<a@b..c>",
            "<a@b.>",
            "<\"a@b>",
            "<a@[]>",
            "<a@[1<2]>",
            "<a\u{0}@b>",
            "<@hop>",
            "<@hop:>",
            "<<a@b>>",
            "a@b>",
        ] {
            check(input, None);
        }
    }

    #[test]
    fn an_address_that_is_too_long_says_so() {
        let long = format!("<{}@b.example>", "a".repeat(PATH_OCTETS_MAX));
        assert_eq!(parse_path(long.as_bytes()), Err(AddressError::TooLong));
        assert_eq!(parse_path(b"<a\xff@b>"), Err(AddressError::NotUtf8));
    }
}
