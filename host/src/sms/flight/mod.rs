//! What is on its way over one session: deliveries, their parts, and what came of each.
//!
//! A delivery's parts go over one session in their order. Each delivery that is taken comes back
//! exactly once: as a result, or untried when the session ends before its first part went out.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use message::Timestamp;
use smpp::pdu::MessageResp;
use smpp::session::RequestError;
use smpp::status::Remedy;
use smpp::{Pdu, Session, Sm, Status, tag};

use super::compose::{Composing, compose};
use super::references::References;
use super::verdict::{Judge, Verdict, cause};
use crate::delivery::{Attempt, Cause, Defer, Delivery, Part, Queued};

/// Bits of a token that say which part; the rest says which delivery.
const PART_BITS: u32 = 8;

/// Deliveries on their way over one session.
#[derive(Debug)]
pub struct Flight {
    composing: Composing,
    judge: Judge,
    /// Optional TLVs are left out once after an answer that did not like them.
    retry_bare: bool,
    /// The connector or account, named in causes.
    peer: Arc<str>,
    taken: Cause,
    references: Arc<References>,
    jobs: Vec<Option<Job>>,
    free: Vec<usize>,
    backlog: VecDeque<Outgoing>,
    results: Vec<(Queued, Attempt)>,
    /// Jobs of which parts were taken since they were last asked for, while others are out.
    progressed: BTreeSet<usize>,
    flying: usize,
}

/// One delivery.
#[derive(Debug)]
struct Job {
    queued: Queued,
    /// The id of each part that was taken.
    ids: Vec<Option<Arc<str>>>,
    /// Parts without an answer.
    out: usize,
    /// Parts in the backlog.
    unsent: usize,
    /// A part went out in this attempt.
    tried: bool,
    /// It is being sent without its optional TLVs.
    bare: bool,
    /// What ends the attempt once nothing is out: the first part that was not taken.
    end: Option<Attempt>,
}

/// A part that waits for room in the window.
#[derive(Debug)]
struct Outgoing {
    job: usize,
    part: usize,
    pdu: Pdu,
}

/// What a session's end leaves.
#[derive(Debug, Default)]
pub struct Cut {
    /// Came to something, if only to an unknown outcome.
    pub results: Vec<(Queued, Attempt)>,
    /// Nothing of it went out.
    pub untried: Vec<Queued>,
}

impl Flight {
    /// Nothing is on its way.
    #[must_use]
    pub fn new(
        composing: Composing,
        judge: Judge,
        retry_bare: bool,
        peer: Arc<str>,
        references: Arc<References>,
    ) -> Self {
        Self {
            taken: cause(Status::ROK, None, &peer),
            composing,
            judge,
            retry_bare,
            peer,
            references,
            jobs: Vec::new(),
            free: Vec::new(),
            backlog: VecDeque::new(),
            results: Vec::new(),
            progressed: BTreeSet::new(),
            flying: 0,
        }
    }

    /// How many deliveries to take now: none while parts of earlier ones wait.
    #[must_use]
    pub fn room(&self, session: &Session) -> usize {
        if self.backlog.is_empty() { session.window_free() } else { 0 }
    }

    /// Deliveries that have not come back.
    #[must_use]
    pub const fn flying(&self) -> usize {
        self.flying
    }

    /// Takes a delivery; its first parts go out with the next [`Flight::send`].
    pub fn start(&mut self, mut queued: Queued, now: Timestamp) {
        let references = Arc::clone(&self.references);
        let sender = match &queued.delivery.sms {
            Some(sms) => Arc::clone(&sms.sender.value),
            None => Arc::clone(&queued.message.sender.value),
        };
        let recipient = Arc::clone(&queued.delivery.recipient.address.value);
        let next = || references.next(&sender, &recipient);
        match compose(&mut queued, &self.composing, next, now) {
            Ok(sms) => self.launch(queued, sms),
            Err(error) => {
                let cause = Cause { peer: Arc::clone(&self.peer), ..no_pdu(&error) };
                self.results.push((queued, Attempt::Failed { cause }));
            }
        }
    }

