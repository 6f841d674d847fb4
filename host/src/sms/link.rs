//! A socket with an SMPP session on it: octets and time in, events out.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use smpp::Session;
use tokio::time::timeout;

use crate::platform::clock::Alarm;
use crate::wire::{Socket, Turn, Wire};

/// Octets that may wait to be written before nothing more is read: a peer that does not read our
/// answers sends no more requests.
const OUTPUT_OCTETS_MAX: usize = 1 << 20;
/// How long the last octets may take when a link is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A link.
#[derive(Debug)]
pub struct Link<S> {
    wire: Wire<S>,
    alarm: Alarm,
    /// The protocol. What it wants to write is written by the next [`Link::step`].
    pub session: Session,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something moved: look for events.
    Moved,
    /// The peer is gone.
    Gone,
}

impl<S: Socket> Link<S> {
    /// A session on a socket.
    #[must_use]
    pub fn new(socket: S, session: Session) -> Self {
        Self { wire: Wire::new(socket), alarm: Alarm::default(), session }
    }

    /// Writes, reads if `may_read`, and lets time pass, until something moved or it is `until`.
    /// Cancel safe.
    ///
    /// # Errors
    /// The socket's.
    pub async fn step(&mut self, may_read: bool, until: Option<Instant>) -> io::Result<Step> {
        self.flush();
        if !may_read {
            // Who is not read cannot be held for silent.
            self.session.excuse_silence(now());
        }
        let deadline = [self.session.poll_timeout(), until].into_iter().flatten().min();
        let input: Option<&mut BytesMut> = if may_read && self.wire.waiting() < OUTPUT_OCTETS_MAX {
            Some(self.session.input())
        } else {
            None
        };
        tokio::select! {
            biased;
            () = self.alarm.wait_until(deadline) => self.session.handle_timeout(now()),
            turn = self.wire.turn(input) => match turn? {
                Turn::Read => self.session.handle_input(now()),
                Turn::Written => {}
                Turn::Closed => return Ok(Step::Gone),
            },
        }
        Ok(Step::Moved)
    }

    /// Octets that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.wire.waiting()
    }

    /// Writes what is left and closes the socket. Gives the tokens of all requests without an
    /// outcome.
    pub async fn close(mut self) -> Vec<u64> {
        self.flush();
        let tokens = self.session.close();
        // The peer may be gone: then nobody misses the last octets.
        if let Ok(Err(error)) = timeout(CLOSE_WITHIN, self.wire.close()).await {
            tracing::debug!(event = "smpp.close", %error);
        }
        tokens
    }

    fn flush(&mut self) {
        let mut output = self.session.take_output();
        if !output.is_empty() {
            self.wire.push(&mut output);
        }
    }
}

/// The monotonic clock, which a test may pause.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
