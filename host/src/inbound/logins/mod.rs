//! Who guesses passwords: one limiter for all doors.
//!
//! Wrong passwords are counted by the pair of site and name: the answer to each comes later than to
//! the one before, and enough of them shut that pair out for a time. So nobody shuts out a customer
//! who speaks from elsewhere. Beside that, a site that fails with many names is shut out as a whole,
//! and a name that fails at many sites is answered late; both spare whom a network in `allow` names
//! or whoever had a good login with that name from that site lately.
//!
//! Nothing here tells a name that exists from one that does not.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use message::Protocol;
use sha2::{Digest as _, Sha256};

use super::site::Site;
use crate::config::LoginLimits;
use table::Table;

/// The longest that an answer waits: clients have patience for it, and so have our connections.
pub const WAIT_MAX: Duration = Duration::from_secs(4);
/// A site may fail so many times as often, with all names together, as with one of them.
const SITE_FACTOR: u32 = 10;
/// A name may fail so many times as often, at all sites together, as at one of them.
const NAME_FACTOR: u32 = 10;
/// Sites that are remembered for their good logins, of each name.
const GOOD_SITES_MAX: usize = 1024;
/// Names that are remembered for their good logins; only accounts have any.
const GOOD_NAMES_MAX: usize = 65_536;
/// Lines about failed logins that are logged in [`LINES_WITHIN`]; what is more is only counted.
const LINES_MAX: u32 = 20;
/// The time for that.
const LINES_WITHIN: Duration = Duration::from_mins(1);
/// Characters of a name that are logged.
const SHOWN_CHARS_MAX: usize = 64;

/// One try of a name and a password.
#[derive(Clone, Copy, Debug)]
pub struct Try<'a> {
    /// By which protocol; names of one are not those of another.
    pub protocol: Protocol,
    /// The door, for the log.
    pub door: &'a str,
    /// From where.
    pub peer: IpAddr,
    /// The name as it was given.
    pub name: &'a str,
    /// A network in `allow` of the listener or of the account with this name has the peer.
    pub is_allowed: bool,
    /// Name and password are those of an account that may log in here.
    pub is_right: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether it is in.
    pub outcome: Outcome,
    /// How long the answer waits.
    pub wait: Duration,
    /// Whether the door logs it.
    pub is_told: bool,
}

/// Whether a try is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is.
    In,
    /// Something about it was wrong.
    Wrong,
    /// There were too many wrong ones: right or wrong, it is refused.
    ShutOut,
}

/// A name as it is counted: part of a hash, so that long ones take no more memory.
type NameKey = [u8; 16];

/// Everything that is known of failed and good logins. In memory only: a restart forgets it.
#[derive(Debug, Default)]
pub struct Logins {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    pairs: Table<(Site, NameKey)>,
    sites: Table<Site>,
    names: Table<NameKey>,
    good: BTreeMap<NameKey, BTreeMap<Site, Instant>>,
    lines: Lines,
}

/// Lines that were logged since a moment.
#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    count: u32,
}

impl Logins {
    /// Decides about a try, counts it, and says once for each burst that there is one.
    pub fn judge(&self, limits: &LoginLimits, tried: &Try<'_>, now: Instant) -> Judged {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.judge(limits, tried, now)
    }
}

