//! Messages: `submit_sm`, `deliver_sm`, `data_sm`, `submit_multi` and their answers
//! (SMPP v3.4 §4.4 to §4.7).
use bytes::Bytes;

use super::decode::{DecodeFault, Reader};
use super::encode::{EncodeError, Writer};
use crate::flags::{EsmClass, RegisteredDelivery};
use crate::octets::Octets;
use crate::quirk::Quirk;
use crate::status::Status;
use crate::tlv::{Tlvs, tag};

/// Octets of an address with its NUL, in every operation but `data_sm` and `alert_notification`.
pub(super) const ADDRESS_OCTETS_MAX: usize = 21;
/// Octets of an address with its NUL in `data_sm` and `alert_notification`.
pub(super) const LONG_ADDRESS_OCTETS_MAX: usize = 65;
/// Octets of a message id with its NUL.
pub(super) const MESSAGE_ID_OCTETS_MAX: usize = 65;
/// Octets of a service type with its NUL.
pub(super) const SERVICE_TYPE_OCTETS_MAX: usize = 6;

/// An address of a short message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// Type of number, see [`crate::ton`].
    pub ton: u8,
    /// Numbering plan, see [`crate::npi`].
    pub npi: u8,
    /// The address: digits without a plus sign, or letters.
    pub addr: Octets,
}

impl Address {
    /// An address of these parts.
    #[must_use]
    pub const fn new(ton: u8, npi: u8, addr: Octets) -> Self {
        Self { ton, npi, addr }
    }

    pub(super) fn read(reader: &mut Reader<'_>, octets_max: usize) -> Result<Self, DecodeFault> {
        let ton = reader.octet("addr_ton")?;
        let npi = reader.octet("addr_npi")?;
        let addr = reader.c_octets(octets_max, "addr")?;
        if !addr.as_bytes().iter().all(u8::is_ascii_graphic) {
            reader.quirk(Quirk::OddAddress);
        }
        Ok(Self { ton, npi, addr })
    }

    pub(super) fn write(
        &self,
        writer: &mut Writer<'_>,
        octets_max: usize,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        writer.octet(self.ton);
        writer.octet(self.npi);
        writer.c_octets(&self.addr, octets_max, field)
    }
}

/// `submit_sm` or `deliver_sm`: they have the same parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sm {
    /// At most 5 octets; empty is the default service.
    pub service_type: Octets,
    /// Who it is from.
    pub source: Address,
    /// Who it is for.
    pub destination: Address,
    /// Mode, kind and header bits.
    pub esm_class: EsmClass,
    /// GSM protocol identifier.
    pub protocol_id: u8,
    /// 0 (lowest) to 3, up to 4 in v5.0.
    pub priority_flag: u8,
    /// When to deliver it, see [`crate::time`]; empty is now.
    pub schedule_delivery_time: Octets,
    /// Until when it is worth delivering, see [`crate::time`]; empty is the SMSC's default.
    pub validity_period: Octets,
    /// Which receipts are wanted.
    pub registered_delivery: RegisteredDelivery,
    /// 1 replaces an earlier one of the same service type and addresses.
    pub replace_if_present_flag: u8,
    /// The alphabet or kind of the text; its meaning is up to the SMSC.
    pub data_coding: u8,
    /// A predefined text of the SMSC's.
    pub sm_default_msg_id: u8,
    /// The text, at most 254 octets (255 in v5.0); empty if `message_payload` has it.
    pub short_message: Bytes,
    /// Optional parameters.
    pub tlvs: Tlvs,
}

impl Sm {
    /// The text wherever it is: `message_payload` if it has octets, else `short_message`.
    #[must_use]
    pub fn text(&self) -> Bytes {
        match self.tlvs.first_bytes(tag::MESSAGE_PAYLOAD) {
            Some(payload) if !payload.is_empty() => payload,
            _ => self.short_message.clone(),
        }
    }

    /// Is this a delivery receipt or an intermediate notification? The `esm_class` or the TLVs
    /// say so; the text alone proves nothing, any handset can send it.
    #[must_use]
    pub fn is_receipt(&self) -> bool {
        self.esm_class.is_receipt()
            || (!self.esm_class.is_sme_ack()
                && self.tlvs.first(tag::RECEIPTED_MESSAGE_ID).is_some())
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        let service_type = reader.c_octets(SERVICE_TYPE_OCTETS_MAX, "service_type")?;
        let source = Address::read(reader, ADDRESS_OCTETS_MAX)?;
        let destination = Address::read(reader, ADDRESS_OCTETS_MAX)?;
        Self::read_after_addresses(reader, service_type, source, destination)
    }

