//! The parameters of MAIL and RCPT (RFC 1870, 3461, 4954, 6152, 6531).

use std::fmt;

use crate::command::CommandError;

/// Longest ENVID, as encoded (RFC 3461 §4.4).
const ENVID_OCTETS_MAX: usize = 100;
/// Longest ORCPT, as encoded (RFC 3461 §4.2).
const ORCPT_OCTETS_MAX: usize = 500;

/// What MAIL said besides the sender.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParams {
    /// `SIZE=`: octets of the message as the peer counts them; a number too large is `u64::MAX`.
    pub size_bytes: Option<u64>,
    /// `BODY=`.
    pub body: Option<Body>,
    /// `SMTPUTF8`: addresses and header may hold UTF-8.
    pub smtputf8: bool,
    /// `RET=`: what a report about this message returns of it.
    pub ret: Option<Ret>,
    /// `ENVID=`: the sender's own name for the message, as encoded.
    pub envid: Option<Xtext>,
    /// `AUTH=`: who the peer says submitted it, as encoded; not to be believed (RFC 4954 §5).
    pub auth: Option<Xtext>,
}

/// How the message is encoded (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Octets up to 127 only.
    SevenBit,
    /// Lines of any octets.
    EightBitMime,
}

/// What a delivery report returns (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header only.
    Headers,
}

/// What RCPT said besides the recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcptParams {
    /// `NOTIFY=`: when the sender wants a report; `None` leaves it to custom (failures).
    pub notify: Option<Notify>,
    /// `ORCPT=`: the recipient as the first sender wrote it.
    pub orcpt: Option<OriginalRecipient>,
}

/// When the sender wants a report (RFC 3461 §4.1). `NEVER` is all three false.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notify {
    /// When it is delivered.
    pub success: bool,
    /// When it fails.
    pub failure: bool,
    /// When it is late.
    pub delay: bool,
}

impl Notify {
    /// `NOTIFY=NEVER`.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };

    /// Reads `NEVER`, or a list of `SUCCESS`, `FAILURE` and `DELAY` apart by commas.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self::NEVER);
        }
        let mut notify = Self::NEVER;
        for word in value.split(',') {
            match word {
                _ if word.eq_ignore_ascii_case("SUCCESS") => notify.success = true,
                _ if word.eq_ignore_ascii_case("FAILURE") => notify.failure = true,
                _ if word.eq_ignore_ascii_case("DELAY") => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("NEVER");
        }
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let mut separator = "";
        for (_, word) in words.into_iter().filter(|(wanted, _)| *wanted) {
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// `ORCPT=kind;address` (RFC 3461 §4.2, RFC 6533 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    kind: Box<str>,
    address: Xtext,
}

impl OriginalRecipient {
    /// Takes `kind;address`, the address encoded; `None` when it is not that or longer than 500
    /// octets (RFC 3461 §4.2).
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (kind, address) = value.split_once(';')?;
        let is_atom = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        if kind.is_empty() || !kind.bytes().all(is_atom) || value.len() > ORCPT_OCTETS_MAX {
            return None;
        }
        Some(Self { kind: kind.into(), address: Xtext::parse(address)? })
    }

    /// The kind of address, `rfc822` as a rule.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address, as encoded.
    #[must_use]
    pub fn address(&self) -> &Xtext {
        &self.address
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

/// A value in the encoding of RFC 3461 §4 (`+3D` is `=`), kept as the peer wrote it so that it goes
/// on unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Xtext(Box<str>);

impl Xtext {
    /// Takes an encoded value: printable, without blanks, not empty.
    #[must_use]
    pub fn parse(encoded: &str) -> Option<Self> {
        let is_plain = |octet: u8| octet.is_ascii_graphic() || octet >= 128;
        (!encoded.is_empty() && encoded.bytes().all(is_plain)).then(|| Self(encoded.into()))
    }

    /// Encodes a value; `None` for the empty one, which has no encoding.
    #[must_use]
    pub fn encode(plain: &str) -> Option<Self> {
        const HEX: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
        let hex = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
        let mut encoded = String::with_capacity(plain.len());
        for octet in plain.bytes() {
            if octet.is_ascii_graphic() && !matches!(octet, b'+' | b'=') {
                encoded.push(char::from(octet));
            } else {
                encoded.extend(['+', hex(octet >> 4), hex(octet & 15)]);
            }
        }
        Self::parse(&encoded)
    }

    /// The value as encoded.
    #[must_use]
    pub fn as_encoded(&self) -> &str {
        &self.0
    }

    /// The plain value. Escapes that are none stand for themselves, octets that are no UTF-8 become
    /// U+FFFD.
    #[must_use]
    pub fn decode(&self) -> String {
        let mut plain = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            match (first, tail) {
                (b'+', [high, low, after @ ..])
                    if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    plain.push(nibble(*high) << 4 | nibble(*low));
                    rest = after;
                }
                _ => {
                    plain.push(*first);
                    rest = tail;
                }
            }
        }
        String::from_utf8(plain)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

impl fmt::Display for Xtext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MailParams {
    pub(crate) fn parse(input: &str) -> Result<Self, CommandError> {
        let mut params = Self::default();
        let mut seen = Seen::default();
        for (key, value) in words(input) {
            let name = seen.note(key, &["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"])?;
            let invalid = || CommandError::InvalidParameter(name);
            match (name, value) {
                ("SIZE", Some(value)) => {
                    params.size_bytes = Some(parse_size(value).ok_or_else(invalid)?);
                }
                ("BODY", Some(value)) => params.body = Some(parse_body(value).ok_or_else(invalid)?),
                ("SMTPUTF8", None) => params.smtputf8 = true,
                ("RET", Some(value)) => params.ret = Some(parse_ret(value).ok_or_else(invalid)?),
                ("ENVID", Some(value)) if value.len() <= ENVID_OCTETS_MAX => {
                    params.envid = Some(Xtext::parse(value).ok_or_else(invalid)?);
                }
                ("AUTH", Some(value)) => {
                    params.auth = Some(Xtext::parse(value).ok_or_else(invalid)?);
                }
                _ => return Err(invalid()),
            }
        }
        Ok(params)
    }
}

impl RcptParams {
    pub(crate) fn parse(input: &str) -> Result<Self, CommandError> {
        let mut params = Self::default();
        let mut seen = Seen::default();
        for (key, value) in words(input) {
            let name = seen.note(key, &["NOTIFY", "ORCPT"])?;
            let invalid = || CommandError::InvalidParameter(name);
            match (name, value) {
                ("NOTIFY", Some(value)) => {
                    params.notify = Some(Notify::parse(value).ok_or_else(invalid)?);
                }
                ("ORCPT", Some(value)) => {
                    params.orcpt = Some(OriginalRecipient::parse(value).ok_or_else(invalid)?);
                }
                _ => return Err(invalid()),
            }
        }
        Ok(params)
    }
}

/// Parameters met so far, one bit each: none may come twice.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn note(&mut self, key: &str, known: &[&'static str]) -> Result<&'static str, CommandError> {
        let found = known.iter().enumerate().find(|(_, name)| key.eq_ignore_ascii_case(name));
        let Some((index, name)) = found else { return Err(CommandError::UnknownParameter) };
        let bit = 1_u8.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
        if self.0 & bit != 0 {
            return Err(CommandError::InvalidParameter(name));
        }
        self.0 |= bit;
        Ok(name)
    }
}

