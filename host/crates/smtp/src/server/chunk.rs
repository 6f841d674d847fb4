//! BDAT: a message in chunks of announced length (RFC 3030 §2).

use std::time::Instant;

use bytes::{Buf, Bytes};

use super::{BODY_RESERVE_MAX, CloseReason, Event, Question, ServerSession, State, answers};
use crate::{BareNewline, Reply, unstuff};

/// The chunks of a message so far.
#[derive(Debug)]
pub(super) struct Chunks {
    body: Vec<u8>,
    /// Octets of the peer in it; the prefix is not the peer's.
    octets: u64,
    /// Octets of the chunk that are still to come.
    left: u64,
    last: bool,
}

impl Chunks {
    pub(super) fn buffered_bytes(&self) -> usize {
        self.body.capacity()
    }
}

impl ServerSession {
    pub(super) fn bdat(&mut self, octets: u64, last: bool) {
        if octets > 0 {
            // A message in many chunks is not idle.
            self.idle_commands = self.idle_commands.saturating_sub(1);
        }
        let refusal = if !self.config.extensions.chunking {
            Some(answers::NOT_OFFERED)
        } else {
            self.data_refusal()
        };
        if let Some(reply) = refusal {
            self.discard(octets, reply);
        } else if let Some(chunks) = &mut self.chunks {
            (chunks.left, chunks.last) = (octets, last);
            self.state = State::Chunk;
        } else {
            self.ask(Question::Chunk { octets, last }, Event::Data);
        }
    }

    /// The host lets the message come: its first chunk follows.
    pub(super) fn begin_chunks(&mut self, now: Instant, octets: u64, last: bool) {
        let mut body = std::mem::take(&mut self.prefix);
        body.reserve(usize::try_from(octets).unwrap_or(usize::MAX).min(BODY_RESERVE_MAX));
        self.chunks = Some(Box::new(Chunks { body, octets: 0, left: octets, last }));
        self.state = State::Chunk;
        self.deadlines.data_started(now, &self.config.timeouts);
    }

    /// Octets of a chunk that nobody wants are on their way: they are no commands.
    pub(super) fn discard(&mut self, octets: u64, reply: Reply) {
        if octets > self.config.limits.message_bytes_max {
            self.close(&reply, CloseReason::Violation);
        } else {
            self.state = State::Discard { left: octets, reply };
        }
    }

    pub(super) fn next_discarded(&mut self) -> bool {
        let State::Discard { left, reply } = &mut self.state else { return false };
        let octets = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
        self.input.advance(octets);
        *left = left.saturating_sub(u64::try_from(octets).unwrap_or(u64::MAX));
        if *left > 0 {
            return false;
        }
        let reply = reply.clone();
        self.state = State::Command;
        self.answer(&reply);
        true
    }

    pub(super) fn next_chunk(&mut self, now: Instant) -> bool {
        let Some(chunks) = &mut self.chunks else { return false };
        let octets = usize::try_from(chunks.left).unwrap_or(usize::MAX).min(self.input.len());
        let taken = u64::try_from(octets).unwrap_or(u64::MAX);
        chunks.left = chunks.left.saturating_sub(taken);
        chunks.octets = chunks.octets.saturating_add(taken);
        if chunks.octets.saturating_add(chunks.left) > self.config.limits.message_bytes_max {
            let (left, chunks) = (chunks.left, self.chunks.take());
            self.input.advance(octets);
            self.refuse_message(&answers::SIZE, chunks.map_or(0, |chunks| chunks.octets), left);
            return true;
        }
        chunks.body.extend_from_slice(self.input.get(..octets).unwrap_or_default());
        self.input.advance(octets);
        self.deadlines.received(chunks.octets, &self.config.timeouts);
        if chunks.left > 0 {
            return false;
        }
        self.deadlines.command_read(now, &self.config.timeouts);
        self.state = State::Command;
        if chunks.last {
            self.finish_chunks();
        } else {
            let text = format!("{octets} octets received, {} in all", chunks.octets);
            self.answer(&Reply::new(250, (2, 0, 0), "").with_text(text));
        }
        true
    }

    fn finish_chunks(&mut self) {
        let Some(chunks) = self.chunks.take() else { return };
        let Chunks { mut body, octets, .. } = *chunks;
        if unstuff::has_bare_newline(&body) {
            if self.config.bare_newline == BareNewline::Refuse {
                self.refuse_message(&answers::BARE_MESSAGE, octets, 0);
                return;
            }
            body = unstuff::normalized(&body);
        }
        if unstuff::has_nul(&body) {
            if self.config.bare_newline == BareNewline::Refuse {
                self.refuse_message(&answers::NUL_MESSAGE, octets, 0);
                return;
            }
            unstuff::replace_nul(&mut body);
        }
        self.stats.message_bytes = self.stats.message_bytes.saturating_add(octets);
        self.ask(Question::Message, Event::Message { body: Bytes::from(body) });
    }

    /// Ends the transaction; `left` octets of the chunk are thrown away before the answer.
    fn refuse_message(&mut self, reply: &Reply, octets: u64, left: u64) {
        self.stats.message_bytes = self.stats.message_bytes.saturating_add(octets);
        self.count_message(false);
        self.events.push_back(Event::Reset);
        self.discard(left, reply.clone());
    }
}
