//! From a PDU to octets: strict.
use bytes::{BufMut, BytesMut};
use thiserror::Error;

use super::Pdu;
use crate::command::CommandId;
use crate::flags::InterfaceVersion;
use crate::frame::HEADER_OCTETS;
use crate::octets::Octets;
use crate::status::Status;
use crate::tlv::{Tlvs, tag};

/// The longest `short_message` of v3.3 and v3.4 (§4.4.1); v5.0 has one octet more.
pub const SHORT_MESSAGE_OCTETS_MAX: usize = 254;

/// How a peer wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The version both agreed on.
    pub version: InterfaceVersion,
    /// Send optional parameters. Without, those that only describe are left out and those that
    /// change the message are an error.
    pub tlvs: bool,
    /// Send names, passwords and types of systems that are longer than the standard allows: some
    /// operators hand out such.
    pub long_credentials: bool,
    /// Send any field that is longer than the standard allows. A strict peer ends the connection then.
    pub long_fields: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            version: InterfaceVersion::V34,
            tlvs: true,
            long_credentials: false,
            long_fields: false,
        }
    }
}

/// A PDU cannot be written as the standard wants it. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A C-octet string is too long.
    #[error("{field} has {octets} octets, at most {octets_max} are allowed")]
    TooLong {
        /// Which parameter.
        field: &'static str,
        /// How long it is, without a NUL.
        octets: usize,
        /// How long it may be, without a NUL.
        octets_max: usize,
    },
    /// A C-octet string has a NUL inside, which would end it.
    #[error("{field} has a NUL inside")]
    Nul {
        /// Which parameter.
        field: &'static str,
    },
    /// The peer's version knows no TLVs, and without this one the message would be another.
    #[error("the peer takes no TLVs, but the message needs 0x{tag:04x}")]
    TlvNotAllowed {
        /// Which TLV.
        tag: u16,
    },
    /// A `submit_multi` needs 1 to 254 destinations.
    #[error("{0} destinations; 1 to 254 are allowed")]
    Destinations(usize),
    /// The PDU would be longer than a length can say.
    #[error("the PDU is too long")]
    PduTooLong,
}

/// Appends a PDU to `out`. An error response is a header only, unless its TLVs say more (v3.4
/// §4.4.2, §4.7.2).
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was.
pub fn encode(
    pdu: &Pdu,
    sequence_number: u32,
    status: Status,
    dialect: &Dialect,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let start = out.len();
    let command = pdu.command();
    encode_header(command, status, sequence_number, out);
    let header_only = command.is_response() && !status.is_ok() && !explains(pdu, dialect);
    let written = if header_only {
        Ok(())
    } else {
        body(pdu, &mut Writer { out: &mut *out, dialect: *dialect })
    };
    let length = out.len() - start;
    let patched = written.and_then(|()| {
        let length = u32::try_from(length).map_err(|_huge| EncodeError::PduTooLong)?;
        let head = out.get_mut(start..start + 4).ok_or(EncodeError::PduTooLong)?;
        head.copy_from_slice(&length.to_be_bytes());
        Ok(())
    });
    if patched.is_err() {
        out.truncate(start);
    }
    patched
}

/// Appends a PDU that is a header only.
pub fn encode_header(command: CommandId, status: Status, sequence_number: u32, out: &mut BytesMut) {
    out.reserve(HEADER_OCTETS);
    out.put_u32(16);
    out.put_u32(command.0);
    out.put_u32(status.0);
    out.put_u32(sequence_number);
}

/// Does an error response carry words about the error?
const fn explains(pdu: &Pdu, dialect: &Dialect) -> bool {
    match pdu {
        Pdu::SubmitSmResp(resp) | Pdu::DataSmResp(resp) | Pdu::DeliverSmResp(resp) => {
            dialect.tlvs && !resp.tlvs.is_empty()
        }
        _ => false,
    }
}

