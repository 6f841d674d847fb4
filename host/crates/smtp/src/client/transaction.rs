//! One message on its way through MAIL, RCPT, DATA and the body.

use std::collections::VecDeque;
use std::fmt::Write;

use bytes::BytesMut;

use super::{Capabilities, Envelope, Outcome, RecipientOutcome, Stage, Verdict};
use crate::{Body, Class, MailParams, Reply, Ret, Stuffer};

/// Octets of the message put into the output at a time.
const BLOCK_OCTETS: usize = 64 * 1024;

/// A command whose answer is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Reset,
    Mail,
    /// The recipient of this index.
    Rcpt(usize),
    Data,
    /// The end of the message.
    End,
}

/// What an answer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More answers or steps are to come.
    Going,
    /// The transaction is over; `reset` when the server may still hold a part of it.
    Over { reset: bool },
}

#[derive(Debug)]
pub(super) struct Transaction {
    envelope: Envelope,
    offered: Capabilities,
    outcomes: Vec<Option<RecipientOutcome>>,
    /// Commands to say.
    unsaid: VecDeque<Step>,
    /// Commands said, their answers still to come.
    said: VecDeque<Step>,
    accepted: usize,
    mail_accepted: bool,
    stuffer: Stuffer,
    sending: Sending,
    eight_bit: bool,
    utf8: bool,
}

/// How far the message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    NotYet,
    Prefix,
    Body,
    /// The end is in the output: from now on silence may mean that it was taken over.
    Ended,
}

impl Transaction {
    pub(super) fn new(envelope: Envelope, offered: Capabilities, reset: bool) -> Self {
        let eight_bit = !envelope.prefix.is_ascii() || !envelope.body.is_ascii();
        let utf8 = envelope.params.smtputf8
            || envelope.sender.needs_smtputf8()
            || envelope.recipients.iter().any(|(mailbox, _)| mailbox.needs_smtputf8());
        let outcomes = vec![None; envelope.recipients.len()];
        let mut transaction = Self {
            envelope,
            offered,
            outcomes,
            unsaid: VecDeque::new(),
            said: VecDeque::new(),
            accepted: 0,
            mail_accepted: false,
            stuffer: Stuffer::new(),
            sending: Sending::NotYet,
            eight_bit,
            utf8,
        };
        transaction.refuse_what_does_not_fit();
        transaction.plan(reset);
        transaction
    }

    /// The steps left: none when nothing fits the server.
    fn plan(&mut self, reset: bool) {
        let open = |(index, outcome): (usize, &Option<_>)| outcome.is_none().then_some(index);
        let recipients: Vec<usize> = self.outcomes.iter().enumerate().filter_map(open).collect();
        if recipients.is_empty() {
            return;
        }
        if reset {
            self.unsaid.push_back(Step::Reset);
        }
        self.unsaid.push_back(Step::Mail);
        self.unsaid.extend(recipients.into_iter().map(Step::Rcpt));
        self.unsaid.push_back(Step::Data);
    }

    fn refuse_what_does_not_fit(&mut self) {
        let octets = self.octets();
        if self.offered.size_bytes_max.is_some_and(|limit| octets > limit) {
            let reply = Reply::new(552, (5, 3, 4), "message larger than the server takes");
            self.settle_rest(&reply, Stage::Offer, true);
        }
        if self.offered.smtputf8 {
            return;
        }
        let header_octets = memchr::memmem::find(&self.envelope.body, b"\r\n\r\n");
        let header = self.envelope.body.get(..header_octets.unwrap_or(usize::MAX));
        let header_ascii = header.unwrap_or(&self.envelope.body).is_ascii();
        if self.envelope.sender.needs_smtputf8() || (self.envelope.params.smtputf8 && !header_ascii)
        {
            let reply =
                Reply::new(550, (5, 6, 7), "message needs SMTPUTF8, which the server lacks");
            self.settle_rest(&reply, Stage::Offer, true);
        }
        let recipients = self.envelope.recipients.iter().map(|(mailbox, _)| mailbox);
        for (outcome, mailbox) in self.outcomes.iter_mut().zip(recipients) {
            if outcome.is_none() && mailbox.needs_smtputf8() {
                let reply =
                    Reply::new(553, (5, 6, 7), "address needs SMTPUTF8, which the server lacks");
                *outcome = Some(outcome_of(&reply, Stage::Offer, true));
            }
        }
    }

