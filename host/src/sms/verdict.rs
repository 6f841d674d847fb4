//! What a `command_status` means for a delivery.

use std::collections::BTreeMap;
use std::sync::Arc;

use smpp::{Status, StatusClass};

use crate::config;
use crate::delivery::{Cause, Defer};

/// What becomes of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Taken,
    /// Not now.
    Deferred(Defer),
    /// Never.
    Failed,
}

/// Who answered, and what its answers mean.
#[derive(Clone, Debug)]
pub enum Judge {
    /// An SMSC answered a submit: the operator's word, then the table's.
    Smsc(Arc<config::Connector>),
    /// An ESME answered a `deliver_sm`.
    Esme,
}

impl Judge {
    /// What `status` means here.
    #[must_use]
    pub fn verdict(&self, status: Status) -> Verdict {
        match self {
            Self::Smsc(connector) => match &connector.kind {
                config::ConnectorKind::Smpp(smpp) => from_smsc(status, &smpp.status),
                config::ConnectorKind::Smtp(_) => by_class(status),
            },
            Self::Esme => from_esme(status),
        }
    }
}

/// The cause that an answer is.
#[must_use]
pub fn cause(status: Status, words: Option<&str>, peer: &Arc<str>) -> Cause {
    let said = match status.name() {
        Some(name) => format!("ESME_{name}: {}", status.text()),
        None => format!("0x{:X}: {}", status.0, status.text()),
    };
    let text = match words {
        Some(words) if !words.is_empty() => format!("{said} ({words})"),
        _ => said,
    };
    Cause {
        code: status.0,
        enhanced: status.mail().into(),
        text: text.into(),
        peer: Arc::clone(peer),
    }
}

fn from_smsc(status: Status, overrides: &BTreeMap<u32, config::StatusClass>) -> Verdict {
    match overrides.get(&status.0) {
        Some(config::StatusClass::Temporary) => Verdict::Deferred(Defer::Temporary),
        Some(config::StatusClass::Permanent) => Verdict::Failed,
        Some(config::StatusClass::Throttle) => Verdict::Deferred(Defer::Throttled),
        Some(config::StatusClass::Connector) => Verdict::Deferred(Defer::Connector),
        Some(config::StatusClass::Success) => Verdict::Taken,
        None => by_class(status),
    }
}

const fn of_class(class: StatusClass) -> Verdict {
    match class {
        StatusClass::Accepted => Verdict::Taken,
        StatusClass::Temporary => Verdict::Deferred(Defer::Temporary),
        StatusClass::Connector => Verdict::Deferred(Defer::Connector),
        StatusClass::Throttle => Verdict::Deferred(Defer::Throttled),
        StatusClass::Permanent | StatusClass::Malformed => Verdict::Failed,
        StatusClass::Unclear => Verdict::Deferred(Defer::Limited),
    }
}

fn by_class(status: Status) -> Verdict {
    of_class(status.class())
}

/// An ESME that cannot take a message now says so in one of these ways; anything else is a no.
fn from_esme(status: Status) -> Verdict {
    match status.0 {
        0x00 => Verdict::Taken,
        0x14 | 0x58 => Verdict::Deferred(Defer::Throttled),
        0x08 | 0x64 => Verdict::Deferred(Defer::Temporary),
        0x45 | 0x67 | 0xFE | 0xFF => Verdict::Deferred(Defer::Limited),
        _ => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u32, expect: Verdict) {
        assert_eq!(from_smsc(Status(status), &BTreeMap::new()), expect, "{}", Status(status));
    }

    #[test]
    fn statuses_mean_what_the_table_says() {
        check(0x00, Verdict::Taken);
        check(0x58, Verdict::Deferred(Defer::Throttled));
        check(0x14, Verdict::Deferred(Defer::Throttled));
        check(0x08, Verdict::Deferred(Defer::Temporary));
        check(0x0D, Verdict::Deferred(Defer::Connector));
        check(0x0B, Verdict::Failed);
        check(0x01, Verdict::Failed);
        check(0x45, Verdict::Deferred(Defer::Limited));
        check(0x422, Verdict::Deferred(Defer::Limited));
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let overrides = BTreeMap::from([
            (0x422, config::StatusClass::Permanent),
            (0x0B, config::StatusClass::Temporary),
            (0x45, config::StatusClass::Success),
        ]);
        assert_eq!(from_smsc(Status(0x422), &overrides), Verdict::Failed);
        assert_eq!(from_smsc(Status(0x0B), &overrides), Verdict::Deferred(Defer::Temporary));
        assert_eq!(from_smsc(Status(0x45), &overrides), Verdict::Taken);
    }

    #[test]
    fn an_esme_that_does_not_say_later_says_no() {
        assert_eq!(from_esme(Status::RX_T_APPN), Verdict::Deferred(Defer::Temporary));
        assert_eq!(from_esme(Status::RX_R_APPN), Verdict::Failed);
        assert_eq!(from_esme(Status::RINVMSGLEN), Verdict::Failed);
    }

    #[test]
    fn a_cause_says_number_name_and_words() {
        let cause = cause(Status::RTHROTTLED, Some("buy more"), &Arc::from("smsc-a"));
        assert_eq!((cause.code, &*cause.enhanced), (0x58, "4.3.2"));
        assert_eq!(
            &*cause.text,
            "ESME_RTHROTTLED: too many messages in too short a time (buy more)"
        );
    }
}