    /// Sends what the window has room for.
    pub fn send(&mut self, session: &mut Session, now: Instant) {
        while let Some(outgoing) = self.backlog.front() {
            let index = outgoing.job;
            let token = token(index, outgoing.part);
            let Some(job) = self.jobs.get_mut(index).and_then(Option::as_mut) else {
                self.backlog.pop_front();
                continue;
            };
            // Behind a part that was not taken the others are worth nothing now.
            if job.end.is_none() {
                match session.request(now, &outgoing.pdu, token) {
                    Ok(_sequence) => {
                        job.out += 1;
                        job.tried = true;
                    }
                    Err(RequestError::Encode(error)) => {
                        let cause = Cause::ours("5.6.0", error.to_string());
                        let peer = Arc::clone(&self.peer);
                        job.end = Some(Attempt::Unfit { cause: Cause { peer, ..cause } });
                    }
                    Err(
                        RequestError::WindowFull
                        | RequestError::NotBound
                        | RequestError::NotAllowed(_)
                        | RequestError::Closing,
                    ) => return,
                }
            }
            job.unsent -= 1;
            self.backlog.pop_front();
            self.finish(index);
        }
    }

    /// The answer to a part.
    pub fn answered(&mut self, token: u64, status: Status, pdu: &Pdu, now: Timestamp) {
        let (index, part) = job_and_part(token);
        let verdict = self.judge.verdict(status);
        if self.retry_bare
            && status.remedy() == Some(Remedy::DropTlvs)
            && self.send_bare(index, part, now)
        {
            return;
        }
        let Some(job) = self.jobs.get_mut(index).and_then(Option::as_mut) else { return };
        job.out = job.out.saturating_sub(1);
        match verdict {
            Verdict::Taken => {
                job.took(part, message_id(pdu));
                if job.out + job.unsent > 0 {
                    self.progressed.insert(index);
                }
            }
            Verdict::Deferred(class) => {
                let cause = cause(status, words(pdu).as_deref(), &self.peer);
                job.end.get_or_insert(Attempt::Deferred { cause, class });
            }
            Verdict::Failed => {
                let cause = cause(status, words(pdu).as_deref(), &self.peer);
                job.note(part, Part::Failed(status.0));
                job.end.get_or_insert(Attempt::Failed { cause });
            }
        }
        self.finish(index);
    }

    /// A part was not answered in time.
    pub fn timed_out(&mut self, token: u64) {
        self.lost(token, "no answer in time");
    }

    /// What has come to an end since the last call.
    pub fn take_results(&mut self) -> Vec<(Queued, Attempt)> {
        std::mem::take(&mut self.results)
    }

    /// Deliveries of which more parts were taken since the last call, while others are still out: a
    /// crash before the last answer is to repeat only those.
    pub fn take_progress(&mut self) -> Vec<Delivery> {
        let progressed = std::mem::take(&mut self.progressed);
        let jobs = progressed.into_iter().filter_map(|index| self.jobs.get(index)?.as_ref());
        jobs.map(|job| job.queued.delivery.clone()).collect()
    }

    /// The session is over; `tokens` are its requests without an answer.
    #[must_use]
    pub fn cut(mut self, tokens: &[u64]) -> Cut {
        for &token in tokens {
            self.lost(token, "the link ended before the answer");
        }
        let mut cut = Cut { results: self.results, untried: Vec::new() };
        for job in self.jobs.into_iter().flatten() {
            if job.tried || job.end.is_some() {
                // Some parts were taken, the others are still to be sent.
                let ours = Cause::ours("4.4.2", "the link ended between two parts");
                let cause = Cause { peer: Arc::clone(&self.peer), ..ours };
                let end = Attempt::Deferred { cause, class: Defer::Connector };
                cut.results.push((job.queued, job.end.unwrap_or(end)));
            } else {
                cut.untried.push(job.queued);
            }
        }
        cut.untried.sort_unstable_by_key(|queued| queued.delivery.id);
        cut
    }

