//! Operations on a message that an SMSC already has, and alerts (SMPP v3.4 §4.8 to §4.12).
use bytes::Bytes;

use super::decode::{DecodeFault, Reader};
use super::encode::{EncodeError, Writer};
use super::message::{
    ADDRESS_OCTETS_MAX, Address, LONG_ADDRESS_OCTETS_MAX, MESSAGE_ID_OCTETS_MAX,
    SERVICE_TYPE_OCTETS_MAX,
};
use crate::flags::RegisteredDelivery;
use crate::octets::Octets;
use crate::tlv::Tlvs;

/// `query_sm`: how is it?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuerySm {
    /// The id that the SMSC gave.
    pub message_id: Octets,
    /// Who it was from; must be the one of the submit.
    pub source: Address,
}

impl QuerySm {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        Ok(Self {
            message_id: reader.c_octets(MESSAGE_ID_OCTETS_MAX, "message_id")?,
            source: Address::read(reader, ADDRESS_OCTETS_MAX)?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.message_id, MESSAGE_ID_OCTETS_MAX, "message_id")?;
        self.source.write(writer, ADDRESS_OCTETS_MAX, "source_addr")
    }
}

/// `query_sm_resp`: that is how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuerySmResp {
    /// The id that was asked about.
    pub message_id: Octets,
    /// When it ended, see [`crate::time`]; empty if it has not.
    pub final_date: Octets,
    /// See [`crate::receipt::MessageState`].
    pub message_state: u8,
    /// A network's error.
    pub error_code: u8,
}

impl QuerySmResp {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        if reader.left() == 0 {
            return Ok(Self::default());
        }
        Ok(Self {
            message_id: reader.c_octets(MESSAGE_ID_OCTETS_MAX, "message_id")?,
            final_date: reader.time("final_date")?,
            message_state: reader.octet("message_state")?,
            error_code: reader.octet("error_code")?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.message_id, MESSAGE_ID_OCTETS_MAX, "message_id")?;
        writer.c_octets(&self.final_date, 17, "final_date")?;
        writer.octet(self.message_state);
        writer.octet(self.error_code);
        Ok(())
    }
}

/// `cancel_sm`: one by its id, or all between two addresses if the id is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CancelSm {
    /// Only those of this service type, if the id is empty.
    pub service_type: Octets,
    /// The id that the SMSC gave.
    pub message_id: Octets,
    /// Who it was from.
    pub source: Address,
    /// Who it was for; may be empty if there is an id.
    pub destination: Address,
}

impl CancelSm {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        Ok(Self {
            service_type: reader.c_octets(SERVICE_TYPE_OCTETS_MAX, "service_type")?,
            message_id: reader.c_octets(MESSAGE_ID_OCTETS_MAX, "message_id")?,
            source: Address::read(reader, ADDRESS_OCTETS_MAX)?,
            destination: Address::read(reader, ADDRESS_OCTETS_MAX)?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.service_type, SERVICE_TYPE_OCTETS_MAX, "service_type")?;
        writer.c_octets(&self.message_id, MESSAGE_ID_OCTETS_MAX, "message_id")?;
        self.source.write(writer, ADDRESS_OCTETS_MAX, "source_addr")?;
        self.destination.write(writer, ADDRESS_OCTETS_MAX, "destination_addr")
    }
}

/// `replace_sm`: another text for a message that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaceSm {
    /// The id that the SMSC gave.
    pub message_id: Octets,
    /// Who it was from.
    pub source: Address,
    /// A new time of delivery; empty keeps the old one.
    pub schedule_delivery_time: Octets,
    /// A new end of validity; empty keeps the old one.
    pub validity_period: Octets,
    /// Which receipts are wanted.
    pub registered_delivery: RegisteredDelivery,
    /// A predefined text of the SMSC's.
    pub sm_default_msg_id: u8,
    /// The new text, in the alphabet of the old one.
    pub short_message: Bytes,
    /// Optional parameters (v5.0: `message_payload`).
    pub tlvs: Tlvs,
}

impl ReplaceSm {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        Ok(Self {
            message_id: reader.c_octets(MESSAGE_ID_OCTETS_MAX, "message_id")?,
            source: Address::read(reader, ADDRESS_OCTETS_MAX)?,
            schedule_delivery_time: reader.time("schedule_delivery_time")?,
            validity_period: reader.time("validity_period")?,
            registered_delivery: RegisteredDelivery(reader.octet("registered_delivery")?),
            sm_default_msg_id: reader.octet("sm_default_msg_id")?,
            short_message: reader.short_message()?,
            tlvs: reader.tlvs()?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.message_id, MESSAGE_ID_OCTETS_MAX, "message_id")?;
        self.source.write(writer, ADDRESS_OCTETS_MAX, "source_addr")?;
        writer.c_octets(&self.schedule_delivery_time, 17, "schedule_delivery_time")?;
        writer.c_octets(&self.validity_period, 17, "validity_period")?;
        writer.octet(self.registered_delivery.0);
        writer.octet(self.sm_default_msg_id);
        writer.short_message(&self.short_message)?;
        writer.tlvs(&self.tlvs)
    }
}

/// `alert_notification`: a subscriber is back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertNotification {
    /// Who is back.
    pub source: Address,
    /// The ESME that asked to know.
    pub esme: Address,
    /// Optional parameters.
    pub tlvs: Tlvs,
}

impl AlertNotification {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        Ok(Self {
            source: Address::read(reader, LONG_ADDRESS_OCTETS_MAX)?,
            esme: Address::read(reader, LONG_ADDRESS_OCTETS_MAX)?,
            tlvs: reader.tlvs()?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.source.write(writer, LONG_ADDRESS_OCTETS_MAX, "source_addr")?;
        self.esme.write(writer, LONG_ADDRESS_OCTETS_MAX, "esme_addr")?;
        writer.tlvs(&self.tlvs)
    }
}
