//! Times: `YYMMDDhhmmsstnnp` and what the field makes of it (SMPP v3.4 §7.1.1).
use std::fmt::Write;

use crate::octets::Octets;

const MILLIS_PER_SECOND: i64 = 1000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A time as SMPP writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// A point in time: milliseconds since 1970 UTC.
    Absolute(i64),
    /// A span from the moment of acceptance.
    Relative(Span),
}

/// A relative time. Months and years are the calendar's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Calendar years
    pub years: u8,
    /// Calendar months
    pub months: u8,
    /// Days
    pub days: u8,
    /// Hours
    pub hours: u8,
    /// Minutes
    pub minutes: u8,
    /// Seconds
    pub seconds: u8,
}

impl Time {
    /// Reads a time field. Besides the sixteen characters of the standard it takes 10, 12 and 14
    /// digits (`YYMMDDhhmm`, `YYMMDDhhmmss`, `YYYYMMDDhhmmss`), UTC, as receipts have them, and
    /// 13 digits with a zone. `None` if it is empty or no time.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (number, mark) = text.split_at_checked(digits)?;
        match (digits, mark) {
            (15, b"R") => span(number).map(Self::Relative),
            (15, [sign @ (b'+' | b'-')]) => {
                let tenths = i64::from(pair(number, 12)? / 10);
                let quarters = i64::from(pair(number, 13)?);
                let zone = quarters * 15 * 60 * if *sign == b'+' { 1 } else { -1 };
                Some(Self::Absolute(point(number, 0)? + tenths * 100 - zone * MILLIS_PER_SECOND))
            }
            // "…t" + "nn" with the quarter hours missing or cut: the zone cannot be trusted.
            (12..=16, [b'+' | b'-']) | (10 | 12 | 13, []) => point(number, 0).map(Self::Absolute),
            (14, []) => point(number, 2).map(Self::Absolute),
            _ => None,
        }
    }

    /// The point in time that it means for a message accepted at `now_ms` (milliseconds since
    /// 1970 UTC).
    #[must_use]
    pub fn to_timestamp(self, now_ms: i64) -> i64 {
        match self {
            Self::Absolute(at) => at,
            Self::Relative(span) => span.after(now_ms),
        }
    }

    /// As the sixteen characters of the standard; an absolute time in UTC. Years from 2000 to
    /// 2099 can be written, others become the nearest of them.
    #[must_use]
    pub fn format(self) -> Octets {
        let mut text = String::with_capacity(16);
        let written = match self {
            Self::Absolute(at_ms) => {
                let date = Date::of(at_ms);
                let tenths = at_ms.rem_euclid(MILLIS_PER_SECOND) / 100;
                write!(
                    text,
                    "{:02}{:02}{:02}{:02}{:02}{:02}{tenths}00+",
                    date.short_year(),
                    date.month,
                    date.day,
                    date.hour,
                    date.minute,
                    date.second
                )
            }
            Self::Relative(span) => write!(
                text,
                "{:02}{:02}{:02}{:02}{:02}{:02}000R",
                span.years.min(99),
                span.months.min(99),
                span.days.min(99),
                span.hours.min(99),
                span.minutes.min(99),
                span.seconds.min(99)
            ),
        };
        debug_assert!(written.is_ok(), "a string takes everything");
        Octets::from(text.into_bytes())
    }
}

impl Span {
    /// A span of so many seconds, in days, hours, minutes and seconds; at most 99 days.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        let small = |number: u64| u8::try_from(number).unwrap_or(99);
        let days = seconds / 86_400;
        if days > 99 {
            return Self { days: 99, ..Self::default() };
        }
        Self {
            days: small(days),
            hours: small(seconds / 3600 % 24),
            minutes: small(seconds / 60 % 60),
            seconds: small(seconds % 60),
            ..Self::default()
        }
    }

    /// The point in time so much after `now_ms`. A day that the month does not have becomes its
    /// last.
    fn after(self, now_ms: i64) -> i64 {
        let date = Date::of(now_ms);
        let months = i64::from(self.years) * 12 + i64::from(self.months);
        let month0 = date.year * 12 + i64::from(date.month) - 1 + months;
        let (year, month) = (month0.div_euclid(12), month0.rem_euclid(12) + 1);
        let day = i64::from(date.day).min(days_in_month(year, month));
        let time = now_ms.rem_euclid(SECONDS_PER_DAY * MILLIS_PER_SECOND);
        let day_ms = (days_from_civil(year, month, day) + i64::from(self.days))
            * SECONDS_PER_DAY
            * MILLIS_PER_SECOND;
        let clock =
            (i64::from(self.hours) * 60 + i64::from(self.minutes)) * 60 + i64::from(self.seconds);
        day_ms + time + clock * MILLIS_PER_SECOND
    }
}

