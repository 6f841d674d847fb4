//! `lookups`: services that plugins may ask by a key, and how they are asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;

use super::ClientTls;
use super::check::Check;
use super::connector::TLS;
use super::keys::{DAY, Key, Kind, MIB, MINUTE, SECOND, Schema, key};
use super::scalar::{Name, Rate, Secret};
use super::section::Section;

/// One service.
#[derive(Debug, Clone, PartialEq)]
pub struct Lookup {
    /// Its name, by which plugins ask.
    pub name: Name,
    /// Where it is.
    pub url: LookupUrl,
    /// The value of the field `Authorization`.
    pub authorization: Option<Secret>,
    /// Authorities and our own certificate, for `https`.
    pub tls: ClientTls,
    /// Time for one question, connecting included.
    pub timeout: Duration,
    /// How long an answer is kept.
    pub cache: Duration,
    /// How long it is kept that there is no answer.
    pub cache_failures: Duration,
    /// Questions in time.
    pub rate: Option<Rate>,
    /// Questions at one time.
    pub connections: u32,
    /// Octets of an answer.
    pub answer_bytes_max: u64,
}

/// A URL with the place of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupUrl {
    /// `https`.
    pub tls: bool,
    /// Name or address, as it was written, without brackets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
    /// The field `Host`.
    pub authority: Arc<str>,
    /// Path and query, with `{key}` where the key belongs.
    path: Arc<str>,
}

/// What stands for the key.
const PLACE: &str = "{key}";
/// The longest URL, in octets.
const URL_OCTETS_MAX: usize = 2048;

static KEYS: Schema = Schema {
    about: "A service that plugins ask by a key, over HTTP; `lookup::ask` names it.",
    keys: &[
        key("url", Kind::Octets(URL_OCTETS_MAX), "Where it is: `https://HOST/PATH/{key}`. The key is escaped; redirects are not followed; an address that is not public is asked only if it is written here.").required(),
        key("authorization", Kind::Secret, "The value of the field `Authorization`."),
        key("tls", Kind::Section(&TLS), "TLS, for `https`."),
        key("timeout", Kind::Duration(10, MINUTE), "Time for one question, connecting included.").or("2s"),
        key("cache", Kind::Duration(SECOND, 30 * DAY), "How long an answer is kept.").or("1h"),
        key("cache_failures", Kind::Duration(SECOND, DAY), "How long it is kept that there is no answer.").or("10s"),
        key("rate", Kind::Rate, "Questions in time; left out, no limit."),
        key("connections", Kind::Int(1, 256), "Questions at one time.").or("8"),
        key("size", Kind::Size(1, MIB), "Octets of an answer; a longer one is none.").or("64KiB"),
    ],
};

/// The key at the top of the file.
pub(super) const TOP: Key = key("lookups", Kind::Named(&KEYS), KEYS.about);

impl Lookup {
    /// Reads all of `lookups`.
    pub(super) fn read_all(check: &mut Check, top: &Section<'_>) -> BTreeMap<Name, Arc<Self>> {
        let mut lookups = BTreeMap::new();
        for (name, _place, node) in top.named(check, "lookups") {
            let section = Section::open(check, &KEYS, node, format!("lookups.{name}"));
            if let Some(lookup) = Self::read(check, &section, &name) {
                lookups.insert(name, Arc::new(lookup));
            }
        }
        lookups
    }

    fn read(check: &mut Check, section: &Section<'_>, name: &Name) -> Option<Self> {
        let tls = section.section(check, "tls", &TLS);
        let tls = ClientTls::read(check, &tls);
        let url = section.opt_text(check, "url")?;
        let url = match LookupUrl::parse(&url) {
            Ok(url) => url,
            Err(problem) => {
                let place = section.opt("url").map_or(section.place, |node| node.place);
                let remedy = "write https://HOST/PATH/{key}, or ?name={key}";
                check.error_with(place, format!("{}: {problem}", section.at("url")), remedy);
                return None;
            }
        };
        let authorization = section.opt_secret(check, "authorization");
        if authorization.is_some() && !url.tls && !url.is_private() {
            let place = section.opt("authorization").map_or(section.place, |node| node.place);
            check.warning(
                place,
                format!("{} goes over the network in clear", section.at("authorization")),
                "use https",
            );
        }
        Some(Self {
            name: Name::clone(name),
            url,
            authorization,
            tls,
            timeout: section.duration(check, "timeout"),
            cache: section.duration(check, "cache"),
            cache_failures: section.duration(check, "cache_failures"),
            rate: section.rate(check, "rate"),
            connections: section.int(check, "connections"),
            answer_bytes_max: section.size(check, "size"),
        })
    }
}

