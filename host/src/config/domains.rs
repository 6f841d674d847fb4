//! `domains`: mail domains whose mailboxes are phone numbers.

use std::collections::BTreeMap;

use message::Address;
use message::phone::{Country, Number, PhoneError, normalize, normalize_or_short};

use super::check::Check;
use super::keys::{Key, Kind, Schema, key};
use super::section::Section;
use super::server::is_domain;

/// `domains` as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Domains {
    by_name: BTreeMap<Box<str>, NumberDomain>,
}

/// One domain whose mailboxes are phone numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberDomain {
    /// ISO 3166 code of the country that national numbers belong to; without one only international
    /// numbers are understood.
    pub country: Option<Country>,
    /// Three to six digits are a short code.
    pub short_codes: bool,
}

impl Domains {
    /// Number domains by name in lower case.
    pub fn new(by_name: BTreeMap<Box<str>, NumberDomain>) -> Self {
        Self { by_name }
    }

    /// What the mailbox `local@domain` is: `0612345678@sms.example.net` is `+33612345678` where that
    /// domain has the numbers of France.
    #[must_use]
    pub fn resolve(&self, mailbox: &str) -> Resolved {
        let Some((local, domain)) = mailbox.rsplit_once('@') else { return Resolved::Mailbox };
        let Some(rule) = self.rule(domain) else { return Resolved::Mailbox };
        let number = if rule.short_codes {
            normalize_or_short(local, rule.country)
        } else {
            normalize(local, rule.country).map(Number::E164)
        };
        match number {
            Ok(Number::E164(number)) => Resolved::Number(Address::phone(number.as_str())),
            Ok(Number::ShortCode(code)) => Resolved::Number(Address::short_code(code)),
            Err(problem) => Resolved::NotANumber(problem),
        }
    }

    /// The rule for this domain, whatever its case, as A-labels or not.
    #[must_use]
    pub fn rule(&self, domain: &str) -> Option<&NumberDomain> {
        self.by_name.get(&*message::normal_domain(domain))
    }

    /// Names and rules, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NumberDomain)> {
        self.by_name.iter().map(|(name, rule)| (&**name, rule))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// What a mailbox is in the light of the number domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// Its domain is an ordinary one.
    Mailbox,
    /// It is this number or short code.
    Number(Address),
    /// Its domain is one of numbers, but the local part is none.
    NotANumber(PhoneError),
}

static KEYS: Schema = Schema {
    about: "A mail domain whose mailboxes are phone numbers.",
    keys: &[
        key("phone", Kind::Text, "ISO 3166 code of the country whose national numbers are understood, or `international`.").required(),
        key("short_codes", Kind::Flag, "Mailboxes of three to six digits are short codes.").or("false"),
    ],
};

/// The key at the top of the file.
pub(super) const TOP: Key = key("domains", Kind::Named(&KEYS), KEYS.about);

impl Domains {
    pub(super) fn read(check: &mut Check, top: &Section<'_>) -> Self {
        let mut by_name = BTreeMap::new();
        for (name, place, node) in top.named(check, "domains") {
            if !is_domain(&name) {
                check.error(place, format!("domains: \"{name}\" is not a domain"));
            }
            let section = Section::open(check, &KEYS, node, format!("domains.{name}"));
            let phone = section.text(check, "phone");
            let country = if &*phone == "international" || phone.is_empty() {
                None
            } else {
                let country = phone.parse::<Country>();
                if let Err(problem) = &country {
                    let place = section.opt("phone").map_or(place, |node| node.place);
                    check.error(place, format!("{}: {problem}", section.at("phone")));
                }
                country.ok()
            };
            let short_codes = section.flag(check, "short_codes");
            let rule = NumberDomain { country, short_codes };
            if by_name.insert(name.to_ascii_lowercase().into_boxed_str(), rule).is_some() {
                check.error(place, format!("domains: \"{name}\" is there twice"));
            }
        }
        Self::new(by_name)
    }
}
