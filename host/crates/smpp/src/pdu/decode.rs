//! From the octets of one frame to a PDU: lenient, by name.
use bytes::Bytes;
use thiserror::Error;

use super::{
    AlertNotification, Bind, BindMode, BindResp, CancelSm, DataSm, MessageResp, Outbind, Pdu,
    QuerySm, QuerySmResp, Raw, ReplaceSm, Sm, SubmitMulti, SubmitMultiResp,
};
use crate::command::CommandId;
use crate::frame::{HEADER_OCTETS, be32};
use crate::octets::Octets;
use crate::quirk::{Quirk, Quirks};
use crate::status::Status;
use crate::tlv::{Tlvs, tag};

/// The first sixteen octets of a PDU without their length (v3.4 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub command: CommandId,
    /// How a request ended; 0 in requests.
    pub status: Status,
    /// Which request it is or answers.
    pub sequence_number: u32,
}

/// A PDU with what was odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub pdu: Pdu,
    /// What was tolerated.
    pub quirks: Quirks,
}

/// A request that could not be understood, and how to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{command} with sequence {sequence_number}: {fault}; answer {status}")]
pub struct DecodeError {
    /// What it is.
    pub command: CommandId,
    /// Which request it is.
    pub sequence_number: u32,
    /// The status to answer with.
    pub status: Status,
    /// What is wrong.
    pub fault: DecodeFault,
}

/// What is wrong with a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeFault {
    /// The PDU is shorter than a header.
    #[error("shorter than a header")]
    NoHeader,
    /// No standard names this command.
    #[error("unknown command")]
    UnknownCommand,
    /// The PDU ends inside or before a mandatory parameter.
    #[error("the PDU ends before {0}")]
    Truncated(&'static str),
    /// `sm_length` says more than there is.
    #[error("sm_length {sm_length} but only {left} octets are left")]
    ShortMessageLength {
        /// What it says.
        sm_length: u8,
        /// What there is.
        left: usize,
    },
    /// The text is in a TLV that ends behind the PDU.
    #[error("message_payload ends behind the PDU")]
    PayloadLength,
    /// `number_of_dests` is zero.
    #[error("number_of_dests is zero")]
    NoDestinations,
    /// `dest_flag` is neither an address nor a list.
    #[error("dest_flag {0} is neither 1 nor 2")]
    DestinationFlag(u8),
}

impl DecodeFault {
    const fn status(self) -> Status {
        match self {
            Self::NoHeader | Self::Truncated(_) => Status::RINVCMDLEN,
            Self::UnknownCommand => Status::RINVCMDID,
            Self::ShortMessageLength { .. } => Status::RINVMSGLEN,
            Self::PayloadLength => Status::RINVPARLEN,
            Self::NoDestinations => Status::RINVNUMDESTS,
            Self::DestinationFlag(_) => Status::RINVDESTFLAG,
        }
    }
}

/// Reads a PDU from the octets of one frame, header included.
///
/// Decoded strings, texts and TLVs share the frame's buffer. Responses never fail: one whose body
/// makes no sense is [`Pdu::Raw`], because its status is still an answer.
///
/// # Errors
/// [`DecodeError`] with the status to answer. The stream is where it was: the frame is used up.
pub fn decode(frame: &Bytes) -> Result<Decoded, DecodeError> {
    let Some(header) = header(frame) else {
        return Err(DecodeError {
            command: CommandId::GENERIC_NACK,
            sequence_number: 0,
            status: DecodeFault::NoHeader.status(),
            fault: DecodeFault::NoHeader,
        });
    };
    let mut reader = Reader { frame, at: HEADER_OCTETS, quirks: Quirks::default() };
    if !(1..=0x7FFF_FFFF).contains(&header.sequence_number) {
        reader.quirks.insert(Quirk::OddSequence);
    }
    if header.command.is_response() {
        return response(header, reader);
    }
    match request(header.command, &mut reader) {
        Ok(pdu) => Ok(Decoded { header, pdu, quirks: reader.finish() }),
        Err(fault) => Err(DecodeError {
            command: header.command,
            sequence_number: header.sequence_number,
            status: fault.status(),
            fault,
        }),
    }
}

/// The header alone; `None` if the frame is too short for one.
#[must_use]
pub fn header(frame: &[u8]) -> Option<Header> {
    Some(Header {
        command: CommandId(be32(frame, 4)?),
        status: Status(be32(frame, 8)?),
        sequence_number: be32(frame, 12)?,
    })
}

