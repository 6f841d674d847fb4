//! Phone numbers: what people write, to E.164.

mod plan;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use plan::{PLANS, Plan};

/// Fewest digits of an international number that is taken for one.
pub const E164_DIGITS_MIN: usize = 4;
/// Most digits of an international number (E.164 §6.1).
pub const E164_DIGITS_MAX: usize = 15;
/// Fewest digits of a short code.
pub const SHORT_CODE_DIGITS_MIN: usize = 3;
/// Most digits of a short code.
pub const SHORT_CODE_DIGITS_MAX: usize = 6;

/// Longest text that is looked at: fifteen digits, prefixes, and separators between them.
const RAW_OCTETS_MAX: usize = 64;

/// Why a text is not a phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// There are no digits.
    #[error("no digits")]
    Empty,
    /// It is longer than any number with its separators.
    #[error("longer than {RAW_OCTETS_MAX} octets")]
    TooLong,
    /// It holds something else than digits, separators and one leading plus.
    #[error("{0:?} does not belong in a phone number")]
    Character(char),
    /// It has too few or too many digits for an international number.
    #[error(
        "{0} digits: an international number has {E164_DIGITS_MIN} to {E164_DIGITS_MAX}, \
         the first not zero"
    )]
    International(usize),
    /// It has too few or too many digits for a national number.
    #[error("{digits} digits: a national number of {country} has {}", Span(*min, *max))]
    National {
        /// The country.
        country: Country,
        /// Digits without the trunk prefix.
        digits: usize,
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
    },
    /// It is national and no country is configured.
    #[error("not an international number, and no country is set for national ones")]
    NoCountry,
}

/// How many digits there may be, for people.
struct Span(usize, usize);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(min, max) if min == max => write!(f, "{min}"),
            Self(min, max) => write!(f, "{min} to {max}"),
        }
    }
}

/// A country whose dialling plan is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct Country(&'static Plan);

/// Not the ISO code of a country whose dialling plan is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the two-letter ISO code of a country with a known dialling plan")]
pub struct UnknownCountry(String);

/// An international number: a plus and 4 to 15 digits, the first not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct E164 {
    /// The plus and the digits, zero behind them.
    octets: [u8; E164_DIGITS_MAX + 1],
    length: u8,
}

/// A number as somebody may dial it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// An international number.
    E164(E164),
    /// A short code of the network, 3 to 6 digits.
    ShortCode(String),
}

/// The international number that `raw` means to somebody in `country`. Spaces, dots, hyphens,
/// slashes and parentheses are ignored. A leading `p` stands for `+`, which some mail programs
/// refuse in an address.
///
/// # Errors
/// See [`PhoneError`]; without a country only `+…` and `00…` are numbers.
pub fn normalize(raw: &str, country: Option<Country>) -> Result<E164, PhoneError> {
    let written = Written::read(raw)?;
    match written {
        Written { plus: true, digits } => abroad(digits.as_str()),
        Written { plus: false, digits } => match country {
            Some(country) => at_home(digits.as_str(), country),
            None => match digits.as_str().strip_prefix("00") {
                Some(international) => E164::from_digits(international),
                None => Err(PhoneError::NoCountry),
            },
        },
    }
}

/// As [`normalize`], but 3 to 6 digits without a plus are a short code.
///
/// # Errors
/// See [`PhoneError`].
pub fn normalize_or_short(raw: &str, country: Option<Country>) -> Result<Number, PhoneError> {
    let written = Written::read(raw)?;
    let digits = written.digits.as_str();
    if !written.plus && (SHORT_CODE_DIGITS_MIN..=SHORT_CODE_DIGITS_MAX).contains(&digits.len()) {
        return Ok(Number::ShortCode(digits.to_owned()));
    }
    normalize(raw, country).map(Number::E164)
}

impl E164 {
    /// A number from its digits without plus, as SMPP carries international ones (TON 1).
    ///
    /// # Errors
    /// Another character than a digit, or a wrong number of them.
    pub fn from_digits(digits: &str) -> Result<Self, PhoneError> {
        if let Some(other) = digits.chars().find(|character| !character.is_ascii_digit()) {
            return Err(PhoneError::Character(other));
        }
        let mut octets = [0; E164_DIGITS_MAX + 1];
        let fits = (E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&digits.len());
        let (Some(place), Ok(length)) =
            (octets.get_mut(1..=digits.len()), u8::try_from(digits.len() + 1))
        else {
            return Err(PhoneError::International(digits.len()));
        };
        if !fits || digits.starts_with('0') {
            return Err(PhoneError::International(digits.len()));
        }
        place.copy_from_slice(digits.as_bytes());
        octets[0] = b'+';
        Ok(Self { octets, length })
    }

    /// The number with its plus.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let octets = self.octets.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }

    /// The digits without plus.
    #[must_use]
    pub fn digits(&self) -> &str {
        let octets = self.octets.get(1..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for E164 {
    type Err = PhoneError;

    fn from_str(raw: &str) -> Result<Self, PhoneError> {
        normalize(raw, None)
    }
}

impl TryFrom<String> for E164 {
    type Error = PhoneError;

    fn try_from(raw: String) -> Result<Self, PhoneError> {
        raw.parse()
    }
}

impl From<E164> for String {
    fn from(number: E164) -> Self {
        number.as_str().to_owned()
    }
}

impl Country {
    /// Its ISO 3166-1 alpha-2 code.
    #[must_use]
    pub const fn iso(self) -> &'static str {
        self.0.iso
    }

    /// Its calling code.
    #[must_use]
    pub const fn calling_code(self) -> &'static str {
        self.0.calling
    }

    /// Every country whose plan is known, by ISO code.
    pub fn all() -> impl Iterator<Item = Self> {
        PLANS.iter().map(Self)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.iso())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.iso())
    }
}

impl FromStr for Country {
    type Err = UnknownCountry;

    fn from_str(iso: &str) -> Result<Self, UnknownCountry> {
        PLANS
            .iter()
            .find(|plan| plan.iso.eq_ignore_ascii_case(iso))
            .map(Self)
            .ok_or_else(|| UnknownCountry(iso.to_owned()))
    }
}

impl TryFrom<String> for Country {
    type Error = UnknownCountry;

    fn try_from(iso: String) -> Result<Self, UnknownCountry> {
        iso.parse()
    }
}

impl From<Country> for &'static str {
    fn from(country: Country) -> Self {
        country.iso()
    }
}

/// Digits behind a plus. Some write the trunk prefix after the calling code (`+33 06…`); it goes
/// if the number fits the plan only without it.
fn abroad(digits: &str) -> Result<E164, PhoneError> {
    let number = E164::from_digits(digits)?;
    let plan = PLANS.iter().find(|plan| digits.starts_with(plan.calling));
    let Some((plan, national)) =
        plan.and_then(|plan| Some((plan, digits.strip_prefix(plan.calling)?)))
    else {
        return Ok(number);
    };
    match plan.without_trunk(national) {
        Some(stripped) if !plan.fits(national) && plan.fits(stripped) => plan.number(stripped),
        _ => Ok(number),
    }
}

/// Digits as dialled in a country: its international prefix first, then a national number, then
/// what people write though it cannot be dialled: the calling code without a prefix, `00` where
/// another prefix is the rule.
fn at_home(digits: &str, country: Country) -> Result<E164, PhoneError> {
    let plan = country.0;
    if let Some(international) = digits.strip_prefix(plan.international)
        && let Ok(number) = E164::from_digits(international)
    {
        return Ok(number);
    }
    let stripped = plan.without_trunk(digits);
    for national in stripped.into_iter().chain([digits]) {
        if plan.fits(national) && !(plan.trunk_is_zero() && national.starts_with('0')) {
            return plan.number(national);
        }
    }
    if let Some(rest) = digits.strip_prefix(plan.calling)
        && plan.fits(rest)
    {
        return plan.number(rest);
    }
    if let Some(international) = digits.strip_prefix("00")
        && let Ok(number) = E164::from_digits(international)
    {
        return Ok(number);
    }
    Err(PhoneError::National {
        country,
        digits: stripped.unwrap_or(digits).len(),
        min: plan.digits_min,
        max: plan.digits_max,
    })
}

impl Plan {
    fn fits(&self, national: &str) -> bool {
        (self.digits_min..=self.digits_max).contains(&national.len())
    }

    fn without_trunk<'a>(&self, digits: &'a str) -> Option<&'a str> {
        if self.trunk.is_empty() { None } else { digits.strip_prefix(self.trunk) }
    }

    /// Whether a national number cannot begin with zero, as zero is the way out.
    fn trunk_is_zero(&self) -> bool {
        self.trunk == "0"
    }

    fn number(&self, national: &str) -> Result<E164, PhoneError> {
        E164::from_digits(&[self.calling, national].concat())
    }
}

/// What was written, without its separators.
struct Written {
    plus: bool,
    digits: Digits,
}

/// At most as many digits as were looked at.
struct Digits {
    octets: [u8; RAW_OCTETS_MAX],
    length: usize,
}

impl Digits {
    fn as_str(&self) -> &str {
        let octets = self.octets.get(..self.length).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl Written {
    fn read(raw: &str) -> Result<Self, PhoneError> {
        if raw.len() > RAW_OCTETS_MAX {
            return Err(PhoneError::TooLong);
        }
        let raw = raw.trim();
        let (plus, rest) = match raw.strip_prefix(['+', 'p', 'P']) {
            Some(rest) => (true, rest),
            None => (false, raw),
        };
        let mut digits = Digits { octets: [0; RAW_OCTETS_MAX], length: 0 };
        // "+33 (0)6": the zero in parentheses is for callers at home.
        let (before, after) = match rest.split_once("(0)") {
            Some((before, after)) if plus => (before, after),
            _ => (rest, ""),
        };
        for character in before.chars().chain(after.chars()) {
            match (character, digits.octets.get_mut(digits.length), u8::try_from(character)) {
                ('0'..='9', Some(place), Ok(octet)) => {
                    *place = octet;
                    digits.length += 1;
                }
                (' ' | '.' | '-' | '/' | '(' | ')' | '\u{A0}' | '\u{202F}', ..) => {}
                _ => return Err(PhoneError::Character(character)),
            }
        }
        if digits.length == 0 { Err(PhoneError::Empty) } else { Ok(Self { plus, digits }) }
    }
}

#[cfg(test)]
mod tests;
