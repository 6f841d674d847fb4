//! Hours of the week: `mon-fri 08:00-20:00 +01:00`.

use super::TimeWindow;

const HELP: &str = "hours are days, times and an offset from UTC, each of which may be left out: mon-fri 08:00-20:00 +01:00";

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl TimeWindow {
    /// Reads hours of the week. Without days every day is meant, without times the whole day, and
    /// without an offset UTC.
    ///
    /// # Errors
    ///
    /// A sentence that shows the form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut window = Self { days: 0, from_minute: 0, until_minute: 24 * 60, offset_minutes: 0 };
        let mut words = text.split_whitespace().peekable();
        if words.peek().is_none() {
            return Err(HELP.to_owned());
        }
        if words.peek().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())) {
            window.days = parse_days(words.next().unwrap_or_default())?;
        } else {
            window.days = 0x7f;
        }
        if words.peek().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
            let (from, until) = words
                .next()
                .and_then(|word| word.split_once('-'))
                .ok_or_else(|| HELP.to_owned())?;
            window.from_minute = parse_minute(from)?;
            window.until_minute = parse_minute(until)?;
        }
        if let Some(word) = words.next() {
            window.offset_minutes = parse_offset(word)?;
        }
        if words.next().is_some() { Err(HELP.to_owned()) } else { Ok(window) }
    }

    /// Whether this time, in minutes since 1970, lies in these hours.
    #[must_use]
    pub fn contains(&self, unix_minutes: u64) -> bool {
        let local =
            i64::try_from(unix_minutes).unwrap_or(i64::MAX / 2) + i64::from(self.offset_minutes);
        // 1970-01-01 was a Thursday, the fourth day from Monday.
        let day = (local.div_euclid(1440) + 3).rem_euclid(7);
        let minute = local.rem_euclid(1440);
        let (from, until) = (i64::from(self.from_minute), i64::from(self.until_minute));
        if from < until {
            self.has_day(day) && (from..until).contains(&minute)
        } else {
            // Over midnight: the hours after it belong to the day before.
            (self.has_day(day) && minute >= from)
                || (self.has_day((day + 6).rem_euclid(7)) && minute < until)
        }
    }

    /// Minutes until these hours end, seen from a time within them; 0 from outside.
    #[must_use]
    pub fn minutes_left(&self, unix_minutes: u64) -> u64 {
        const WEEK: u64 = 7 * 24 * 60;
        (0..WEEK).find(|ahead| !self.contains(unix_minutes.saturating_add(*ahead))).unwrap_or(WEEK)
    }

    fn has_day(&self, day: i64) -> bool {
        u32::try_from(day).is_ok_and(|day| self.days & 1_u8.checked_shl(day).unwrap_or(0) != 0)
    }
}

fn parse_days(text: &str) -> Result<u8, String> {
    let number = |word: &str| {
        let word = word.to_ascii_lowercase();
        DAYS.iter()
            .position(|day| *day == word)
            .ok_or_else(|| format!("\"{word}\" is no day; days are {}", DAYS.join(", ")))
    };
    let mut days = 0_u8;
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        let mut day = first;
        loop {
            days |= 1 << day;
            if day == last {
                break;
            }
            day = (day + 1) % DAYS.len();
        }
    }
    Ok(days)
}

fn parse_minute(text: &str) -> Result<u16, String> {
    let (hour, minute) = text.split_once(':').ok_or_else(|| HELP.to_owned())?;
    let read = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2);
    match (read(hour), read(minute)) {
        (Some(hour @ 0..=23), Some(minute @ 0..=59)) => Ok(hour * 60 + minute),
        (Some(24), Some(0)) => Ok(24 * 60),
        _ => Err(format!("\"{text}\" is no time of the day")),
    }
}

fn parse_offset(text: &str) -> Result<i16, String> {
    let (east, digits) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(digits), _) => (true, digits),
        (_, Some(digits)) => (false, digits),
        _ if text.eq_ignore_ascii_case("utc") => (true, "00:00"),
        _ => return Err(HELP.to_owned()),
    };
    let minutes = parse_minute(digits)?;
    let minutes = i16::try_from(minutes).ok().filter(|minutes| *minutes <= 14 * 60);
    let minutes = minutes.ok_or_else(|| format!("\"{text}\" is no offset from UTC"))?;
    Ok(if east { minutes } else { -minutes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes of Monday 2026-11-23, 00:00 UTC.
    const MONDAY: u64 = 1_795_392_000 / 60;
    const HOUR: u64 = 60;

    #[track_caller]
    fn check(hours: &str, inside: &[u64], outside: &[u64]) {
        let window = TimeWindow::parse(hours).unwrap();
        for minute in inside {
            assert!(window.contains(MONDAY + minute), "{hours} has minute {minute} of the week");
        }
        for minute in outside {
            assert!(
                !window.contains(MONDAY + minute),
                "{hours} has not minute {minute} of the week"
            );
        }
    }

    #[test]
    fn hours_are_those_of_the_week() {
        check(
            "mon-fri 08:00-20:00",
            &[8 * HOUR, 20 * HOUR - 1, 104 * HOUR],
            &[0, 20 * HOUR, 128 * HOUR],
        );
        check("08:00-20:00 +01:00", &[7 * HOUR, 19 * HOUR - 1], &[7 * HOUR - 1, 19 * HOUR]);
        check("sun 22:00-06:00", &[166 * HOUR, 5 * HOUR], &[6 * HOUR, 165 * HOUR, 29 * HOUR]);
        check("sat,sun", &[120 * HOUR, 167 * HOUR], &[119 * HOUR, 168 * HOUR]);
        check("fri-mon", &[0, 96 * HOUR], &[24 * HOUR, 95 * HOUR]);
        check("mon 00:00-24:00 -05:00", &[5 * HOUR, 28 * HOUR], &[4 * HOUR, 29 * HOUR]);
    }

    #[test]
    fn the_end_of_the_hours_is_known() {
        let window = TimeWindow::parse("22:00-06:00").unwrap();
        assert_eq!(window.minutes_left(MONDAY + 23 * HOUR), 7 * HOUR);
        assert_eq!(window.minutes_left(MONDAY + 12 * HOUR), 0);
    }

    #[test]
    fn other_texts_are_no_hours() {
        for text in
            ["", "montag", "08-20", "08:00-25:00", "mon 08:00", "08:00-20:00 CET", "mon x y z"]
        {
            assert!(TimeWindow::parse(text).is_err(), "{text}");
        }
    }
}