fn body(pdu: &Pdu, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    match pdu {
        Pdu::SubmitSm(sm) | Pdu::DeliverSm(sm) => sm.write(writer),
        Pdu::SubmitSmResp(resp) | Pdu::DataSmResp(resp) | Pdu::DeliverSmResp(resp) => {
            resp.write(writer)
        }
        Pdu::Bind(bind) => bind.write(writer),
        Pdu::BindResp(resp) => resp.write(writer),
        Pdu::Outbind(outbind) => outbind.write(writer),
        Pdu::SubmitMulti(multi) => multi.write(writer),
        Pdu::SubmitMultiResp(resp) => resp.write(writer),
        Pdu::DataSm(data) => data.write(writer),
        Pdu::QuerySm(query) => query.write(writer),
        Pdu::QuerySmResp(resp) => resp.write(writer),
        Pdu::CancelSm(cancel) => cancel.write(writer),
        Pdu::ReplaceSm(replace) => replace.write(writer),
        Pdu::AlertNotification(alert) => alert.write(writer),
        Pdu::Raw(raw) => {
            writer.out.put_slice(&raw.body);
            Ok(())
        }
        Pdu::Unbind
        | Pdu::UnbindResp
        | Pdu::CancelSmResp
        | Pdu::ReplaceSmResp
        | Pdu::EnquireLink
        | Pdu::EnquireLinkResp
        | Pdu::GenericNack => Ok(()),
    }
}

/// Writes the parameters of one PDU in order.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
    dialect: Dialect,
}

impl Writer<'_> {
    pub(super) fn octet(&mut self, octet: u8) {
        self.out.put_u8(octet);
    }

    pub(super) fn number32(&mut self, number: u32) {
        self.out.put_u32(number);
    }

    /// A C-octet string of at most `octets_max` octets with its NUL.
    pub(super) fn c_octets(
        &mut self,
        octets: &Octets,
        octets_max: usize,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        self.c_octets_of(octets, octets_max, field, self.dialect.long_fields)
    }

    /// The same of a name, password or type of a system.
    pub(super) fn credential(
        &mut self,
        octets: &Octets,
        octets_max: usize,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        let may_be_long = self.dialect.long_fields || self.dialect.long_credentials;
        self.c_octets_of(octets, octets_max, field, may_be_long)
    }

    fn c_octets_of(
        &mut self,
        octets: &Octets,
        octets_max: usize,
        field: &'static str,
        may_be_long: bool,
    ) -> Result<(), EncodeError> {
        if octets.len() >= octets_max && !may_be_long {
            let octets_max = octets_max - 1;
            return Err(EncodeError::TooLong { field, octets: octets.len(), octets_max });
        }
        if octets.as_bytes().contains(&0) {
            return Err(EncodeError::Nul { field });
        }
        self.out.put_slice(octets.as_bytes());
        self.out.put_u8(0);
        Ok(())
    }

    pub(super) fn short_message(&mut self, text: &[u8]) -> Result<(), EncodeError> {
        let octets_max = if self.dialect.version >= InterfaceVersion::V50 {
            SHORT_MESSAGE_OCTETS_MAX + 1
        } else {
            SHORT_MESSAGE_OCTETS_MAX
        };
        let too_long =
            EncodeError::TooLong { field: "short_message", octets: text.len(), octets_max };
        if text.len() > octets_max {
            return Err(too_long);
        }
        self.out.put_u8(u8::try_from(text.len()).map_err(|_long| too_long)?);
        self.out.put_slice(text);
        Ok(())
    }

    pub(super) fn tlvs(&mut self, tlvs: &Tlvs) -> Result<(), EncodeError> {
        if self.dialect.tlvs {
            self.out.put_slice(tlvs.as_bytes());
            return Ok(());
        }
        match tlvs.iter().find(|tlv| tag::is_essential(tlv.tag)) {
            Some(tlv) => Err(EncodeError::TlvNotAllowed { tag: tlv.tag }),
            None => Ok(()),
        }
    }
}
