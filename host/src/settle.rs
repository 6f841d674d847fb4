//! From an attempt to what must be written and done next. Pure: it says, the router does.

use message::Timestamp;

use crate::config::{OnUnknownOutcome, Retry};
use crate::delivery::{Attempt, Cause, Defer, Delivery, Part};
use crate::queue::retry::{self, LIMITED_ATTEMPTS_MAX};

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The next hop has it.
    Delivered {
        /// The ids it gave.
        remote: Vec<std::sync::Arc<str>>,
        /// What it said.
        reply: Cause,
        /// It tells the origin of what follows.
        tells: bool,
    },
    /// It goes again: when and where the delivery now says.
    Again {
        /// Whether it changes target now.
        moved: bool,
    },
    /// It is given up; the origin is told.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// It was not delivered in time; the origin is told.
    Expired {
        /// What kept it.
        cause: Cause,
    },
    /// It waits for an operator.
    Held {
        /// Why.
        cause: Cause,
    },
}

/// What settling needs to know of the world.
pub struct Rules<'a> {
    /// The schedule of the route or the connector.
    pub retry: &'a Retry,
    /// What the connector does with lost answers.
    pub on_unknown: OnUnknownOutcome,
    /// Whether the message came from where no report can go: from an SMSC.
    pub nobody_hears: bool,
    /// Whether all parts may go over another target although some were sent.
    pub resend_whole: bool,
    /// Whether a target can be used now.
    pub is_up: &'a dyn Fn(&str) -> bool,
}

impl std::fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("retry", &self.retry).finish_non_exhaustive()
    }
}

