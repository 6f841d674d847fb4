//! `logins`: how guessing of passwords is slowed down, at all doors together.

use std::time::Duration;

use super::check::Check;
use super::keys::{DAY, Key, Kind, MINUTE, SECOND, Schema, key};
use super::section::Section;

/// `logins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginLimits {
    /// Wrong passwords for one name from one address, or /64 of IPv6, within `lockout`; then that
    /// pair is shut out.
    pub wrong_max: u32,
    /// How long the answer to the first wrong password waits; to each further one twice as long.
    pub delay: Duration,
    /// How long a pair is shut out; each further time twice as long.
    pub lockout: Duration,
    /// How long a good login keeps its pair from being slowed down for what others do.
    pub remember: Duration,
}

static KEYS: Schema = Schema {
    about: "How guessing of passwords is slowed down, at all listeners together: AUTH over SMTP and binds over SMPP.",
    keys: &[
        key(
            "wrong_max",
            Kind::Int(2, 1000),
            "Wrong passwords for one name from one address (for IPv6: one /64) within `lockout`; then they are shut out together. Ten times as many, with all names, shut out the address for names that neither have it in an `allow` nor had a good login from it.",
        )
        .or("10"),
        key(
            "delay",
            Kind::Duration(100, 4 * SECOND),
            "How long the answer to a wrong password waits; to each further one twice as long, up to 4s.",
        )
        .or("1s"),
        key(
            "lockout",
            Kind::Duration(10 * SECOND, DAY),
            "How long no password is looked at then; each further time twice as long, up to 1d.",
        )
        .or("15m"),
        key(
            "remember",
            Kind::Duration(MINUTE, 365 * DAY),
            "How long after a good login an address is not slowed down for what others do with that name. A restart forgets it.",
        )
        .or("30d"),
    ],
};

/// The key at the top of the file.
pub(super) const TOP: Key = key("logins", Kind::Section(&KEYS), KEYS.about);

impl LoginLimits {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Self {
        let section = top.section(check, "logins", &KEYS);
        Self {
            wrong_max: section.int(check, "wrong_max"),
            delay: section.duration(check, "delay"),
            lockout: section.duration(check, "lockout"),
            remember: section.duration(check, "remember"),
        }
    }
}