    fn octets(&self) -> u64 {
        let octets = self.envelope.prefix.len().saturating_add(self.envelope.body.len());
        u64::try_from(octets).unwrap_or(u64::MAX)
    }

    /// Says what may be said now: everything up to DATA when `pipelining`, else one command.
    pub(super) fn say(&mut self, pipelining: bool, out: &mut BytesMut) {
        while pipelining || self.said.is_empty() {
            let Some(step) = self.unsaid.pop_front() else { return };
            match step {
                Step::Reset => out.extend_from_slice(b"RSET\r\n"),
                Step::Mail => self.say_mail(out),
                Step::Rcpt(index) => self.say_rcpt(index, out),
                Step::Data => out.extend_from_slice(b"DATA\r\n"),
                Step::End => {}
            }
            self.said.push_back(step);
        }
    }

    fn say_mail(&self, out: &mut BytesMut) {
        let MailParams { body, ret, envid, .. } = &self.envelope.params;
        let mut line = format!("MAIL FROM:<{}>", self.envelope.sender.as_str());
        let mut add = |wanted: bool, text: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            if wanted && line.write_fmt(text).is_err() {
                line.clear();
            }
        };
        let offered = self.offered;
        add(offered.size, format_args!(" SIZE={}", self.octets()));
        let eight_bit = self.eight_bit || *body == Some(Body::EightBitMime);
        add(offered.eight_bit_mime && eight_bit, format_args!(" BODY=8BITMIME"));
        add(offered.smtputf8 && self.utf8, format_args!(" SMTPUTF8"));
        if let Some(ret) = ret {
            let ret = if *ret == Ret::Full { "FULL" } else { "HDRS" };
            add(offered.dsn, format_args!(" RET={ret}"));
        }
        if let Some(envid) = envid {
            add(offered.dsn, format_args!(" ENVID={envid}"));
        }
        line.push_str("\r\n");
        out.extend_from_slice(line.as_bytes());
    }

    fn say_rcpt(&self, index: usize, out: &mut BytesMut) {
        let Some((mailbox, params)) = self.envelope.recipients.get(index) else { return };
        out.extend_from_slice(b"RCPT TO:<");
        out.extend_from_slice(mailbox.as_str().as_bytes());
        out.extend_from_slice(b">");
        if self.offered.dsn {
            if let Some(notify) = params.notify {
                out.extend_from_slice(format!(" NOTIFY={notify}").as_bytes());
            }
            let orcpt = params.orcpt.as_ref().map(|orcpt| format!(" ORCPT={orcpt}"));
            if let Some(orcpt) = orcpt.filter(|orcpt| self.offered.smtputf8 || orcpt.is_ascii()) {
                out.extend_from_slice(orcpt.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The step whose answer comes next.
    pub(super) fn awaited(&self) -> Option<Step> {
        self.said.front().copied()
    }

    /// Whether the message is going out.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.sending, Sending::Prefix | Sending::Body)
    }

    /// Whether every recipient is decided without a word to the server.
    pub(super) fn is_settled_unsaid(&self) -> bool {
        self.said.is_empty() && self.unsaid.is_empty() && self.sending == Sending::NotYet
    }

    /// Puts the next block of the message into the output.
    pub(super) fn write_block(&mut self, out: &mut BytesMut) {
        let part = if self.sending == Sending::Prefix {
            &self.envelope.prefix
        } else {
            &self.envelope.body
        };
        if !self.stuffer.write_block(part, BLOCK_OCTETS, out) {
            return;
        }
        if self.sending == Sending::Prefix {
            self.sending = Sending::Body;
        } else {
            self.stuffer.write_end(out);
            self.sending = Sending::Ended;
            self.said.push_back(Step::End);
        }
    }

    /// Takes the answer to the step that is awaited.
    pub(super) fn answer(&mut self, step: Step, reply: &Reply, out: &mut BytesMut) -> Progress {
        self.said.pop_front();
        match step {
            Step::Reset => {}
            Step::Mail if reply.is_done() => self.mail_accepted = true,
            Step::Mail => {
                self.settle_rest(reply, Stage::Mail, false);
                self.unsaid.clear();
            }
            Step::Rcpt(index) => self.answer_rcpt(index, reply),
            Step::Data if reply.class() == Class::Continue => self.begin_message(out),
            Step::Data => self.settle_rest(reply, Stage::Data, false),
            Step::End => {
                self.settle_rest(reply, Stage::Body, false);
                return Progress::Over { reset: false };
            }
        }
        let nobody = self.accepted == 0 && self.unsaid.front() == Some(&Step::Data);
        if self.said.is_empty() && nobody {
            // Without pipelining DATA was not said yet, and would be about nobody.
            self.unsaid.clear();
        }
        let over = self.said.is_empty() && self.unsaid.is_empty() && !self.is_sending();
        if over { Progress::Over { reset: self.mail_accepted } } else { Progress::Going }
    }

    fn answer_rcpt(&mut self, index: usize, reply: &Reply) {
        let Some(outcome) = self.outcomes.get_mut(index).filter(|outcome| outcome.is_none()) else {
            return;
        };
        if reply.is_done() {
            self.accepted = self.accepted.saturating_add(1);
            return;
        }
        let mut refused = outcome_of(reply, Stage::Rcpt, false);
        if reply.code == 552 && self.accepted > 0 {
            // Too many recipients, in the words of old servers (RFC 5321 §4.5.3.1.10).
            refused.verdict = Verdict::Deferred;
        }
        *outcome = Some(refused);
    }

    /// After 354: the message, or an empty one when nobody is left to get it.
    fn begin_message(&mut self, out: &mut BytesMut) {
        if self.accepted > 0 && self.mail_accepted {
            self.sending = Sending::Prefix;
        } else {
            out.extend_from_slice(b".\r\n");
            self.sending = Sending::Ended;
            self.said.push_back(Step::End);
        }
    }

    /// Gives every recipient without an outcome this one.
    pub(super) fn settle_rest(&mut self, reply: &Reply, stage: Stage, local: bool) {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            *outcome = Some(outcome_of(reply, stage, local));
        }
    }

    /// The connection is of no use any more.
    pub(super) fn break_off(&mut self, reply: &Reply, local: bool) {
        let stage = match (self.awaited(), self.sending) {
            (_, Sending::Prefix | Sending::Body) | (Some(Step::End), _) => Stage::Body,
            (Some(Step::Data), _) => Stage::Data,
            (Some(Step::Rcpt(_)), _) => Stage::Rcpt,
            (Some(Step::Mail | Step::Reset) | None, _) => Stage::Mail,
        };
        let unknown = local && self.sending == Sending::Ended;
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
            let mut broken = outcome_of(reply, stage, local);
            if unknown {
                broken.verdict = Verdict::Unknown;
            }
            *outcome = Some(broken);
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        let lost = Reply::new(451, (4, 3, 0), "no answer for this recipient");
        let recipients = self
            .outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| outcome_of(&lost, Stage::Data, true)))
            .collect();
        Outcome {
            recipients,
            dsn_relayed: self.offered.dsn,
            eight_bit_unannounced: self.eight_bit && !self.offered.eight_bit_mime,
        }
    }
}

fn outcome_of(reply: &Reply, stage: Stage, local: bool) -> RecipientOutcome {
    let mut verdict = Verdict::of(reply);
    if verdict == Verdict::Delivered && stage != Stage::Body {
        verdict = Verdict::Deferred;
    }
    RecipientOutcome { verdict, stage, reply: reply.clone(), local }
}