/// Settles an attempt: updates the delivery and says what becomes of it.
#[must_use]
pub fn settle(
    delivery: &mut Delivery,
    attempt: Attempt,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Settlement {
    let settlement = match attempt {
        Attempt::Delivered { remote, reply, tells } => {
            return Settlement::Delivered { remote, reply, tells };
        }
        Attempt::Failed { cause } => return fail(delivery, cause),
        Attempt::Unfit { cause } if rules.nobody_hears => {
            delivery.last = Some(cause.clone());
            return Settlement::Held { cause };
        }
        Attempt::Unfit { cause } => return fail(delivery, cause),
        Attempt::Deferred { cause, class } => defer(delivery, cause, class, rules, now),
        Attempt::Unknown { cause } => {
            delivery.doubtful = true;
            match rules.on_unknown {
                OnUnknownOutcome::Fail => return fail(delivery, cause),
                OnUnknownOutcome::Hold => {
                    delivery.last = Some(cause.clone());
                    return Settlement::Held { cause };
                }
                OnUnknownOutcome::Resend => defer(delivery, cause, Defer::Temporary, rules, now),
            }
        }
    };
    if matches!(settlement, Settlement::Again { .. }) && now >= delivery.expires {
        return expire(delivery);
    }
    settlement
}

/// A delivery whose time is over.
#[must_use]
pub fn expire(delivery: &Delivery) -> Settlement {
    let kept = delivery.last.clone().unwrap_or_else(|| Cause::ours("4.4.7", "it was never tried"));
    Settlement::Expired { cause: Cause { enhanced: "4.4.7".into(), ..kept } }
}

/// A delivery of a target that is down goes to the next one that is up, if there is one.
/// Returns whether it moved.
#[must_use]
pub fn fail_over(delivery: &mut Delivery, rules: &Rules<'_>, now: Timestamp) -> bool {
    if !may_move(delivery, rules) {
        return false;
    }
    let count = delivery.targets.len();
    let current = usize::from(delivery.cursor);
    let next = (1..count)
        .map(|step| (current + step) % count)
        .find(|&index| delivery.targets.get(index).is_some_and(|name| (rules.is_up)(name)));
    let Some(next) = next.and_then(|index| u16::try_from(index).ok()) else { return false };
    delivery.cursor = next;
    delivery.due = now;
    // Another SMSC has seen none of the parts.
    delivery.parts = None;
    true
}

fn fail(delivery: &mut Delivery, cause: Cause) -> Settlement {
    delivery.attempts = delivery.attempts.saturating_add(1);
    delivery.last = Some(cause.clone());
    Settlement::Failed { cause }
}

fn defer(
    delivery: &mut Delivery,
    cause: Cause,
    class: Defer,
    rules: &Rules<'_>,
    now: Timestamp,
) -> Settlement {
    delivery.last = Some(cause.clone());
    delivery.due = now;
    match class {
        Defer::Throttled => return Settlement::Again { moved: false },
        Defer::Connector => {
            // The message is not to blame: no attempt is counted, the breaker paces the target.
            return Settlement::Again { moved: fail_over(delivery, rules, now) };
        }
        Defer::Limited if delivery.attempts + 1 >= LIMITED_ATTEMPTS_MAX => {
            return fail(delivery, cause);
        }
        Defer::Limited | Defer::Temporary | Defer::Session => {}
    }
    delivery.attempts = delivery.attempts.saturating_add(1);
    // Each usable target once per round, then wait.
    let targets = u32::try_from(delivery.targets.len()).unwrap_or(u32::MAX).max(1);
    if !delivery.attempts.is_multiple_of(targets) && fail_over(delivery, rules, now) {
        return Settlement::Again { moved: true };
    }
    let rounds = delivery.attempts.div_ceil(targets);
    delivery.due = now.after(retry::delay(rules.retry, rounds, delivery.id));
    let moved = targets > 1 && {
        let due = delivery.due;
        let moved = fail_over(delivery, rules, now);
        delivery.due = due;
        moved
    };
    Settlement::Again { moved }
}

/// After a part went out there is no other target, unless all may be sent again.
fn may_move(delivery: &Delivery, rules: &Rules<'_>) -> bool {
    delivery.targets.len() > 1 && (!is_begun(delivery) || rules.resend_whole)
}

/// Whether a part of it went out already.
#[must_use]
pub fn is_begun(delivery: &Delivery) -> bool {
    let parts = delivery.parts.as_ref();
    parts.is_some_and(|parts| parts.sent.iter().any(|part| matches!(part, Part::Sent(_))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use message::{Address, MessageId, Recipient, Wish};

    use super::*;
    use crate::config::Delays;
    use crate::delivery::{Answers, Parts, Terms};

    fn t(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn delivery(targets: &[&str]) -> Delivery {
        Delivery {
            id: MessageId::from_u64(7),
            body: MessageId::from_u64(7),
            message: MessageId::from_u64(7),
            recipient: Recipient::new(Address::phone("+33612345678"), Wish::FINAL),
            route: "r".into(),
            targets: targets.iter().map(|&name| Arc::from(name)).collect(),
            cursor: 0,
            answers: Answers::Origin,
            sms: None,
            parts: None,
            attempts: 0,
            faults: 0,
            due: t(0),
            expires: t(1_000_000),
            priority: 0,
            account: "".into(),
            doubtful: false,
            known_as: None,
            last: None,
            terms: Terms::default(),
        }
    }

    fn cause() -> Cause {
        Cause::ours("4.0.0", "no")
    }

    fn deferred(class: Defer) -> Attempt {
        Attempt::Deferred { cause: cause(), class }
    }

    /// Settles one attempt with every target up but those in `down`; ten seconds between tries.
    fn run(delivery: &mut Delivery, attempt: Attempt, down: &[&str], now: u64) -> Settlement {
        let retry = Retry {
            delays: Delays::List(vec![Duration::from_secs(10)]),
            give_up: Duration::from_secs(1000),
        };
        let is_up = |name: &str| !down.contains(&name);
        let rules = Rules {
            retry: &retry,
            on_unknown: OnUnknownOutcome::Resend,
            nobody_hears: false,
            resend_whole: false,
            is_up: &is_up,
        };
        settle(delivery, attempt, &rules, t(now))
    }

    #[test]
    fn a_temporary_failure_waits_and_counts() {
        let mut d = delivery(&["a"]);
        assert_eq!(
            run(&mut d, deferred(Defer::Temporary), &[], 0),
            Settlement::Again { moved: false }
        );
        assert_eq!(d.attempts, 1);
        assert!(d.due >= t(10_000) && d.due <= t(11_000));
    }

    #[test]
    fn throttling_and_broken_connectors_cost_no_attempt() {
        let mut d = delivery(&["a"]);
        for class in [Defer::Throttled, Defer::Connector] {
            assert_eq!(run(&mut d, deferred(class), &[], 5), Settlement::Again { moved: false });
            assert_eq!((d.attempts, d.due), (0, t(5)));
        }
    }

    #[test]
    fn each_usable_target_is_tried_before_waiting() {
        let mut d = delivery(&["a", "b", "c"]);
        assert_eq!(
            run(&mut d, deferred(Defer::Temporary), &["b"], 0),
            Settlement::Again { moved: true }
        );
        assert_eq!((d.cursor, d.due), (2, t(0)));
        run(&mut d, deferred(Defer::Temporary), &["b"], 0);
        run(&mut d, deferred(Defer::Temporary), &["b"], 0);
        assert!(d.due >= t(10_000), "after a round it waits");
    }

    #[test]
    fn a_sent_part_pins_the_target() {
        let mut d = delivery(&["a", "b"]);
        d.parts = Some(Parts {
            reference: 1,
            total: 2,
            data_coding: 0,
            wide: false,
            sent: vec![Part::Sent("1".into()), Part::Missing],
        });
        assert_eq!(
            run(&mut d, deferred(Defer::Connector), &[], 0),
            Settlement::Again { moved: false }
        );
        assert_eq!(d.cursor, 0);
        assert!(d.parts.is_some());
    }

    #[test]
    fn a_lost_answer_is_sent_again_as_a_possible_duplicate() {
        let mut d = delivery(&["a"]);
        run(&mut d, Attempt::Unknown { cause: cause() }, &[], 0);
        assert!(d.doubtful);
    }

    #[test]
    fn an_answer_that_may_mean_anything_ends_after_a_few_tries() {
        let mut d = delivery(&["a"]);
        let mut tries = 0;
        while matches!(run(&mut d, deferred(Defer::Limited), &[], 0), Settlement::Again { .. }) {
            tries += 1;
        }
        assert_eq!(tries + 1, LIMITED_ATTEMPTS_MAX);
    }

    #[test]
    fn an_attempt_after_the_expiry_is_the_last() {
        let mut d = delivery(&["a"]);
        let settled = run(&mut d, deferred(Defer::Temporary), &[], 1_000_000);
        assert!(matches!(settled, Settlement::Expired { cause } if &*cause.enhanced == "4.4.7"));
    }

    #[test]
    fn what_cannot_be_written_is_held_where_nobody_would_hear_of_it() {
        let retry = Retry { delays: Delays::List(Vec::new()), give_up: Duration::ZERO };
        let settled = |nobody_hears: bool| {
            let rules = Rules {
                retry: &retry,
                on_unknown: OnUnknownOutcome::Resend,
                nobody_hears,
                resend_whole: false,
                is_up: &|_name| true,
            };
            settle(&mut delivery(&["a"]), Attempt::Unfit { cause: cause() }, &rules, t(0))
        };
        assert_eq!(settled(true), Settlement::Held { cause: cause() });
        assert_eq!(settled(false), Settlement::Failed { cause: cause() });
    }

    #[test]
    fn a_refusal_is_final() {
        let mut d = delivery(&["a", "b"]);
        let settled = run(&mut d, Attempt::Failed { cause: cause() }, &[], 0);
        assert_eq!(settled, Settlement::Failed { cause: cause() });
    }
}
