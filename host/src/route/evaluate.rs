//! Whether a condition holds, with three answers: yes, no, and "that depends on the content".

use crate::config::{Condition, TextPattern};
use crate::route::facts::{Fact, Facts};

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    /// The content is not there yet.
    Open,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// Whether a condition holds for these facts.
pub(super) fn evaluate(condition: &Condition, facts: &impl Facts) -> Truth {
    match condition {
        Condition::All(all) => every(all, facts),
        Condition::Any(any) => some(any, facts),
        Condition::Not(inner) => match evaluate(inner, facts) {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Open => Truth::Open,
        },
        Condition::Door(doors) => doors.iter().any(|door| &**door == facts.door()).into(),
        Condition::Account(accounts) => {
            accounts.iter().any(|account| &**account == facts.account()).into()
        }
        Condition::Protocol(protocol) => (*protocol == facts.protocol()).into(),
        Condition::From(patterns) => {
            patterns.iter().any(|pattern| pattern.matches(facts.sender())).into()
        }
        Condition::To(patterns) => {
            patterns.iter().any(|pattern| pattern.matches(facts.recipient())).into()
        }
        Condition::Meta(key, patterns) => known(facts.meta(key), |text| one_of(patterns, text)),
        Condition::Subject(patterns) => {
            known(facts.subject(), |text| one_of(patterns, text.as_deref()))
        }
        Condition::Header(name, patterns) => {
            known(facts.header(name), |text| one_of(patterns, text.as_deref()))
        }
        Condition::Text(patterns) => known(facts.text(), |text| one_of(patterns, text.as_deref())),
        Condition::Size(min, max) => {
            known(facts.size_bytes(), |size| (*min..=*max).contains(&size))
        }
        Condition::DataCoding(codings) => known(facts.data_coding(), |coding| {
            coding.is_some_and(|coding| codings.contains(&coding))
        }),
        Condition::Tlv(tag, wanted) => known(facts.tlvs(*tag), |found| match wanted {
            None => !found.is_empty(),
            Some(wanted) => found.iter().any(|found| wanted.iter().any(|want| &**want == *found)),
        }),
        Condition::Time(windows) => {
            let minutes = facts.now().as_secs() / 60;
            windows.iter().any(|window| window.contains(minutes)).into()
        }
        Condition::Fork(wanted) => (facts.is_fork() == *wanted).into(),
        Condition::Share(share) => {
            known(facts.id(), |id| spread(id.as_u64()) % 10_000 < u64::from(*share))
        }
    }
}

fn every(all: &[Condition], facts: &impl Facts) -> Truth {
    let mut truth = Truth::Yes;
    for condition in all {
        match evaluate(condition, facts) {
            Truth::No => return Truth::No,
            Truth::Open => truth = Truth::Open,
            Truth::Yes => {}
        }
    }
    truth
}

fn some(any: &[Condition], facts: &impl Facts) -> Truth {
    let mut truth = Truth::No;
    for condition in any {
        match evaluate(condition, facts) {
            Truth::Yes => return Truth::Yes,
            Truth::Open => truth = Truth::Open,
            Truth::No => {}
        }
    }
    truth
}

fn known<T>(fact: Fact<T>, holds: impl FnOnce(T) -> bool) -> Truth {
    match fact {
        Fact::Known(value) => holds(value).into(),
        Fact::Later => Truth::Open,
    }
}

fn one_of(patterns: &[TextPattern], text: Option<&str>) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// Mixes the bits of a number, so that neighbours fall far apart (the finalizer of MurmurHash3). The
/// same number gives the same result on every machine and in every version.
pub(super) const fn spread(number: u64) -> u64 {
    let mut n = number;
    n ^= n >> 33;
    n = n.wrapping_mul(0xff51_afd7_ed55_8ccd);
    n ^= n >> 33;
    n = n.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ (n >> 33)
}