fn request(command: CommandId, reader: &mut Reader<'_>) -> Result<Pdu, DecodeFault> {
    Ok(match command {
        CommandId::SUBMIT_SM => Pdu::SubmitSm(Sm::read(reader)?),
        CommandId::DELIVER_SM => Pdu::DeliverSm(Sm::read(reader)?),
        CommandId::DATA_SM => Pdu::DataSm(DataSm::read(reader)?),
        CommandId::ENQUIRE_LINK => Pdu::EnquireLink,
        CommandId::BIND_RECEIVER => Pdu::Bind(Bind::read(reader, BindMode::Receiver)?),
        CommandId::BIND_TRANSMITTER => Pdu::Bind(Bind::read(reader, BindMode::Transmitter)?),
        CommandId::BIND_TRANSCEIVER => Pdu::Bind(Bind::read(reader, BindMode::Transceiver)?),
        CommandId::OUTBIND => Pdu::Outbind(Outbind::read(reader)?),
        CommandId::UNBIND => Pdu::Unbind,
        CommandId::SUBMIT_MULTI => Pdu::SubmitMulti(SubmitMulti::read(reader)?),
        CommandId::QUERY_SM => Pdu::QuerySm(QuerySm::read(reader)?),
        CommandId::CANCEL_SM => Pdu::CancelSm(CancelSm::read(reader)?),
        CommandId::REPLACE_SM => Pdu::ReplaceSm(ReplaceSm::read(reader)?),
        CommandId::ALERT_NOTIFICATION => Pdu::AlertNotification(AlertNotification::read(reader)?),
        CommandId::BROADCAST_SM
        | CommandId::QUERY_BROADCAST_SM
        | CommandId::CANCEL_BROADCAST_SM => Pdu::Raw(Raw { command, body: reader.take_rest() }),
        _ => return Err(DecodeFault::UnknownCommand),
    })
}

fn response(header: Header, mut reader: Reader<'_>) -> Result<Decoded, DecodeError> {
    if !header.command.is_known() {
        return Err(DecodeError {
            command: header.command,
            sequence_number: header.sequence_number,
            status: Status::RINVCMDID,
            fault: DecodeFault::UnknownCommand,
        });
    }
    let empty = reader.left() == 0;
    let body_is_usual = !matches!(
        header.command.request(),
        CommandId::UNBIND | CommandId::ENQUIRE_LINK | CommandId::CANCEL_SM | CommandId::REPLACE_SM
    ) && header.command != CommandId::GENERIC_NACK;
    if body_is_usual && empty && header.status.is_ok() {
        reader.quirks.insert(Quirk::MissingResponseBody);
    }
    if body_is_usual && !empty && !header.status.is_ok() {
        reader.quirks.insert(Quirk::ErrorResponseBody);
    }
    let start = reader.at;
    let pdu = match response_body(header.command, &mut reader) {
        Ok(pdu) => pdu,
        Err(_kept_raw) => {
            reader.at = start;
            reader.quirks.insert(Quirk::UndecodableResponse);
            Pdu::Raw(Raw { command: header.command, body: reader.take_rest() })
        }
    };
    Ok(Decoded { header, pdu, quirks: reader.finish() })
}

fn response_body(command: CommandId, reader: &mut Reader<'_>) -> Result<Pdu, DecodeFault> {
    Ok(match command.request() {
        CommandId::SUBMIT_SM => Pdu::SubmitSmResp(MessageResp::read(reader)?),
        CommandId::DELIVER_SM => {
            let resp = MessageResp::read(reader)?;
            if !resp.message_id.is_empty() {
                reader.quirks.insert(Quirk::ReceiverMessageId);
            }
            Pdu::DeliverSmResp(resp)
        }
        CommandId::DATA_SM => Pdu::DataSmResp(MessageResp::read(reader)?),
        CommandId::ENQUIRE_LINK => Pdu::EnquireLinkResp,
        CommandId::BIND_RECEIVER => Pdu::BindResp(BindResp::read(reader, BindMode::Receiver)?),
        CommandId::BIND_TRANSMITTER => {
            Pdu::BindResp(BindResp::read(reader, BindMode::Transmitter)?)
        }
        CommandId::BIND_TRANSCEIVER => {
            Pdu::BindResp(BindResp::read(reader, BindMode::Transceiver)?)
        }
        CommandId::UNBIND => Pdu::UnbindResp,
        CommandId::SUBMIT_MULTI => Pdu::SubmitMultiResp(SubmitMultiResp::read(reader)?),
        CommandId::QUERY_SM => Pdu::QuerySmResp(QuerySmResp::read(reader)?),
        CommandId::CANCEL_SM => Pdu::CancelSmResp,
        CommandId::REPLACE_SM => Pdu::ReplaceSmResp,
        _ if command == CommandId::GENERIC_NACK => Pdu::GenericNack,
        _ => Pdu::Raw(Raw { command, body: reader.take_rest() }),
    })
}

