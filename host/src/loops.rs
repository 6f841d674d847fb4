//! Never back to where a message came from, unless a fork of it answers its sender. Pure.
//!
//! Whom a fork may answer is a note that the host writes when the plugins are done with it, so that a
//! fork which was held, or whose target went away, is still an answer when it is planned again. What a
//! plugin writes there counts for nothing.
//!
//! Nothing in an SMS says that a program wrote it. Two programs that answer each other are slowed down
//! by a bucket of answers for each number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use message::{Address, Message, Timestamp};

/// Answers that one number may get at once by the way that its messages came: more than a person asks
/// for.
const ANSWERS_MAX: u32 = 60;
/// One more may follow after each of these times.
const ANSWER_EVERY: Duration = Duration::from_secs(10);
/// Numbers whose answers are counted; with more of them that got one lately, others are not counted.
const NUMBERS_MAX: usize = 100_000;

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

/// What a target is, seen from where a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Another one.
    On,
    /// The same one, with an answer to the sender.
    Answer,
    /// The same one.
    Back,
}

impl Way {
    /// The way to this recipient by this target.
    #[must_use]
    pub fn of(message: &Message, to: &Address, target: &str) -> Self {
        if *target != *message.origin.door {
            return Self::On;
        }
        let answers = message.meta.get(NOTE).is_some_and(|whom| is_same(whom, &to.value));
        if answers { Self::Answer } else { Self::Back }
    }
}

/// How many answers numbers got lately: for each, when the last of them would have left at one every
/// ten seconds (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug, Default)]
pub struct Answered {
    left: BTreeMap<String, Timestamp>,
    /// When those that got none lately were forgotten.
    swept: Timestamp,
}

impl Answered {
    /// Counts an answer to this number by this target; false if it is one too many.
    pub fn count(&mut self, target: &str, to: &Address, now: Timestamp) -> bool {
        if self.left.len() >= NUMBERS_MAX && now.since(self.swept) >= ANSWER_EVERY {
            self.swept = now;
            self.left.retain(|_, left| *left > now);
        }
        let key = format!("{target}/{}", plain(&to.value));
        let left = self.left.get(&key).copied().unwrap_or(now).max(now);
        if left.since(now) > ANSWER_EVERY * (ANSWERS_MAX - 1) {
            return false;
        }
        if self.left.len() < NUMBERS_MAX || self.left.contains_key(&key) {
            self.left.insert(key, left.after(ANSWER_EVERY));
        }
        true
    }
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
    fn check(fork: &Message, target: &str, back: bool) {
        let way = Way::of(fork, &fork.recipients[0].address, target);
        assert_eq!(way == Way::Back, back, "{way:?}");
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

    #[test]
    fn two_programs_that_answer_each_other_are_slowed_down() {
        let (mut answered, mut now) = (Answered::default(), Timestamp::from_ms(1_000_000));
        let (one, other) = (Address::phone("+33612345678"), Address::phone("+33612345679"));
        let mut answer = |to: &Address, now| answered.count("smsc", to, now);
        for _ in 0..ANSWERS_MAX {
            assert!(answer(&one, now));
        }
        assert!(!answer(&one, now));
        assert!(!answer(&Address::guess("33612345678"), now), "the same number");
        assert!(answer(&other, now));
        now = now.after(ANSWER_EVERY);
        assert!(answer(&one, now));
        assert!(!answer(&one, now));
        now = now.after(ANSWER_EVERY * ANSWERS_MAX);
        for n in 0..ANSWERS_MAX {
            assert!(answer(&one, now), "{n}");
        }
    }

    #[test]
    fn numbers_that_are_counted_have_a_bound() {
        let (mut answered, now) = (Answered::default(), Timestamp::from_ms(1_000_000));
        for n in 0..NUMBERS_MAX + 10 {
            assert!(answered.count("smsc", &Address::phone(format!("+33{n}")), now));
        }
        assert_eq!(answered.left.len(), NUMBERS_MAX);
        let later = now.after(ANSWER_EVERY);
        assert!(answered.count("smsc", &Address::phone("+34"), later));
        assert_eq!(answered.left.len(), 1);
    }
}