impl LookupUrl {
    /// Reads a URL with `{key}` in its path or query.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("\"{text}\" {what}"));
        let Some(at) = text.find(PLACE) else { return wrong("has no place {key}") };
        if text.contains(['#', '\\']) || text.chars().any(|c| c.is_whitespace() || !c.is_ascii()) {
            return wrong("has a character that must be escaped");
        }
        let Ok(uri) = text.replace(PLACE, "key").parse::<Uri>() else {
            return wrong("is no URL");
        };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return wrong("begins with neither https:// nor http://"),
        };
        let Some(authority) = uri.authority() else { return wrong("names no host") };
        let path_at = text.find("://").map_or(0, |at| at + 3);
        let path_at =
            text.get(path_at..).and_then(|rest| rest.find(['/', '?'])).map(|at| at + path_at);
        let Some(path) = path_at.filter(|from| *from <= at).and_then(|from| text.get(from..))
        else {
            return wrong("has {key} in the name of the host");
        };
        if authority.as_str().contains('@') {
            return wrong("has a password in it; use authorization");
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() {
            return wrong("names no host");
        }
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        Ok(Self {
            tls,
            host: host.into(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().into(),
            path: path.into(),
        })
    }

    /// Path and query for this key. Everything in it but letters, digits, `-`, `_`, `.` and `~` is
    /// escaped (RFC 3986 §2.3), so that it stays within its place.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        let mut escaped = String::with_capacity(key.len());
        for octet in key.bytes() {
            if octet.is_ascii_alphanumeric() || b"-_.~".contains(&octet) {
                escaped.push(char::from(octet));
            } else {
                escaped.push_str(&format!("%{octet:02X}"));
            }
        }
        self.path.replace(PLACE, &escaped)
    }

    /// The address that the host is written as, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the URL itself names a machine of the own network.
    fn is_private(&self) -> bool {
        self.address().is_some() || &*self.host == "localhost"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expect: Result<(bool, &str, u16, &str), &str>) {
        match (LookupUrl::parse(url), expect) {
            (Ok(url), Ok(expect)) => {
                assert_eq!((url.tls, &*url.host, url.port, &*url.path("+1/2")), expect);
            }
            (Err(problem), Err(expect)) => assert!(problem.contains(expect), "{problem}"),
            (parsed, _) => panic!("{url}: {parsed:?}"),
        }
    }

    #[test]
    fn a_url_has_the_place_of_its_key_behind_the_host() {
        check("https://h.example/v1/{key}", Ok((true, "h.example", 443, "/v1/%2B1%2F2")));
        check("http://h:8080/?n={key}&k={key}", Ok((false, "h", 8080, "/?n=%2B1%2F2&k=%2B1%2F2")));
        check("https://h?n={key}", Ok((true, "h", 443, "/?n=%2B1%2F2")));
        check("https://[2001:db8::1]:8443/{key}", Ok((true, "2001:db8::1", 8443, "/%2B1%2F2")));
        check("https://h/v1", Err("no place"));
        check("https://{key}.example/", Err("name of the host"));
        check("https://{key}/", Err("name of the host"));
        check("https://h:{key}/", Err("name of the host"));
        check("https://u:p@h/{key}", Err("password"));
        check("ftp://h/{key}", Err("neither"));
        check("/{key}", Err("neither"));
        check("https://h/{key}#x", Err("escaped"));
        check("https://h/a b/{key}", Err("escaped"));
        check("https:///{key}", Err(""));
    }
}
