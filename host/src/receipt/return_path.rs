//! Return addresses of mail that was an SMS: `b+ID.MAC@domain`. A report that comes back to one
//! finds its message; nobody else can make one up.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use message::{Address, MessageId, Timestamp};
use subtle::ConstantTimeEq;

/// Under this name of a target the book keeps what reports are awaited for.
pub const REPORTS: &str = "@reports";
/// What begins the local part.
const PREFIX: &str = "b+";
/// Octets of the code that is in the address: 80 bits are not to be guessed over SMTP.
const MAC_OCTETS: usize = 10;
/// Ties codes to their purpose, so that the key can serve others too.
const PURPOSE: &[u8] = b"wirepost return path\0";

/// Makes return addresses and reads them again.
#[derive(Clone)]
pub struct ReturnPaths<'a> {
    seals: &'a [u8],
    opens: Vec<&'a [u8]>,
}

/// What a mailbox is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnPath {
    /// A mailbox like any other.
    Other,
    /// One that we made, for this leg.
    Ours(MessageId),
    /// It looks like one of ours, but we did not make it.
    Forged,
    /// One that we made too long ago.
    Expired,
}

impl<'a> ReturnPaths<'a> {
    /// Return addresses under the first of these keys. Those under any of them are ours, so that a key
    /// can be replaced while reports about older messages are still to come.
    #[must_use]
    pub fn new(seals: &'a [u8], others: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let opens = std::iter::once(seals).chain(others).collect();
        Self { seals, opens }
    }

    /// The address for a leg.
    #[must_use]
    pub fn address(&self, id: MessageId, domain: &str) -> Address {
        Address::mailbox(format!("{PREFIX}{id}.{}@{domain}", code(self.seals, id)))
    }

    /// What this mailbox is. The domain and the code are compared without regard to case: relays
    /// change it.
    #[must_use]
    pub fn read(&self, mailbox: &str, domain: &str, ttl: Duration, now: Timestamp) -> ReturnPath {
        let Some((local, given_domain)) = mailbox.rsplit_once('@') else {
            return ReturnPath::Other;
        };
        if !given_domain.eq_ignore_ascii_case(domain) {
            return ReturnPath::Other;
        }
        let Some((id, given)) = parts(local) else { return ReturnPath::Other };
        let given = given.to_ascii_lowercase();
        let is_under = |key: &&[u8]| bool::from(given.as_bytes().ct_eq(code(key, id).as_bytes()));
        if !self.opens.iter().any(is_under) {
            return ReturnPath::Forged;
        }
        if id.time().after(ttl) <= now { ReturnPath::Expired } else { ReturnPath::Ours(id) }
    }
}

fn code(key: &[u8], id: MessageId) -> String {
    // Made here and not before: hardly a mailbox that is read needs it.
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(PURPOSE);
    context.update(&id.as_u64().to_be_bytes());
    let tag = context.sign();
    tag.as_ref().iter().take(MAC_OCTETS).map(|octet| format!("{octet:02x}")).collect()
}

impl fmt::Debug for ReturnPaths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnPaths(…)")
    }
}

/// Id and code of a local part that has the form of ours.
fn parts(local: &str) -> Option<(MessageId, &str)> {
    let (prefix, rest) = local.split_at_checked(PREFIX.len())?;
    let (digits, code) = rest.split_once('.')?;
    let is_ours = prefix.eq_ignore_ascii_case(PREFIX)
        && code.len() == MAC_OCTETS * 2
        && code.bytes().all(|octet| octet.is_ascii_hexdigit())
        && digits.bytes().all(|octet| octet.is_ascii_digit());
    is_ours.then(|| digits.parse().ok()).flatten().map(|id| (id, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "gw.example.net";
    const TTL: Duration = Duration::from_secs(7 * 86_400);

    fn id() -> MessageId {
        MessageId::from_u64(250_000_000_000_000_000)
    }

    #[track_caller]
    fn check(mailbox: &str, expect: ReturnPath) {
        let now = id().time().after(Duration::from_secs(60));
        let paths = ReturnPaths::new(b"a key", []);
        assert_eq!(paths.read(mailbox, DOMAIN, TTL, now), expect, "{mailbox}");
    }

    #[test]
    fn a_return_address_is_read_back_in_any_case_by_its_maker_only() {
        let address = ReturnPaths::new(b"a key", []).address(id(), DOMAIN);
        let mailbox = &*address.value;
        assert!(mailbox.len() < 64, "{mailbox}");
        check(mailbox, ReturnPath::Ours(id()));
        check(&mailbox.to_ascii_uppercase(), ReturnPath::Ours(id()));
        check(&ReturnPaths::new(b"another", []).address(id(), DOMAIN).value, ReturnPath::Forged);
        check(&mailbox.replace("b+2", "b+3"), ReturnPath::Forged);
    }

    #[test]
    fn the_first_key_seals_and_each_of_them_opens() {
        let now = id().time().after(Duration::from_secs(60));
        let mailbox = |key| ReturnPaths::new(key, []).address(id(), DOMAIN);
        let paths = ReturnPaths::new(b"new", [&b"old"[..], b"older"]);
        assert_eq!(paths.address(id(), DOMAIN), mailbox(b"new"));
        for key in [&b"new"[..], b"old", b"older"] {
            let read = paths.read(&mailbox(key).value, DOMAIN, TTL, now);
            assert_eq!(read, ReturnPath::Ours(id()), "{key:?}");
        }
        let read = paths.read(&mailbox(b"another").value, DOMAIN, TTL, now);
        assert_eq!(read, ReturnPath::Forged);
    }

    #[test]
    fn a_return_address_ends_with_its_time() {
        let paths = ReturnPaths::new(b"a key", []);
        let address = paths.address(id(), DOMAIN);
        let at = |ms| id().time().after(TTL).after(Duration::from_millis(ms));
        assert_eq!(paths.read(&address.value, DOMAIN, TTL, at(0)), ReturnPath::Expired);
    }

    #[test]
    fn what_does_not_look_like_one_is_a_mailbox_like_any_other() {
        let code = "0123456789abcdef0123";
        check(&format!("b+12.{code}@{DOMAIN}"), ReturnPath::Forged);
        check(&format!("b+12.{code}@other.example.net"), ReturnPath::Other);
        check(&format!("b+12.{code}0@{DOMAIN}"), ReturnPath::Other);
        check(&format!("b+99999999999999999999.{code}@{DOMAIN}"), ReturnPath::Other);
        check(&format!("b+.{code}@{DOMAIN}"), ReturnPath::Other);
        check(&format!("b+news@{DOMAIN}"), ReturnPath::Other);
        check("b", ReturnPath::Other);
        check("é+1.x@gw.example.net", ReturnPath::Other);
    }
}