    fn read_after_addresses(
        reader: &mut Reader<'_>,
        service_type: Octets,
        source: Address,
        destination: Address,
    ) -> Result<Self, DecodeFault> {
        let sm = Self {
            service_type,
            source,
            destination,
            esm_class: EsmClass(reader.octet("esm_class")?),
            protocol_id: reader.octet("protocol_id")?,
            priority_flag: reader.octet("priority_flag")?,
            schedule_delivery_time: reader.time("schedule_delivery_time")?,
            validity_period: reader.time("validity_period")?,
            registered_delivery: RegisteredDelivery(reader.octet("registered_delivery")?),
            replace_if_present_flag: reader.octet("replace_if_present_flag")?,
            data_coding: reader.octet("data_coding")?,
            sm_default_msg_id: reader.octet("sm_default_msg_id")?,
            short_message: reader.short_message()?,
            tlvs: reader.tlvs()?,
        };
        let payload = sm.tlvs.first(tag::MESSAGE_PAYLOAD).is_some_and(|value| !value.is_empty());
        if payload && !sm.short_message.is_empty() {
            reader.quirk(Quirk::ShortMessageAndPayload);
        }
        Ok(sm)
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.service_type, SERVICE_TYPE_OCTETS_MAX, "service_type")?;
        self.source.write(writer, ADDRESS_OCTETS_MAX, "source_addr")?;
        self.destination.write(writer, ADDRESS_OCTETS_MAX, "destination_addr")?;
        self.write_after_addresses(writer)
    }

    fn write_after_addresses(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.octet(self.esm_class.0);
        writer.octet(self.protocol_id);
        writer.octet(self.priority_flag);
        writer.c_octets(&self.schedule_delivery_time, 17, "schedule_delivery_time")?;
        writer.c_octets(&self.validity_period, 17, "validity_period")?;
        writer.octet(self.registered_delivery.0);
        writer.octet(self.replace_if_present_flag);
        writer.octet(self.data_coding);
        writer.octet(self.sm_default_msg_id);
        writer.short_message(&self.short_message)?;
        writer.tlvs(&self.tlvs)
    }
}

/// `submit_sm_resp`, `deliver_sm_resp`, `data_sm_resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageResp {
    /// The id that the SMSC gave; unused and empty in `deliver_sm_resp`.
    pub message_id: Octets,
    /// Optional parameters.
    pub tlvs: Tlvs,
}

impl MessageResp {
    /// An answer with this id.
    #[must_use]
    pub const fn new(message_id: Octets) -> Self {
        Self { message_id, tlvs: Tlvs::new() }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        if reader.left() == 0 {
            return Ok(Self::default());
        }
        let message_id = reader.c_octets(MESSAGE_ID_OCTETS_MAX, "message_id")?;
        Ok(Self { message_id, tlvs: reader.tlvs()? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.message_id, MESSAGE_ID_OCTETS_MAX, "message_id")?;
        writer.tlvs(&self.tlvs)
    }
}

/// `data_sm`: a message whose text and the rest are in TLVs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataSm {
    /// At most 5 octets.
    pub service_type: Octets,
    /// Who it is from; up to 64 octets.
    pub source: Address,
    /// Who it is for; up to 64 octets.
    pub destination: Address,
    /// Mode, kind and header bits.
    pub esm_class: EsmClass,
    /// Which receipts are wanted.
    pub registered_delivery: RegisteredDelivery,
    /// The alphabet or kind of the text.
    pub data_coding: u8,
    /// Optional parameters, the text among them.
    pub tlvs: Tlvs,
}

