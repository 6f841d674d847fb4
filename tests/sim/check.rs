//! What must hold at the end of a run, judged by what the peers saw.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wirepost::router::Shown;

use crate::config::ACCOUNTS;
use crate::facts::{
    All, Answer, EARLY_WITHIN, FAILING_DISK, Kind, List, MARK_WITHIN, Parcel, REPORT_WITHIN, Sight,
    Told, Verdict, Word,
};
use crate::net::{LATENCY_MAX, Net};
use crate::plugins::{SPLIT, STOP, TIDY};

/// How late after its expiry something may be handed over: the sweep looks once a second, and a
/// commit takes up to a second.
const EXPIRY_SLACK: Duration = Duration::from_millis(2500);

/// What is left in the host.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) entries: Vec<Shown>,
    pub(crate) problems: Vec<String>,
}

/// How long after a start what expired meanwhile may still be handed over: what is found expired is
/// told first, which takes commits.
const AFTER_START: Duration = Duration::from_secs(5);

/// All that is wrong, in words.
pub(crate) fn check(all: &All, net: &Net, left: &Left) -> Vec<String> {
    let judge = Judge { all, net };
    let mut wrong = all.wrong.clone();
    wrong.extend(left.problems.iter().cloned());
    for entry in left.entries.iter().filter(|entry| entry.state != "held") {
        wrong.push(format!("stuck: {entry:?}"));
    }
    for (recipient, parcel) in &all.parcels {
        let held = left.entries.iter().any(|entry| {
            entry.state == "held" && (*entry.to == **recipient || *entry.from == **recipient)
        });
        if held && !judge.is_homeless(parcel) {
            wrong.push(format!("{recipient}: held without a reason"));
        }
        for problem in judge.parcel(parcel, held) {
            wrong.push(format!("{recipient}: {problem}"));
        }
    }
    judge.order(&mut wrong);
    wrong
}

/// The place of a parcel in its session and when it was accepted, its recipient, and who saw it first.
type First<'a> = ((usize, Instant), &'a str, &'a Sight);

struct Judge<'a> {
    all: &'a All,
    net: &'a Net,
}

