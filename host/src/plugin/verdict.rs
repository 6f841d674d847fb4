//! What a plugin says about a message, checked and made ours. What is not known is a fault, never
//! `next`: a filter must not fail open.

use std::sync::Arc;
use std::time::Duration;

use super::bindings::wirepost::plugin::types as wit;
use super::env::HostEnv;
use super::fault::Fault;
use super::judgement::{REPLY_TEXT_CHARS_MAX, Reply, Verdict};
use crate::config::Grants;

/// Targets of one route verdict.
const TARGETS_MAX: usize = 32;
/// What a plugin's hint is cut to.
const HINT_MAX: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn read(
    given: wit::Verdict,
    grants: &Grants,
    env: &dyn HostEnv,
) -> Result<Verdict, Fault> {
    Ok(match given {
        wit::Verdict::Next => Verdict::Next,
        wit::Verdict::Accept => Verdict::Accept,
        wit::Verdict::Route(names) => Verdict::Route(targets(&names, grants, env)?),
        wit::Verdict::Reject(given) => Verdict::Reject(reply(&given, 5)),
        wit::Verdict::Defer((given, hint_ms)) => {
            let hint = Duration::from_millis(hint_ms).min(HINT_MAX);
            Verdict::Defer(reply(&given, 4), (hint_ms > 0).then_some(hint))
        }
        wit::Verdict::Drop(reason) => Verdict::Drop(clean(&reason).into()),
        wit::Verdict::Hold(reason) => Verdict::Hold(clean(&reason).into()),
        wit::Verdict::Wait(_) => {
            return Err(Fault::Unknown("`wait`: only the message itself can wait".to_owned()));
        }
        wit::Verdict::Other((code, _)) => {
            return Err(Fault::Unknown(format!("verdict code {code}")));
        }
    })
}

/// Octets of its texts.
pub(super) fn octets(given: &wit::Verdict) -> usize {
    let of = |reply: &wit::Reply| reply.enhanced.len().saturating_add(reply.text.len());
    match given {
        wit::Verdict::Next | wit::Verdict::Accept => 0,
        wit::Verdict::Route(names) => names.iter().map(String::len).sum(),
        wit::Verdict::Reject(reply) | wit::Verdict::Defer((reply, _)) => of(reply),
        wit::Verdict::Drop(text) | wit::Verdict::Hold(text) | wit::Verdict::Other((_, text)) => {
            text.len()
        }
        wit::Verdict::Wait(state) => state.len(),
    }
}

fn targets(names: &[String], grants: &Grants, env: &dyn HostEnv) -> Result<Vec<Arc<str>>, Fault> {
    if names.is_empty() {
        return Err(Fault::Unknown("a route without a target".to_owned()));
    }
    if names.len() > TARGETS_MAX {
        return Err(Fault::Output(format!("a route of more than {TARGETS_MAX} targets")));
    }
    let mut targets = Vec::with_capacity(names.len());
    for name in names {
        if env.target(name).is_none() {
            return Err(Fault::Unknown(format!("there is no target `{}`", clean(name))));
        }
        let Some(granted) = grants.targets.iter().find(|granted| ***granted == **name) else {
            return Err(Fault::Denied(format!("the target `{name}` (`grants: targets`)")));
        };
        targets.push(Arc::clone(granted));
    }
    Ok(targets)
}

fn reply(given: &wit::Reply, class: u16) -> Reply {
    let in_class = given.smtp_code / 100 == class;
    Reply {
        smtp_code: in_class.then_some(given.smtp_code),
        enhanced: is_enhanced(&given.enhanced, class).then(|| given.enhanced.as_str().into()),
        smpp_status: (given.smpp_status != 0).then_some(given.smpp_status),
        text: clean(&given.text).into(),
    }
}

/// RFC 3463 §2: class, subject, detail.
fn is_enhanced(text: &str, class: u16) -> bool {
    let number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
    };
    let parts: Vec<&str> = text.split('.').collect();
    matches!(parts.as_slice(), [first, subject, detail]
        if *first == class.to_string() && number(subject) && number(detail))
}

fn clean(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(REPLY_TEXT_CHARS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{clean, is_enhanced, reply, wit};

    #[track_caller]
    fn check(code: u16, enhanced: &str, class: u16, expect: (Option<u16>, Option<&str>)) {
        let given = wit::Reply {
            smtp_code: code,
            enhanced: enhanced.to_owned(),
            smpp_status: 0,
            text: String::new(),
        };
        let read = reply(&given, class);
        assert_eq!((read.smtp_code, read.enhanced.as_deref()), expect);
        assert_eq!(read.smpp_status, None);
    }

    #[test]
    fn codes_stay_in_the_class_of_the_verdict() {
        check(550, "5.7.1", 5, (Some(550), Some("5.7.1")));
        check(250, "2.0.0", 5, (None, None));
        check(451, "4.3.0", 4, (Some(451), Some("4.3.0")));
        check(550, "5.7.1", 4, (None, None));
        check(0, "", 5, (None, None));
    }

    #[test]
    fn texts_are_one_line() {
        assert_eq!(clean("no\r\n250 OK\u{7}"), "no  250 OK");
        assert_eq!(clean(&"x".repeat(1000)).len(), 400);
        assert!(!is_enhanced("5.7.1\r\nX", 5));
    }
}