/// As `YYMMDDhhmm` in UTC: how receipts write dates (v3.4 Appendix B).
#[must_use]
pub fn receipt_date(at_ms: i64) -> String {
    let date = Date::of(at_ms);
    let year = date.short_year();
    format!("{year:02}{:02}{:02}{:02}{:02}", date.month, date.day, date.hour, date.minute)
}

struct Date {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Date {
    fn of(at_ms: i64) -> Self {
        let seconds = at_ms.div_euclid(MILLIS_PER_SECOND);
        let (days, rest) =
            (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        let (year, month, day) = civil_from_days(days);
        let small = |number: i64| u8::try_from(number).unwrap_or(0);
        Self {
            year,
            month: small(month),
            day: small(day),
            hour: small(rest / 3600),
            minute: small(rest / 60 % 60),
            second: small(rest % 60),
        }
    }

    fn short_year(&self) -> i64 {
        (self.year - 2000).clamp(0, 99)
    }
}

/// Two digits at `at`.
fn pair(digits: &[u8], at: usize) -> Option<u8> {
    let two = digits.get(at..)?.first_chunk::<2>()?;
    match two {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + (ones - b'0')),
        _ => None,
    }
}

fn span(digits: &[u8]) -> Option<Span> {
    Some(Span {
        years: pair(digits, 0)?,
        months: pair(digits, 2)?,
        days: pair(digits, 4)?,
        hours: pair(digits, 6)?,
        minutes: pair(digits, 8)?,
        seconds: pair(digits, 10)?,
    })
}

/// `YYMMDDhhmm` or `YYMMDDhhmmss` at `at`, as milliseconds since 1970 UTC.
fn point(digits: &[u8], at: usize) -> Option<i64> {
    let year = 2000 + i64::from(pair(digits, at)?);
    let month = i64::from(pair(digits, at + 2)?);
    let day = i64::from(pair(digits, at + 4)?);
    let hour = i64::from(pair(digits, at + 6)?);
    let minute = i64::from(pair(digits, at + 8)?);
    let second = i64::from(pair(digits, at + 10).unwrap_or(0));
    let true_date = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !true_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let seconds = days * SECONDS_PER_DAY + (hour * 60 + minute) * 60 + second;
    Some(seconds * MILLIS_PER_SECOND)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counted in years that begin in
/// March, so that the leap day is the last one.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31 12:00:00 UTC
    const NOON: i64 = 1_769_860_800_000;

    #[track_caller]
    fn check(text: &str, expect_ms: Option<i64>) {
        let time = Time::parse(text.as_bytes());
        assert_eq!(time.map(|time| time.to_timestamp(NOON)), expect_ms, "{text}");
    }

    #[test]
    fn times_of_every_length_are_read() {
        check("260131120000000+", Some(NOON));
        check("260131120000500+", Some(NOON + 500));
        check("260131130000004+", Some(NOON)); // four quarters east of UTC
        check("260131110000004-", Some(NOON));
        check("000000010000000R", Some(NOON + 3_600_000));
        check("000001000000000R", Some(NOON + 86_400_000));
        check("000100000000000R", Some(NOON + 28 * 86_400_000)); // there is no 31 February
        check("010000000000000R", Some(NOON + 365 * 86_400_000));
        check("2601311200", Some(NOON));
        check("260131120000", Some(NOON));
        check("20260131120000", Some(NOON));
        check("180711070003912+", Some(1_531_292_403_900 - 12 * 900_000));
        for nothing in ["", "R", "+", "2602301200", "2613011200", "abcdefghij", "26013112"] {
            check(nothing, None);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for at_ms in [NOON, NOON + 900, 951_782_400_000, 4_102_444_799_900] {
            let text = Time::Absolute(at_ms).format();
            assert_eq!(text.len(), 16);
            assert_eq!(Time::parse(text.as_bytes()), Some(Time::Absolute(at_ms)), "{text}");
        }
        let span = Span::from_seconds(3 * 86_400 + 3661);
        assert_eq!(Time::Relative(span).format(), "000003010101000R");
        assert_eq!(Span::from_seconds(u64::MAX).days, 99);
        assert_eq!(receipt_date(NOON), "2601311200");
    }

    #[test]
    fn every_day_has_its_number() {
        for days in -200_000..200_000 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day));
        }
        assert_eq!(civil_from_days(0), (1970, 1, 1));
    }
}