impl Known {
    fn judge(&mut self, limits: &LoginLimits, tried: &Try<'_>, now: Instant) -> Judged {
        let (site, name) = (Site::of(tried.peer), key(tried.protocol, tried.name));
        let is_trusted = tried.is_allowed || self.was_good(name, site, limits, now);
        if self.pairs.is_shut(&(site, name), now) || !is_trusted && self.sites.is_shut(&site, now) {
            return Judged { outcome: Outcome::ShutOut, wait: limits.delay, is_told: false };
        }
        let is_late = !is_trusted && self.names.is_shut(&name, now);
        if tried.is_right {
            self.pairs.forgive(&(site, name));
            self.note_good(name, site, limits, now);
            let wait = if is_late { WAIT_MAX } else { Duration::ZERO };
            return Judged { outcome: Outcome::In, wait, is_told: false };
        }
        let max = limits.wrong_max;
        let pair = self.pairs.fail((site, name), max, limits.lockout, now);
        let of_site = self.sites.fail(site, max.saturating_mul(SITE_FACTOR), limits.lockout, now);
        let of_name = self.names.fail(name, max.saturating_mul(NAME_FACTOR), limits.lockout, now);
        let is_told = pair.count == 1 && self.may_tell(tried, now);
        if let Some(shut) = pair.shut.or(of_site.shut)
            && self.may_tell(tried, now)
        {
            let name = if pair.shut.is_some() { shown(tried.name) } else { "any" };
            tracing::warn!(event = "logins.shut_out", door = tried.door, site = %site, name,
                seconds = shut.as_secs(), "too many wrong passwords");
        }
        if of_name.shut.is_some() && self.may_tell(tried, now) {
            tracing::warn!(
                event = "logins.guessed",
                door = tried.door,
                name = shown(tried.name),
                "many addresses fail with one name: strangers are answered late"
            );
        }
        let wait = if is_late { WAIT_MAX } else { wait(limits.delay, pair.count) };
        Judged { outcome: Outcome::Wrong, wait, is_told }
    }

    fn was_good(&self, name: NameKey, site: Site, limits: &LoginLimits, now: Instant) -> bool {
        let at = self.good.get(&name).and_then(|sites| sites.get(&site));
        at.is_some_and(|at| now.saturating_duration_since(*at) < limits.remember)
    }

    fn note_good(&mut self, name: NameKey, site: Site, limits: &LoginLimits, now: Instant) {
        if self.good.len() >= GOOD_NAMES_MAX && !self.good.contains_key(&name) {
            let is_late = |at: &Instant| now.saturating_duration_since(*at) < limits.remember;
            self.good.retain(|_, sites| sites.values().any(is_late));
            if self.good.len() >= GOOD_NAMES_MAX {
                return;
            }
        }
        let sites = self.good.entry(name).or_default();
        if sites.len() >= GOOD_SITES_MAX
            && !sites.contains_key(&site)
            && let Some(oldest) = sites.iter().min_by_key(|(_, at)| **at).map(|(site, _)| *site)
        {
            sites.remove(&oldest);
        }
        sites.insert(site, now);
    }

    /// Whether a line is logged. The first that is one too many says so instead.
    fn may_tell(&mut self, tried: &Try<'_>, now: Instant) -> bool {
        let lines = &mut self.lines;
        let since = *lines.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= LINES_WITHIN {
            *lines = Lines { since: Some(now), count: 0 };
        }
        lines.count = lines.count.saturating_add(1);
        if lines.count == LINES_MAX + 1 {
            tracing::warn!(
                event = "logins.burst",
                door = tried.door,
                "many logins fail: further ones of this minute are only counted"
            );
        }
        lines.count <= LINES_MAX
    }
}

/// How long the answer to the wrong password of this number waits: each twice as long.
fn wait(first: Duration, number: u32) -> Duration {
    let doubled = 2_u32.checked_pow(number.saturating_sub(1)).and_then(|by| first.checked_mul(by));
    doubled.map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX))
}

/// A name for the log, not longer than one is.
fn shown(name: &str) -> &str {
    let end = name.char_indices().nth(SHOWN_CHARS_MAX).map_or(name.len(), |(at, _)| at);
    name.get(..end).unwrap_or_default()
}

fn key(protocol: Protocol, name: &str) -> NameKey {
    let mut hash = Sha256::new();
    hash.update(match protocol {
        Protocol::Smtp => b"smtp ",
        Protocol::Smpp => b"smpp ",
        Protocol::Internal => b"none ",
    });
    hash.update(name);
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}
