//! Who shares whose answer, where plugins made forks that share.

use message::{Message, Recipient};

use super::Plan;
use crate::delivery::{Answers, Delivery};
use crate::pipeline::{Fate, Leg};
use crate::receipt::share::Shared;

/// The shares in the answers about the recipients of a message.
pub(super) struct Shares<'a> {
    message: &'a Message,
    /// The recipient whose answer those share that the origin did not name.
    others: usize,
    /// How many shares each recipient has so far.
    dealt: Vec<u16>,
}

/// How many things of each kind a plan has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    deliveries: usize,
    held: usize,
    later: usize,
    outcomes: usize,
    refused: usize,
}

impl Plan {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            deliveries: self.deliveries.len(),
            held: self.held.len(),
            later: self.later.len(),
            outcomes: self.outcomes.len(),
            refused: self.refused.len(),
        }
    }

    /// Where the share is noted of everything that was planned since, and that will come to an end.
    fn shares_since(&mut self, before: Counts) -> impl Iterator<Item = &mut Option<Box<Shared>>> {
        let deliveries = self.deliveries.iter_mut().skip(before.deliveries);
        let held = self.held.iter_mut().skip(before.held);
        let later = self.later.iter_mut().skip(before.later);
        let outcomes = self.outcomes.iter_mut().skip(before.outcomes);
        let refused = self.refused.iter_mut().skip(before.refused);
        deliveries
            .chain(held)
            .chain(later)
            .map(|(delivery, _)| &mut delivery.terms.shared)
            .chain(outcomes.map(|(about, _)| &mut about.shared))
            .chain(refused.map(|refused| &mut refused.about.shared))
    }
}

impl Plan {
    /// What was planned for the one recipient of a delivery has the part in an answer that the delivery
    /// had. Where a plugin made several recipients of it, the first has it.
    pub fn inherit(&mut self, old: &Delivery) {
        if old.answers == Answers::Origin && old.terms.shared.is_none() {
            return;
        }
        let waiting = self.deliveries.iter_mut().chain(&mut self.held).chain(&mut self.later);
        let waiting = waiting.map(|(it, _)| (&mut it.answers, &mut it.terms.shared));
        let outcomes = self.outcomes.iter_mut().map(|(about, _)| about);
        let told = outcomes.chain(self.refused.iter_mut().map(|refused| &mut refused.about));
        let told = told.map(|about| (&mut about.answers, &mut about.shared));
        let parts = waiting.chain(told).filter(|(answers, _)| **answers != Answers::Copy);
        for (at, (answers, shared)) in parts.enumerate() {
            if at == 0 {
                shared.clone_from(&old.terms.shared);
            } else {
                (*answers, *shared) = (Answers::Copy, None);
            }
        }
    }
}

impl<'a> Shares<'a> {
    /// Shares in the answers about the recipients of this message as it came; none if no leg shares.
    /// Whom the origin did not name stands for the first recipient that was taken out, such as a list
    /// whose members have forks, else for the first one.
    pub(super) fn new(message: &'a Message, legs: &[Leg]) -> Option<Self> {
        if !legs.iter().any(|leg| leg.answers == Answers::Share) {
            return None;
        }
        let goes_itself = |named: &Recipient| {
            let mut own = legs.iter().filter(|leg| leg.answers == Answers::Origin);
            own.any(|leg| {
                let mut recipients = leg.message.recipients.iter();
                !matches!(leg.fate, Fate::Drop(_)) && recipients.any(|it| is_named(it, named))
            })
        };
        let others = message.recipients.iter().position(|named| !goes_itself(named)).unwrap_or(0);
        Some(Self { message, others, dealt: vec![0; message.recipients.len()] })
    }

    /// Gives a share to everything that was planned for this recipient of a leg since `before`.
    pub(super) fn deal(&mut self, plan: &mut Plan, before: Counts, of: &Recipient) {
        let recipients = &self.message.recipients;
        let index = recipients.iter().position(|named| is_named(of, named)).unwrap_or(self.others);
        let Some((recipient, dealt)) = recipients.get(index).zip(self.dealt.get_mut(index)) else {
            return;
        };
        for place in plan.shares_since(before) {
            *place = Some(Box::new(Shared {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                member: *dealt,
                of: 0,
                sender: self.message.sender.clone(),
                recipient: recipient.clone(),
            }));
            *dealt = dealt.saturating_add(1);
        }
    }

    /// Everybody learns how many shares there are. One alone is the answer itself.
    pub(super) fn conclude(self, plan: &mut Plan) {
        let none = Counts { deliveries: 0, held: 0, later: 0, outcomes: 0, refused: 0 };
        for place in plan.shares_since(none) {
            let dealt = place.as_ref().and_then(|it| self.dealt.get(usize::from(it.index)));
            let of = dealt.copied().unwrap_or(0);
            match place {
                Some(shared) if of > 1 => shared.of = of,
                _ => *place = None,
            }
        }
    }
}

/// Whether it is this recipient that the origin named, or what a plugin put in its place.
fn is_named(recipient: &Recipient, named: &Recipient) -> bool {
    recipient.address == named.address
        || recipient.original.as_deref() == Some(&*named.address.value)
}

#[cfg(test)]
mod tests {
    use message::MessageId;

    use super::*;
    use crate::plan::tests::{leg, plan_legs};

    /// A leg: its recipients, what its outcome means to the origin, and whether it is dropped.
    type Given<'a> = (&'a [&'a str], Answers, bool);

    /// Plans legs of a message to `named`; expects for each delivery whose answer it shares, and with
    /// how many.
    #[track_caller]
    fn check(named: &[&str], given: &[Given<'_>], expect: &[Option<(&str, u16)>]) {
        let given: Vec<Leg> = given
            .iter()
            .map(|(to, answers, dropped)| {
                let fate = if *dropped { Fate::Drop("".into()) } else { Fate::Tables };
                Leg { fate, ..leg(to, *answers) }
            })
            .collect();
        let message = leg(named, Answers::Origin).message;
        let plan = plan_legs((MessageId::from_u64(1), &message), &given);
        let shares = plan.deliveries.iter().map(|(delivery, _)| delivery.terms.shared.as_ref());
        let got: Vec<_> =
            shares.map(|shared| shared.map(|it| (&*it.recipient.address.value, it.of))).collect();
        assert_eq!(got, expect);
    }

    const A: &str = "+33600000001";
    const B: &str = "+33600000002";
    const C: &str = "+33600000003";
    const LIST: &str = "+33600000009";

    #[test]
    fn a_copy_has_no_share_and_one_share_is_the_answer_itself() {
        use Answers::{Copy, Origin, Share};
        check(&[A], &[(&[A], Origin, false), (&[B], Copy, false)], &[None, None]);
        check(&[A], &[(&[A], Origin, true), (&[A], Share, false)], &[None]);
        check(&[A], &[(&[A], Origin, false), (&[B], Share, false)], &[Some((A, 2)), Some((A, 2))]);
    }

    #[test]
    fn who_was_not_named_shares_with_who_was_taken_out() {
        use Answers::{Origin, Share};
        let forks: [Given<'_>; 3] =
            [(&[C], Origin, false), (&[A], Share, false), (&[B], Share, false)];
        check(&[C, LIST], &forks, &[None, Some((LIST, 2)), Some((LIST, 2))]);
        let forks: [Given<'_>; 2] = [(&[A, B], Origin, false), (&[B], Share, false)];
        check(&[A, B], &forks, &[None, Some((B, 2)), Some((B, 2))]);
    }
}