    fn launch(&mut self, queued: Queued, sms: Vec<Sm>) {
        let mut ids = vec![None; sms.len()];
        if let Some(parts) = queued.delivery.parts.as_ref().filter(|p| p.sent.len() == sms.len()) {
            for (id, part) in ids.iter_mut().zip(&parts.sent) {
                if let Part::Sent(remote) = part {
                    *id = Some(Arc::clone(remote));
                }
            }
        }
        let missing: Vec<bool> = ids.iter().map(Option::is_none).collect();
        let unsent = missing.iter().filter(|missing| **missing).count();
        let job = Job { queued, ids, out: 0, unsent, tried: false, bare: false, end: None };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.jobs.push(None);
                self.jobs.len() - 1
            }
        };
        if let Some(place) = self.jobs.get_mut(index) {
            *place = Some(job);
        }
        self.flying += 1;
        for (part, (sm, missing)) in sms.into_iter().zip(missing).enumerate() {
            if missing {
                self.backlog.push_back(Outgoing { job: index, part, pdu: self.pdu(sm) });
            }
        }
        self.finish(index);
    }

    const fn pdu(&self, sm: Sm) -> Pdu {
        if self.composing.to_smsc { Pdu::SubmitSm(sm) } else { Pdu::DeliverSm(sm) }
    }

    /// Sends a part once more without its optional TLVs; false if that makes no difference.
    fn send_bare(&mut self, index: usize, part: usize, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(index).and_then(Option::as_mut) else { return false };
        if job.bare {
            return false;
        }
        let reference = job.queued.delivery.parts.as_ref().map_or(0, |parts| parts.reference);
        let Ok(sms) = compose(&mut job.queued, &self.composing, || reference, now) else {
            return false;
        };
        let Some(mut sm) = sms.into_iter().nth(part) else { return false };
        let bare = sm.tlvs.without(|tag| !tag::is_essential(tag));
        if bare == sm.tlvs {
            return false;
        }
        sm.tlvs = bare;
        job.bare = true;
        job.out = job.out.saturating_sub(1);
        job.unsent += 1;
        let pdu = self.pdu(sm);
        self.backlog.push_front(Outgoing { job: index, part, pdu });
        true
    }

    fn lost(&mut self, token: u64, what: &str) {
        let (index, _) = job_and_part(token);
        let Some(job) = self.jobs.get_mut(index).and_then(Option::as_mut) else { return };
        job.out = job.out.saturating_sub(1);
        let peer = Arc::clone(&self.peer);
        let cause = Cause { peer, ..Cause::ours("4.4.2", what) };
        // Not knowing is worse than any answer: it may have arrived.
        job.end = Some(Attempt::Unknown { cause });
        self.finish(index);
    }

    /// Takes a delivery out if nothing of it is out or waits.
    fn finish(&mut self, index: usize) {
        let Some(place) = self.jobs.get_mut(index) else { return };
        let Some(job) = place.take_if(|job| job.out == 0 && job.unsent == 0) else { return };
        self.free.push(index);
        self.progressed.remove(&index);
        self.flying -= 1;
        let attempt = job.end.unwrap_or_else(|| Attempt::Delivered {
            remote: remote(job.ids),
            reply: self.taken.clone(),
            tells: false,
        });
        self.results.push((job.queued, attempt));
    }
}

impl Job {
    fn took(&mut self, part: usize, id: Arc<str>) {
        self.note(part, Part::Sent(Arc::clone(&id)));
        if let Some(place) = self.ids.get_mut(part) {
            *place = Some(id);
        }
    }

    fn note(&mut self, part: usize, state: Part) {
        let parts = self.queued.delivery.parts.as_mut();
        if let Some(place) = parts.and_then(|parts| parts.sent.get_mut(part)) {
            *place = state;
        }
    }
}

/// The ids in the order of the parts. One part without an id has none to remember.
fn remote(ids: Vec<Option<Arc<str>>>) -> Vec<Arc<str>> {
    let ids: Vec<Arc<str>> = ids.into_iter().map(Option::unwrap_or_default).collect();
    if ids.iter().all(|id| id.is_empty()) { Vec::new() } else { ids }
}

fn no_pdu(error: &super::compose::ComposeError) -> Cause {
    use super::compose::ComposeError::{NoNumber, NoText, Segment, Tlv};
    let enhanced = match error {
        NoText => "5.6.1",
        NoNumber => "5.1.3",
        Segment(_) | Tlv(_) => "5.3.4",
    };
    Cause::ours(enhanced, error.to_string())
}

fn message_id(pdu: &Pdu) -> Arc<str> {
    resp(pdu).map_or_else(Arc::default, |resp| Arc::from(resp.message_id.to_text()))
}

fn words(pdu: &Pdu) -> Option<String> {
    let words = resp(pdu)?.tlvs.string(tag::ADDITIONAL_STATUS_INFO_TEXT)?;
    Some(words.to_text().chars().filter(|c| !c.is_control()).collect())
}

const fn resp(pdu: &Pdu) -> Option<&MessageResp> {
    match pdu {
        Pdu::SubmitSmResp(resp) | Pdu::DeliverSmResp(resp) | Pdu::DataSmResp(resp) => Some(resp),
        _ => None,
    }
}

fn token(job: usize, part: usize) -> u64 {
    let number = |number: usize| u64::try_from(number).unwrap_or(0);
    (number(job) << PART_BITS) | number(part)
}

fn job_and_part(token: u64) -> (usize, usize) {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    (number(token >> PART_BITS), number(token & ((1 << PART_BITS) - 1)))
}

#[cfg(test)]
mod tests;