/// Reads the parameters of one PDU in order and collects what is odd.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    quirks: Quirks,
}

impl Reader<'_> {
    pub(super) fn left(&self) -> usize {
        self.frame.len().saturating_sub(self.at)
    }

    pub(super) const fn quirk(&mut self, quirk: Quirk) {
        self.quirks.insert(quirk);
    }

    pub(super) fn octet(&mut self, name: &'static str) -> Result<u8, DecodeFault> {
        let octet = *self.frame.get(self.at).ok_or(DecodeFault::Truncated(name))?;
        self.at += 1;
        Ok(octet)
    }

    pub(super) fn number32(&mut self, name: &'static str) -> Result<u32, DecodeFault> {
        let number = be32(self.frame, self.at).ok_or(DecodeFault::Truncated(name))?;
        self.at += 4;
        Ok(number)
    }

    /// A C-octet string of at most `octets_max` octets with its NUL. Longer ones are taken too,
    /// and the end of the PDU stands for a NUL that is missing.
    pub(super) fn c_octets(
        &mut self,
        octets_max: usize,
        name: &'static str,
    ) -> Result<Octets, DecodeFault> {
        let rest = self.frame.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Err(DecodeFault::Truncated(name));
        }
        let len = match rest.iter().position(|&octet| octet == 0) {
            Some(len) => len,
            None => {
                self.quirks.insert(Quirk::MissingNul);
                rest.len()
            }
        };
        if len >= octets_max {
            self.quirks.insert(Quirk::OverlongField);
        }
        let start = self.at;
        self.at = (start + len + 1).min(self.frame.len());
        // An empty slice would hold on to the frame for nothing.
        Ok(if len == 0 { Octets::new() } else { self.frame.slice(start..start + len).into() })
    }

    /// A time field: empty or 16 characters, or whatever the peer thinks a time is.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Octets, DecodeFault> {
        let time = self.c_octets(17, name)?;
        if !matches!(time.len(), 0 | 16) {
            self.quirks.insert(Quirk::OddTime);
        }
        Ok(time)
    }

    /// The text with its length before it.
    pub(super) fn short_message(&mut self) -> Result<Bytes, DecodeFault> {
        let sm_length = self.octet("sm_length")?;
        let left = self.left();
        let len = usize::from(sm_length);
        if len > left {
            return Err(DecodeFault::ShortMessageLength { sm_length, left });
        }
        if sm_length == u8::MAX {
            self.quirks.insert(Quirk::ShortMessage255);
        }
        let start = self.at;
        self.at += len;
        Ok(if len == 0 { Bytes::new() } else { self.frame.slice(start..start + len) })
    }

    /// The optional parameters: all that is left.
    pub(super) fn tlvs(&mut self) -> Result<Tlvs, DecodeFault> {
        if self.left() == 0 {
            return Ok(Tlvs::new());
        }
        let (tlvs, left, cut_tag) = Tlvs::parse(&self.frame.slice(self.at..));
        match cut_tag {
            // Leaving out a description is one thing, losing the text another.
            Some(tag::MESSAGE_PAYLOAD) => return Err(DecodeFault::PayloadLength),
            Some(_) => self.quirks.insert(Quirk::TruncatedTlv),
            None if left > 0 => self.quirks.insert(Quirk::TrailingOctets),
            None => {}
        }
        self.at = self.frame.len();
        Ok(tlvs)
    }

    fn take_rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.at.min(self.frame.len())..);
        self.at = self.frame.len();
        rest
    }

    fn finish(mut self) -> Quirks {
        if self.left() > 0 {
            self.quirks.insert(Quirk::TrailingOctets);
        }
        self.quirks
    }
}