impl DataSm {
    /// The same message as a `submit_sm` or `deliver_sm` would have it.
    #[must_use]
    pub fn into_sm(self) -> Sm {
        Sm {
            service_type: self.service_type,
            source: self.source,
            destination: self.destination,
            esm_class: self.esm_class,
            registered_delivery: self.registered_delivery,
            data_coding: self.data_coding,
            tlvs: self.tlvs,
            ..Sm::default()
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        Ok(Self {
            service_type: reader.c_octets(SERVICE_TYPE_OCTETS_MAX, "service_type")?,
            source: Address::read(reader, LONG_ADDRESS_OCTETS_MAX)?,
            destination: Address::read(reader, LONG_ADDRESS_OCTETS_MAX)?,
            esm_class: EsmClass(reader.octet("esm_class")?),
            registered_delivery: RegisteredDelivery(reader.octet("registered_delivery")?),
            data_coding: reader.octet("data_coding")?,
            tlvs: reader.tlvs()?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.service_type, SERVICE_TYPE_OCTETS_MAX, "service_type")?;
        self.source.write(writer, LONG_ADDRESS_OCTETS_MAX, "source_addr")?;
        self.destination.write(writer, LONG_ADDRESS_OCTETS_MAX, "destination_addr")?;
        writer.octet(self.esm_class.0);
        writer.octet(self.registered_delivery.0);
        writer.octet(self.data_coding);
        writer.tlvs(&self.tlvs)
    }
}

/// Where one copy of a `submit_multi` goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One address.
    Address(Address),
    /// A distribution list that the SMSC knows.
    List(Octets),
}

/// `submit_multi`: one message for many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmitMulti {
    /// Everything but the destinations; its own `destination` is empty and not sent.
    pub sm: Sm,
    /// 1 to 254 destinations.
    pub destinations: Vec<Destination>,
}

impl SubmitMulti {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        let service_type = reader.c_octets(SERVICE_TYPE_OCTETS_MAX, "service_type")?;
        let source = Address::read(reader, ADDRESS_OCTETS_MAX)?;
        let count = reader.octet("number_of_dests")?;
        if count == 0 {
            return Err(DecodeFault::NoDestinations);
        }
        let mut destinations = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            destinations.push(match reader.octet("dest_flag")? {
                1 => Destination::Address(Address::read(reader, ADDRESS_OCTETS_MAX)?),
                2 => Destination::List(reader.c_octets(ADDRESS_OCTETS_MAX, "dl_name")?),
                other => return Err(DecodeFault::DestinationFlag(other)),
            });
        }
        let nowhere = Address::default();
        let sm = Sm::read_after_addresses(reader, service_type, source, nowhere)?;
        Ok(Self { sm, destinations })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        let sm = &self.sm;
        writer.c_octets(&sm.service_type, SERVICE_TYPE_OCTETS_MAX, "service_type")?;
        sm.source.write(writer, ADDRESS_OCTETS_MAX, "source_addr")?;
        match u8::try_from(self.destinations.len()) {
            Ok(count @ 1..=254) => writer.octet(count),
            _ => return Err(EncodeError::Destinations(self.destinations.len())),
        }
        for destination in &self.destinations {
            match destination {
                Destination::Address(address) => {
                    writer.octet(1);
                    address.write(writer, ADDRESS_OCTETS_MAX, "destination_addr")?;
                }
                Destination::List(name) => {
                    writer.octet(2);
                    writer.c_octets(name, ADDRESS_OCTETS_MAX, "dl_name")?;
                }
            }
        }
        sm.write_after_addresses(writer)
    }
}

/// A destination that a `submit_multi` did not reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuccess {
    /// Which one.
    pub address: Address,
    /// Why not.
    pub status: Status,
}

/// `submit_multi_resp`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubmitMultiResp {
    /// The id of the whole.
    pub message_id: Octets,
    /// Who was not reached; at most 255.
    pub unsuccess: Vec<Unsuccess>,
    /// Optional parameters (v5.0).
    pub tlvs: Tlvs,
}

impl SubmitMultiResp {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        if reader.left() == 0 {
            return Ok(Self::default());
        }
        let message_id = reader.c_octets(MESSAGE_ID_OCTETS_MAX, "message_id")?;
        let count = if reader.left() == 0 { 0 } else { reader.octet("no_unsuccess")? };
        let mut unsuccess = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let address = Address::read(reader, ADDRESS_OCTETS_MAX)?;
            let status = Status(reader.number32("error_status_code")?);
            unsuccess.push(Unsuccess { address, status });
        }
        Ok(Self { message_id, unsuccess, tlvs: reader.tlvs()? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.message_id, MESSAGE_ID_OCTETS_MAX, "message_id")?;
        let count = u8::try_from(self.unsuccess.len())
            .map_err(|_many| EncodeError::Destinations(self.unsuccess.len()))?;
        writer.octet(count);
        for unsuccess in &self.unsuccess {
            unsuccess.address.write(writer, ADDRESS_OCTETS_MAX, "destination_addr")?;
            writer.number32(unsuccess.status.0);
        }
        writer.tlvs(&self.tlvs)
    }
}