fn words(input: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    input.split([' ', '\t']).filter(|word| !word.is_empty()).map(|word| {
        match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        }
    })
}

fn parse_size(value: &str) -> Option<u64> {
    let digits_only = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
    digits_only.then(|| value.parse().unwrap_or(u64::MAX))
}

fn parse_body(value: &str) -> Option<Body> {
    match value {
        _ if value.eq_ignore_ascii_case("7BIT") => Some(Body::SevenBit),
        _ if value.eq_ignore_ascii_case("8BITMIME") => Some(Body::EightBitMime),
        _ => None,
    }
}

fn parse_ret(value: &str) -> Option<Ret> {
    match value {
        _ if value.eq_ignore_ascii_case("FULL") => Some(Ret::Full),
        _ if value.eq_ignore_ascii_case("HDRS") => Some(Ret::Headers),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_parameters() {
        let params = MailParams::parse(
            " size=99999999999999999999999 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=a+3Db AUTH=<>",
        )
        .unwrap();
        assert_eq!(params.size_bytes, Some(u64::MAX));
        assert_eq!(params.body, Some(Body::EightBitMime));
        assert!(params.smtputf8);
        assert_eq!(params.ret, Some(Ret::Headers));
        assert_eq!(params.envid.map(|envid| envid.decode()), Some("a=b".to_owned()));
        assert_eq!(params.auth.as_ref().map(Xtext::as_encoded), Some("<>"));
    }

    #[test]
    fn refused_parameters() {
        let invalid = CommandError::InvalidParameter;
        for (input, expect) in [
            ("SIZE", invalid("SIZE")),
            ("SIZE=", invalid("SIZE")),
            ("SIZE=-1", invalid("SIZE")),
            ("SIZE=1 SIZE=2", invalid("SIZE")),
            ("BODY=BINARYMIME", invalid("BODY")),
            ("SMTPUTF8=1", invalid("SMTPUTF8")),
            ("RET=ALL", invalid("RET")),
            ("ENVID=", invalid("ENVID")),
            ("X=1", CommandError::UnknownParameter),
            ("=", CommandError::UnknownParameter),
        ] {
            assert_eq!(MailParams::parse(input), Err(expect), "{input}");
        }
        for (input, expect) in [
            ("NOTIFY=NEVER,SUCCESS", invalid("NOTIFY")),
            ("NOTIFY=", invalid("NOTIFY")),
            ("ORCPT=rfc822", invalid("ORCPT")),
            ("ORCPT=;a@b", invalid("ORCPT")),
        ] {
            assert_eq!(RcptParams::parse(input), Err(expect), "{input}");
        }
    }

    #[test]
    fn recipient_parameters_print_as_they_came() {
        let params = RcptParams::parse("NOTIFY=success,DELAY ORCPT=utf-8;a+2Bb@c").unwrap();
        assert_eq!(params.notify.unwrap().to_string(), "SUCCESS,DELAY");
        assert_eq!(params.orcpt.unwrap().to_string(), "utf-8;a+2Bb@c");
        assert_eq!(Notify::NEVER.to_string(), "NEVER");
    }

    #[test]
    fn xtext_goes_both_ways() {
        for plain in ["a", "a+b=c d", "grüße\r\n", "~!"] {
            let encoded = Xtext::encode(plain).unwrap();
            assert!(encoded.as_encoded().is_ascii());
            assert_eq!(encoded.decode(), plain);
        }
        assert_eq!(Xtext::encode(""), None);
        assert_eq!(Xtext::parse("+4+zz+41").unwrap().decode(), "+4+zzA");
    }
}
