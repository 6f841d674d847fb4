//! A point in time, as milliseconds since the Unix epoch.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z. Arithmetic saturates: time never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Later than everything: what never expires expires here.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This time plus `wait`, at most [`Timestamp::NEVER`].
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The civil date and time in UTC.
    #[must_use]
    pub fn civil(self) -> Civil {
        let days = self.0 / 86_400_000;
        let ms_of_day = self.0 % 86_400_000;
        // Days since 0000-03-01, split into eras of 400 years (146,097 days).
        let z = days + 719_468;
        let era = z / 146_097;
        let day_of_era = z % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let narrow = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
        Civil {
            year,
            month: narrow(month),
            day: narrow(day_of_year - (153 * shifted_month + 2) / 5 + 1),
            hour: narrow(ms_of_day / 3_600_000),
            minute: narrow(ms_of_day / 60_000 % 60),
            second: narrow(ms_of_day / 1000 % 60),
            millisecond: u16::try_from(ms_of_day % 1000).unwrap_or(0),
            // 1970-01-01 was a Thursday.
            weekday: narrow((days + 4) % 7),
        }
    }

    /// `Mon, 23 Nov 2026 09:22:05 +0000` (RFC 5322 §3.3).
    #[must_use]
    pub fn rfc5322(self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let c = self.civil();
        let day_name = DAYS.get(usize::from(c.weekday)).copied().unwrap_or("Sun");
        let month_name = MONTHS.get(usize::from(c.month) - 1).copied().unwrap_or("Jan");
        format!(
            "{day_name}, {} {month_name} {} {:02}:{:02}:{:02} +0000",
            c.day, c.year, c.hour, c.minute, c.second
        )
    }
}

/// A date and time in UTC, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// For example 2026.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59; leap seconds do not exist here.
    pub second: u8,
    /// 0 to 999.
    pub millisecond: u16,
    /// 0 is Sunday.
    pub weekday: u8,
}

impl fmt::Display for Timestamp {
    /// `2026-11-23T09:22:05.123Z` (RFC 3339), or `never`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        let c = self.civil();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            c.year, c.month, c.day, c.hour, c.minute, c.second, c.millisecond
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ms: u64, rfc3339: &str, rfc5322: &str) {
        assert_eq!(Timestamp::from_ms(ms).to_string(), rfc3339);
        assert_eq!(Timestamp::from_ms(ms).rfc5322(), rfc5322);
    }

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        check(0, "1970-01-01T00:00:00.000Z", "Thu, 1 Jan 1970 00:00:00 +0000");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 +0000");
        check(1_795_425_725_123, "2026-11-23T09:22:05.123Z", "Mon, 23 Nov 2026 09:22:05 +0000");
        check(4_107_542_399_999, "2100-02-28T23:59:59.999Z", "Sun, 28 Feb 2100 23:59:59 +0000");
    }

    #[test]
    fn time_saturates() {
        assert_eq!(Timestamp::NEVER.after(Duration::from_secs(1)), Timestamp::NEVER);
        assert_eq!(Timestamp::from_ms(1).since(Timestamp::from_ms(5)), Duration::ZERO);
    }
}