impl Judge<'_> {
    fn parcel(&self, parcel: &Parcel, held: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        match parcel.answer {
            // Of what a failing disk was given last, nobody knows how much the next start will find.
            Answer::Refused(at) if parcel.saw(Verdict::Taken) && !self.dies_after(at) => {
                wrong.push("refused, and delivered".to_owned());
            }
            Answer::Accepted(at) => {
                if self.is_addressed(parcel, at, &mut wrong) {
                    self.accepted(parcel, at, held, &mut wrong);
                }
                self.plugins(parcel, at, &mut wrong);
            }
            Answer::Refused(_) | Answer::Unknown => {}
        }
        self.duplicates(parcel, &mut wrong);
        self.expiry(parcel, &mut wrong);
        self.told(parcel, &mut wrong);
        if parcel.kind == Kind::SmsToMail {
            self.border(parcel, &mut wrong);
        }
        wrong
    }

    /// Whether its only target may have been away: the account that messages of mobiles go to.
    fn is_homeless(&self, parcel: &Parcel) -> bool {
        parcel.kind == Kind::Mobile
            && self.all.absences.iter().any(|absence| absence.account == ACCOUNTS[0])
    }

    /// Whether a message was for this mailbox at all: a plugin may have put the members of a list into
    /// its place.
    fn is_addressed(&self, parcel: &Parcel, at: Instant, wrong: &mut Vec<String>) -> bool {
        let splits = self.all.runs(SPLIT, parcel.sent, at);
        let is_known = |key: &String| {
            let other = self.all.parcels.get(key);
            other.is_some_and(|other| {
                !other.sights.is_empty() || (!other.told.is_empty() && !other.shares)
            })
        };
        let is_member = matches!(parcel.list, Some(List::Member(_)));
        if is_member && parcel.shares && !parcel.told.is_empty() {
            wrong.push("told of a member instead of the list".to_owned());
        }
        let addressed = match (&parcel.list, splits) {
            (None, _) => return true,
            (Some(List::Whole(_)), Some(splits)) => !splits,
            (Some(List::Member(_)), Some(splits)) => splits,
            // Either would be right, but not both.
            (Some(List::Whole(members)), None) => !members.iter().any(is_known),
            (Some(List::Member(whole)), None) => !is_known(whole),
        };
        // Where members share an answer, it is about the list.
        let shares = parcel.shares && matches!(parcel.list, Some(List::Whole(_)));
        let is_told = !parcel.told.is_empty() && !shares;
        let is_heard_of = !parcel.sights.is_empty() || is_told;
        if is_heard_of && !addressed {
            wrong.push(format!("it was sent to somebody else, splits: {splits:?}"));
        }
        addressed
    }

    /// A plugin that ran was asked, and one that did not was not.
    fn plugins(&self, parcel: &Parcel, at: Instant, wrong: &mut Vec<String>) {
        if parcel.refusable && self.all.runs(STOP, parcel.sent, at) == Some(true) {
            wrong.push("accepted, though a plugin refuses it".to_owned());
        }
        let Some(tidies) = self.all.runs(TIDY, parcel.sent, at) else { return };
        let mut sights = parcel.sights.iter();
        if let Some(sight) = sights.find(|sight| sight.tidied.is_some_and(|it| it != tidies)) {
            wrong.push(format!("a plugin runs {tidies}, and it came as {sight:?}"));
        }
    }

    /// Nothing that was acknowledged is lost.
    fn accepted(&self, parcel: &Parcel, at: Instant, held: bool, wrong: &mut Vec<String>) {
        let expired = Instant::now() > at + parcel.validity;
        // A list is told of as a whole, by the first member that fails.
        let whole = match &parcel.list {
            Some(List::Member(whole)) if parcel.shares => self.all.parcels.get(whole),
            _ => None,
        };
        let mut told = whole.unwrap_or(parcel).told.iter();
        let failed = told.any(|told| told.word == Word::Failed);
        if parcel.is_taken() || failed || held {
            return;
        }
        if !parcel.wants_failure && (parcel.saw(Verdict::Never) || expired) {
            return;
        }
        let never = parcel.sights.iter().find(|sight| sight.verdict == Verdict::Never);
        let ended = never.map(|sight| sight.at).into_iter().chain([at + parcel.validity]).min();
        if (never.is_some() || expired) && self.is_discarded(parcel, ended) {
            return;
        }
        if never.is_some() || expired {
            wrong.push("failed or expired, and its origin was not told".to_owned());
        } else {
            wrong.push("acknowledged and lost".to_owned());
        }
    }

    /// Whether its origin was an account that was not there at some time after this: its receipts are
    /// discarded.
    fn is_discarded(&self, parcel: &Parcel, after: Option<Instant>) -> bool {
        self.all.absences.iter().any(|absence| {
            absence.account == parcel.origin
                && after.is_some_and(|at| absence.over.is_none_or(|over| at <= over))
        })
    }

    /// A second copy only where the outcome of the first could not be known, and then marked.
    fn duplicates(&self, parcel: &Parcel, wrong: &mut Vec<String>) {
        let mut taken: BTreeMap<u8, Vec<&Sight>> = BTreeMap::new();
        for sight in parcel.sights.iter().filter(|sight| sight.verdict == Verdict::Taken) {
            taken.entry(sight.part.0).or_default().push(sight);
        }
        for copies in taken.values_mut() {
            // On a stalled link the first copy may arrive last.
            copies.sort_by_key(|sight| sight.written);
            for pair in copies.windows(2) {
                let [first, second] = pair else { continue };
                if self.is_known(first) && !self.is_moved(first, second) {
                    wrong.push(format!(
                        "delivered twice though the first answer was heard: {first:?} {second:?}"
                    ));
                } else if parcel.kind.leaves_as_mail() && !second.marked {
                    wrong.push(format!("a possible duplicate without a mark: {second:?}"));
                }
            }
        }
    }

    /// Whether a message of several parts left a target that was removed before all of them were
    /// taken: another one gets all of them.
    fn is_moved(&self, first: &Sight, second: &Sight) -> bool {
        let between = first.at..=second.at;
        let mut removed = self.all.removed.iter();
        first.part.1 > 1
            && first.peer != second.peer
            && removed.any(|(name, at)| *name == first.peer && between.contains(at))
    }

    /// Whether the host must have heard and written down what became of an attempt.
    fn is_known(&self, sight: &Sight) -> bool {
        self.heard(sight.connection, sight.answered)
    }

    fn heard(&self, connection: u64, answered: Option<Instant>) -> bool {
        let Some(answered) = answered else { return false };
        let way = answered + LATENCY_MAX * 2;
        let arrived = self.net.troubled(connection).is_none_or(|trouble| trouble > way);
        let died = self.all.deaths.iter().any(|at| *at >= answered && *at < answered + MARK_WITHIN);
        arrived && !died
    }

    fn dies_after(&self, at: Instant) -> bool {
        self.all.deaths.iter().any(|death| (at..=at + FAILING_DISK).contains(death))
    }

    fn expiry(&self, parcel: &Parcel, wrong: &mut Vec<String>) {
        let Some(expires) = parcel.expires() else { return };
        for sight in &parcel.sights {
            let since = sight.written.checked_sub(AFTER_START).unwrap_or(sight.written);
            let mut starts = self.all.deaths.iter().chain(&self.all.changes);
            let started = starts.any(|at| (since..=sight.written).contains(at));
            if sight.written > expires + EXPIRY_SLACK && !started {
                let late = sight.written - expires;
                wrong.push(format!("handed over {late:?} after its expiry: {sight:?}"));
            }
        }
    }

    /// One final outcome, told once, and only if it was wanted.
    fn told(&self, parcel: &Parcel, wrong: &mut Vec<String>) {
        if !parcel.told.is_empty() && !parcel.wants_success && !parcel.wants_failure {
            wrong.push(format!("told of what it did not ask for: {:?}", parcel.told));
        }
        // On a stalled link the first copy may arrive last.
        let mut told: Vec<&Told> = parcel.told.iter().collect();
        told.sort_by_key(|told| told.written);
        for pair in told.windows(2) {
            let [first, second] = pair else { continue };
            if self.heard(first.connection, first.answered) {
                wrong.push(format!("told twice: {first:?} {second:?}"));
            }
            // Each copy that was handed over after a crash has its own outcome, where the next hop
            // gives it an id of its own.
            let copies = parcel.sights.iter().filter(|sight| sight.verdict == Verdict::Taken);
            let own = parcel.kind != Kind::SmsToMail;
            if own
                && copies.count()
                    > usize::from(parcel.sights.first().map_or(1, |first| first.part.1))
            {
                continue;
            }
            if first.word != second.word || first.id != second.id {
                wrong.push(format!("told two different things: {first:?} {second:?}"));
            }
            if parcel.kind.is_told_by_mail() && !second.marked {
                wrong.push(format!("told again without a mark: {second:?}"));
            }
        }
        let success = parcel.told.iter().any(|told| told.word == Word::Delivered);
        if success && !parcel.is_taken() && !parcel.shares {
            wrong.push("told that it arrived, and no next hop took it".to_owned());
        }
        // A receipt for every part of a delivery whose answers were heard must reach the origin.
        let wanted = matches!(parcel.kind, Kind::Sms | Kind::MailToSms);
        let asked =
            |delivered: bool| if delivered { parcel.wants_success } else { parcel.wants_failure };
        let heard: Vec<&Sight> = parcel
            .sights
            .iter()
            .filter(|sight| sight.verdict == Verdict::Taken && self.is_known(sight))
            .collect();
        let Some(total) = heard.first().map(|sight| sight.part.1) else { return };
        let complete = (1..=total).all(|part| {
            heard.iter().any(|sight| {
                let receipt = parcel.receipts.iter().find(|receipt| receipt.id == sight.id);
                sight.part == (part, total) && receipt.is_some()
            })
        });
        // Of a copy whose answer was not heard, the host does not know the id.
        let mut known = parcel
            .receipts
            .iter()
            .filter(|receipt| heard.iter().any(|sight| sight.id == receipt.id));
        let outcome = known.all(|receipt| receipt.delivered);
        // The last part that anybody saw first ended it, or what came after it.
        let firsts = (1..=total).filter_map(|part| {
            heard.iter().filter(|sight| sight.part.0 == part).map(|sight| sight.at).min()
        });
        let discarded = self.is_discarded(parcel, firsts.max());
        if wanted && complete && asked(outcome) && parcel.told.is_empty() && !discarded {
            wrong.push(
                "the receipts of its SMSC were taken, and its origin was not told".to_owned(),
            );
        }
    }

    /// An SMS that became a mail: what its relay said is told, and nothing else.
    fn border(&self, parcel: &Parcel, wrong: &mut Vec<String>) {
        for told in &parcel.told {
            if !self.is_true(parcel, told) {
                wrong.push(format!("told what nobody said: {told:?}"));
            }
        }
        let mut heard = parcel.sights.iter().filter(|sight| sight.verdict == Verdict::Taken);
        let Some(heard) = heard.find(|sight| self.is_known(sight)) else { return };
        if !parcel.told.is_empty() || self.is_discarded(parcel, Some(heard.at)) {
            return;
        }
        let reports = parcel.receipts.iter().filter(|report| report.at + EARLY_WITHIN > heard.at);
        let words: Vec<bool> = reports.map(|report| report.delivered).collect();
        if !parcel.reported && parcel.wants_success {
            wrong.push(format!("taken by its relay, and its origin was not told: {heard:?}"));
        } else if words.is_empty() {
            if parcel.reported && (parcel.wants_success || parcel.wants_failure) {
                wrong.push(format!("no report came, and its origin was not told: {heard:?}"));
            }
        } else if parcel.wants_failure && words.iter().all(|delivered| !delivered) {
            wrong.push(format!("reported as failed, and its origin was not told: {heard:?}"));
        } else if parcel.wants_success && words.iter().all(|delivered| *delivered) {
            wrong.push(format!("reported as delivered, and its origin was not told: {heard:?}"));
        }
    }

    /// Whether somebody said what was told, or time did.
    fn is_true(&self, parcel: &Parcel, told: &Told) -> bool {
        let reported = |word| parcel.receipts.iter().any(|report| report.delivered == word);
        let mut taken = parcel.sights.iter().filter(|sight| sight.verdict == Verdict::Taken);
        match told.word {
            Word::Delivered if parcel.reported => reported(true),
            Word::Delivered => taken.next().is_some(),
            Word::Failed => {
                // Whose answer was lost may have been taken at any time.
                let expired = parcel.expires().is_none_or(|at| at <= told.written + EXPIRY_SLACK);
                reported(false) || parcel.saw(Verdict::Never) || expired
            }
            Word::Unknown => {
                parcel.reported && taken.any(|sight| sight.at + REPORT_WITHIN <= told.written)
            }
        }
    }

    /// First attempts of one session to one target keep the order of the session, where nothing
    /// happened in between that may change it.
    fn order(&self, wrong: &mut Vec<String>) {
        let mut sessions: BTreeMap<(u64, &str), Vec<First<'_>>> = BTreeMap::new();
        for (recipient, parcel) in &self.all.parcels {
            let Some(first) = parcel.sights.first() else { continue };
            let Answer::Accepted(accepted) = parcel.answer else { continue };
            if parcel.kind == Kind::Mobile || first.part.1 > 1 && parcel.kind == Kind::MobileToMail
            {
                continue;
            }
            let line = sessions.entry((parcel.session, &first.peer)).or_default();
            line.push(((parcel.place, accepted), recipient, first));
        }
        for line in sessions.values_mut() {
            line.sort_by_key(|((place, _), _, first)| (*place, first.at));
            for pair in line.windows(2) {
                let [((place, since), a, first), ((next, _), b, second)] = pair else { continue };
                let swapped = place < next && first.at > second.at;
                // What was tried before anybody saw it goes when its pause is over.
                let since = second.at.min(*since);
                let quiet = first.connection == second.connection
                    && self.is_quiet(since, first.at.max(second.at));
                if swapped && quiet {
                    wrong.push(format!("{b} overtook {a}: {second:?} {first:?}"));
                }
            }
        }
    }

    fn is_quiet(&self, from: Instant, to: Instant) -> bool {
        let window = (from - Duration::from_secs(30))..=to;
        let mut events = self.all.deaths.iter().chain(&self.all.changes);
        !events.any(|at| window.contains(at)) && !self.net.troubled_in(&window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Absence, Facts, ReceiptSent, Swap};
    use crate::random::Random;
    use crate::trace::Trace;

    fn sight(verdict: Verdict, after: Duration, answered: bool) -> Sight {
        let at = Instant::now() + after;
        Sight {
            at,
            written: at,
            peer: "relay".to_owned(),
            connection: 1,
            part: (1, 1),
            marked: false,
            verdict,
            tidied: None,
            answered: answered.then_some(at),
            id: String::new(),
        }
    }

    fn parcel(kind: Kind, answer: Answer, sights: Vec<Sight>) -> Parcel {
        Parcel { answer, sights, wants_failure: true, ..Parcel::new(kind, "me") }
    }

    /// One parcel, and a word of each thing that is wrong with it.
    #[track_caller]
    fn see(parcel: Parcel, expect: &[&str]) {
        let facts = Facts::default();
        facts.send("to", parcel);
        let net = Net::new(Random::new(1), Trace::new());
        let wrong = check(&facts.all(), &net, &Left::default());
        assert_eq!(wrong.len(), expect.len(), "{wrong:#?}");
        for (wrong, expect) in wrong.iter().zip(expect) {
            assert!(wrong.contains(expect), "{wrong}");
        }
    }

    #[test]
    fn the_checkers_see_what_is_wrong() {
        const NOW: Duration = Duration::ZERO;
        const LATER: Duration = Duration::from_secs(60);
        let accepted = Answer::Accepted(Instant::now());
        let taken = |after, answered| sight(Verdict::Taken, after, answered);
        see(parcel(Kind::Mail, accepted, vec![taken(NOW, true)]), &[]);
        see(parcel(Kind::Mail, accepted, Vec::new()), &["acknowledged and lost"]);
        see(parcel(Kind::Mail, Answer::Unknown, Vec::new()), &[]);
        let refused = Answer::Refused(Instant::now());
        see(parcel(Kind::Mail, refused, vec![taken(NOW, true)]), &["refused, and"]);
        let never = vec![sight(Verdict::Never, NOW, true)];
        see(parcel(Kind::Mail, accepted, never), &["was not told"]);
        let twice = vec![taken(NOW, true), taken(LATER, true)];
        see(parcel(Kind::Sms, accepted, twice), &["delivered twice"]);
        let unheard = vec![taken(NOW, false), taken(LATER, true)];
        see(parcel(Kind::Sms, accepted, unheard.clone()), &[]);
        see(parcel(Kind::Mail, accepted, unheard), &["without a mark"]);
        let late = vec![taken(LATER * 60 * 3, true)];
        see(parcel(Kind::Mail, accepted, late), &["after its expiry"]);
        let told = |word| Told {
            word,
            connection: 1,
            written: Instant::now(),
            id: "1".to_owned(),
            answered: Some(Instant::now()),
            marked: true,
        };
        let mut twice = parcel(Kind::Sms, accepted, vec![taken(NOW, true)]);
        twice.told = vec![told(Word::Delivered), told(Word::Failed)];
        see(twice, &["told twice", "told two different"]);
    }

    #[test]
    fn only_an_account_that_was_away_after_the_outcome_hears_nothing() {
        const SECOND: Duration = Duration::from_secs(1);
        let accepted = Answer::Accepted(Instant::now());
        let never = sight(Verdict::Never, SECOND * 10, true);
        for (account, over, excused) in [("me", 5, false), ("me", 15, true), ("another", 15, false)]
        {
            let facts = Facts::default();
            facts.send("to", parcel(Kind::Sms, accepted, vec![never.clone()]));
            let known = Instant::now();
            let over = Some(known + SECOND * over);
            facts.all().absences.push(Absence { account, known, until: over, over });
            let net = Net::new(Random::new(1), Trace::new());
            let wrong = check(&facts.all(), &net, &Left::default());
            assert_eq!(wrong.is_empty(), excused, "{wrong:?}");
        }
    }

    #[test]
    fn the_checkers_see_what_plugins_did_not_do() {
        let accepted = Answer::Accepted(Instant::now());
        let taken = |tidied| Sight { tidied, ..sight(Verdict::Taken, Duration::ZERO, true) };
        let plain = |sights| parcel(Kind::Mail, accepted, sights);
        let member = |list, sights| Parcel { list: Some(list), ..plain(sights) };
        let whole = |sights| member(List::Whole(vec!["member".to_owned()]), sights);
        let one = |sights| member(List::Member("to".to_owned()), sights);
        for (present, parcel, expect) in [
            (
                true,
                Parcel { refusable: true, ..plain(vec![taken(Some(true))]) },
                "a plugin refuses",
            ),
            (false, Parcel { refusable: true, ..plain(vec![taken(None)]) }, ""),
            (true, plain(vec![taken(Some(false))]), "it came as"),
            (false, plain(vec![taken(Some(true))]), "it came as"),
            (true, whole(Vec::new()), ""),
            (true, whole(vec![taken(None)]), "somebody else"),
            (true, one(Vec::new()), "acknowledged and lost"),
            (false, one(Vec::new()), ""),
            (false, whole(Vec::new()), "acknowledged and lost"),
        ] {
            let (facts, from) = (Facts::default(), parcel.sent);
            facts.send("to", parcel);
            for plugin in [STOP, TIDY, SPLIT] {
                facts.all().swaps.push(Swap { plugin, present, from, known: from });
            }
            let net = Net::new(Random::new(1), Trace::new());
            let wrong = check(&facts.all(), &net, &Left::default()).join(", ");
            assert!(wrong.contains(expect) && wrong.is_empty() == expect.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn the_checkers_see_what_is_wrong_with_an_sms_that_became_a_mail() {
        let accepted = Answer::Accepted(Instant::now());
        let border = |reported, words: &[Word], reports: &[bool]| {
            let taken = sight(Verdict::Taken, Duration::ZERO, true);
            let told = |word: &Word| Told {
                word: *word,
                connection: 1,
                written: Instant::now(),
                id: "1".to_owned(),
                answered: None,
                marked: false,
            };
            let report = |delivered: &bool| {
                let (at, id) = (Instant::now(), String::new());
                ReceiptSent { at, id, delivered: *delivered }
            };
            Parcel {
                reported,
                wants_success: true,
                told: words.iter().map(told).collect(),
                receipts: reports.iter().map(report).collect(),
                ..parcel(Kind::SmsToMail, accepted, vec![taken])
            }
        };
        see(border(false, &[Word::Delivered], &[]), &[]);
        see(border(false, &[], &[]), &["taken by its relay, and"]);
        see(border(false, &[Word::Unknown], &[]), &["what nobody said"]);
        see(border(true, &[], &[]), &["no report came, and"]);
        see(border(true, &[], &[true]), &["reported as delivered, and"]);
        see(border(true, &[], &[false]), &["reported as failed, and"]);
        see(border(true, &[Word::Failed], &[false]), &[]);
        see(border(true, &[Word::Delivered], &[]), &["what nobody said"]);
        see(border(true, &[Word::Unknown], &[]), &["what nobody said"]);
    }
}
