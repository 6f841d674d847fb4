//! Frames: cutting the stream into PDUs by `command_length` (SMPP v3.4 §3.2.1).
use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::command::CommandId;

/// Octets of a PDU header, the shortest PDU.
pub const HEADER_OCTETS: usize = 16;
/// The longest PDU taken unless configured otherwise: a full `message_payload` and 1 KiB.
pub const PDU_OCTETS_MAX_DEFAULT: usize = 65 * 1024;

/// Cuts one PDU after the other from a stream.
///
/// It looks at nothing but the length, so that whatever is wrong inside a PDU never moves the
/// stream.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    pdu_octets_max: usize,
}

/// The length of the next PDU cannot be true: nobody knows where the one after it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "command_length {command_length} is not between 16 and {pdu_octets_max}: the stream is not \
     SMPP or its framing is lost, close the link"
)]
pub struct FramingLost {
    /// The length that was read.
    pub command_length: u32,
    /// The most that was allowed.
    pub pdu_octets_max: usize,
    /// The sequence number to answer with; 0 if the rest of the header makes no sense.
    pub sequence_number: u32,
}

impl Framer {
    /// A framer for a new stream.
    #[must_use]
    pub fn new(pdu_octets_max: usize) -> Self {
        Self { buffer: BytesMut::new(), pdu_octets_max: pdu_octets_max.max(HEADER_OCTETS) }
    }

    /// Takes PDUs of this length from now on.
    pub fn allow(&mut self, pdu_octets_max: usize) {
        self.pdu_octets_max = pdu_octets_max.max(HEADER_OCTETS);
    }

    /// Where a driver may read into directly; [`Framer::poll_frame`] then sees it.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes octets of the stream.
    pub fn extend(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole PDU, isolated; `None` until there is one.
    ///
    /// # Errors
    /// [`FramingLost`] if the length is out of range; it stays so.
    pub fn poll_frame(&mut self) -> Result<Option<Bytes>, FramingLost> {
        let Some(command_length) = be32(&self.buffer, 0) else { return Ok(None) };
        let octets = usize::try_from(command_length).unwrap_or(usize::MAX);
        if octets < HEADER_OCTETS || octets > self.pdu_octets_max {
            return Err(self.lost(command_length));
        }
        if self.buffer.len() < octets {
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(octets).freeze()))
    }

    fn lost(&self, command_length: u32) -> FramingLost {
        let known = be32(&self.buffer, 4).is_some_and(|id| CommandId(id).is_known());
        let sequence_number = be32(&self.buffer, 12).filter(|_| known).unwrap_or(0);
        FramingLost { command_length, pdu_octets_max: self.pdu_octets_max, sequence_number }
    }
}

/// Four octets at `at`, most significant first.
pub(crate) fn be32(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk::<4>().map(|four| u32::from_be_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lost(octets: &[u8], expect_length: u32, expect_sequence: u32) {
        let mut framer = Framer::new(PDU_OCTETS_MAX_DEFAULT);
        framer.extend(octets);
        let lost = framer.poll_frame().unwrap_err();
        assert_eq!((lost.command_length, lost.sequence_number), (expect_length, expect_sequence));
        assert_eq!(framer.poll_frame().unwrap_err(), lost, "it stays lost");
    }

    #[test]
    fn what_is_not_smpp_is_lost_at_once() {
        check_lost(b"GET / HTTP/1.1\r\n", 1_195_725_856, 0);
        check_lost(b"HTTP/1.1 400 Bad", 1_213_486_160, 0);
        check_lost(&[0, 0, 0, 15], 15, 0);
        check_lost(&[0, 0, 0, 0], 0, 0);
        check_lost(&[0xFF; 4], u32::MAX, 0);
        // A known command with an impossible length can be answered with its own sequence.
        check_lost(&[0, 2, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9], 0x2_0000, 9);
    }

    #[test]
    fn a_pdu_comes_out_whole_however_it_was_cut() {
        let one = [0, 0, 0, 16, 0, 0, 0, 0x15, 0, 0, 0, 0, 0, 0, 0, 1];
        let two = [0, 0, 0, 17, 0, 0, 0, 0x15, 0, 0, 0, 0, 0, 0, 0, 2, 0xAA];
        let both = [&one[..], &two[..]].concat();
        for cut in 0..=both.len() {
            let mut framer = Framer::new(64);
            let mut out = Vec::new();
            for half in [&both[..cut], &both[cut..]] {
                framer.extend(half);
                while let Some(pdu) = framer.poll_frame().unwrap() {
                    out.push(pdu);
                }
            }
            assert_eq!(out, [&one[..], &two[..]], "cut at {cut}");
        }
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut framer = Framer::new(20);
        let mut pdu = vec![0u8; 20];
        pdu[3] = 20;
        framer.extend(&pdu);
        assert_eq!(framer.poll_frame().unwrap().unwrap().len(), 20);
        framer.extend(&[0, 0, 0, 21]);
        assert!(framer.poll_frame().is_err());
    }
}
