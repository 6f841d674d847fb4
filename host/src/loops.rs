//! Never back to where a message came from, unless a fork of it answers its sender. Pure.
//!
//! Whom a fork may answer is a note that the host writes when the plugins are done with it, so that a
//! fork which was held, or whose target went away, is still an answer when it is planned again. What a
//! plugin writes there counts for nothing.

use std::sync::Arc;

use message::{Address, Message};

/// The note that says whom a fork may answer.
const NOTE: &str = "answer.to";

/// Whom a leg on its way through the plugins may answer, and whom the forks of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    own: Option<Arc<str>>,
    forks: Option<Arc<str>>,
}

impl Whom {
    /// Of a message before the plugins see it: forks of it may answer its sender as it came. Nobody
    /// answers who has no address, nor a number that writes to itself: the answer would come in as the
    /// next message to answer. Of a fork that is decided again, its own note is all that is known.
    #[must_use]
    pub fn of(message: &Message, is_fork: bool) -> Self {
        let sender = &message.sender.value;
        let answers_itself = sender.is_empty() || is_for(message, sender);
        let forks = (!is_fork && !answers_itself).then(|| Arc::clone(sender));
        Self { own: message.meta.get(NOTE).cloned(), forks }
    }

    /// Of a fork of this leg, which is as plugins made it so far. An answer is answered by nobody: its
    /// sender is ours.
    #[must_use]
    pub fn of_fork(&self, leg: &Message) -> Self {
        if self.own.as_ref().is_some_and(|own| is_for(leg, own)) {
            return Self::default();
        }
        Self { own: self.forks.clone(), forks: self.forks.clone() }
    }

    /// Writes it down on the leg, once the plugins are done with it.
    pub fn note(&self, leg: &mut Arc<Message>) {
        let own = self.own.as_ref().filter(|own| is_for(leg, own));
        if leg.meta.get(NOTE) == own {
            return;
        }
        let leg = Arc::make_mut(leg);
        match own {
            Some(own) => leg.meta.insert(NOTE.into(), Arc::clone(own)),
            None => leg.meta.remove(NOTE),
        };
    }
}

/// Makes a message the fork of one that this sender sent, as if a plugin had emitted it.
pub fn fork_of(sender: &Address, message: &mut Arc<Message>) {
    let whom = Whom { own: Some(Arc::clone(&sender.value)), forks: None };
    whom.note(message);
}

/// Whether the target is the connector that the message came by, and this recipient is not the one
/// whom it may answer.
#[must_use]
pub fn goes_back(message: &Message, to: &Address, target: &str) -> bool {
    let answers = || message.meta.get(NOTE).is_some_and(|whom| is_same(whom, &to.value));
    *target == *message.origin.door && !answers()
}

fn is_for(message: &Message, whom: &str) -> bool {
    message.recipients.iter().any(|to| is_same(&to.address.value, whom))
}

fn is_same(one: &str, other: &str) -> bool {
    plain(one).eq_ignore_ascii_case(plain(other))
}

/// SMSCs write numbers with and without `+`.
fn plain(address: &str) -> &str {
    address.strip_prefix('+').unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use message::{Recipient, Wish};

    use super::*;
    use crate::plan::tests::leg;

    const SENDER: &str = "33612345678";

    /// A message from [`SENDER`] by the connector `a`.
    fn message(to: &str) -> Message {
        let mut message = (*leg(&[to], crate::delivery::Answers::Origin).message).clone();
        message.sender = Address::guess(SENDER);
        message.origin =
            Arc::new(message::Origin { door: "a".into(), ..(*message.origin).clone() });
        message
    }

    /// The fork of a leg to this recipient, when the plugins are done with it.
    fn fork(whom: &Whom, leg: &Message, to: &str) -> (Whom, Arc<Message>) {
        let born = whom.of_fork(leg);
        let recipients = vec![Recipient::new(Address::guess(to), Wish::NOTHING)];
        let mut fork = Arc::new(Message { recipients, ..leg.clone() });
        born.note(&mut fork);
        (born, fork)
    }

    #[track_caller]
    fn check(fork: &Message, target: &str, expect: bool) {
        assert_eq!(goes_back(fork, &fork.recipients[0].address, target), expect);
    }

    #[test]
    fn a_fork_answers_the_sender_and_nobody_else() {
        let came = message("33700");
        let whom = Whom::of(&came, false);
        check(&came, "a", true);
        check(&came, "b", false);
        check(&fork(&whom, &came, "+33612345678").1, "a", false);
        check(&fork(&whom, &came, SENDER).1, "a", false);
        check(&fork(&whom, &came, "+33612345679").1, "a", true);
        check(&fork(&whom, &came, "+33612345679").1, "b", false);
    }

    #[test]
    fn the_sender_is_who_it_was_when_the_message_came() {
        let came = message("33700");
        let whom = Whom::of(&came, false);
        let edited = Message { sender: Address::guess("+33699999999"), ..came };
        check(&fork(&whom, &edited, SENDER).1, "a", false);
        check(&fork(&whom, &edited, "+33699999999").1, "a", true);
    }

    #[test]
    fn a_fork_of_an_answer_is_none_and_one_of_another_fork_is() {
        let came = message("33700");
        let (whom, answer) = fork(&Whom::of(&came, false), &came, SENDER);
        check(&fork(&whom, &answer, SENDER).1, "a", true);
        let (whom, other) = fork(&Whom::of(&came, false), &came, "+33699999999");
        check(&fork(&whom, &other, SENDER).1, "a", false);
    }

    #[test]
    fn nobody_answers_a_number_that_writes_to_itself_or_that_has_no_address() {
        let itself = message("+33612345678");
        check(&fork(&Whom::of(&itself, false), &itself, SENDER).1, "a", true);
        let nobody = Message { sender: Address::phone(""), ..message("33700") };
        assert_eq!(Whom::of(&nobody, false).forks, None);
    }

    #[test]
    fn what_a_plugin_notes_counts_for_nothing_and_a_stored_answer_remains_one() {
        let came = message("33700");
        let whom = Whom::of(&came, false);
        let mut forged = Arc::new(came.clone());
        Arc::make_mut(&mut forged).meta.insert(NOTE.into(), "33700".into());
        check(&forged, "a", false);
        whom.note(&mut forged);
        check(&forged, "a", true);
        let (_, mut stored) = fork(&whom, &came, SENDER);
        let again = Whom::of(&stored, true);
        again.note(&mut stored);
        check(&stored, "a", false);
        check(&fork(&again, &stored, SENDER).1, "a", true);
    }
}
