//! Binds: who is calling and in which direction messages may go (SMPP v3.4 §4.1).
use std::fmt;

use super::decode::{DecodeFault, Reader};
use super::encode::{EncodeError, Writer};
use crate::command::CommandId;
use crate::flags::InterfaceVersion;
use crate::octets::Octets;
use crate::tlv::{Tlvs, tag};

/// The directions of a bind, seen from the ESME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum BindMode {
    /// Only receives.
    Receiver,
    /// Only sends.
    Transmitter,
    /// Both.
    #[default]
    Transceiver,
}

impl BindMode {
    /// The request that asks for it.
    #[must_use]
    pub const fn command(self) -> CommandId {
        match self {
            Self::Receiver => CommandId::BIND_RECEIVER,
            Self::Transmitter => CommandId::BIND_TRANSMITTER,
            Self::Transceiver => CommandId::BIND_TRANSCEIVER,
        }
    }

    /// May the SMSC deliver to it?
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::Receiver | Self::Transceiver)
    }

    /// May the ESME submit on it?
    #[must_use]
    pub const fn transmits(self) -> bool {
        matches!(self, Self::Transmitter | Self::Transceiver)
    }
}

/// `bind_receiver`, `bind_transmitter`, `bind_transceiver`. Its debug form hides the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bind {
    /// Which of the three.
    pub mode: BindMode,
    /// Who binds; at most 15 octets.
    pub system_id: Octets,
    /// Its secret; at most 8 octets.
    pub password: Octets,
    /// What kind of system; at most 12 octets.
    pub system_type: Octets,
    /// The version that the ESME speaks.
    pub interface_version: InterfaceVersion,
    /// Type of number of the addresses it serves.
    pub addr_ton: u8,
    /// Numbering plan of them.
    pub addr_npi: u8,
    /// The addresses it serves, a UNIX regular expression; at most 40 octets.
    pub address_range: Octets,
}

impl Bind {
    pub(super) fn read(reader: &mut Reader<'_>, mode: BindMode) -> Result<Self, DecodeFault> {
        Ok(Self {
            mode,
            system_id: reader.c_octets(16, "system_id")?,
            password: reader.c_octets(9, "password")?,
            system_type: reader.c_octets(13, "system_type")?,
            interface_version: InterfaceVersion(reader.octet("interface_version")?),
            addr_ton: reader.octet("addr_ton")?,
            addr_npi: reader.octet("addr_npi")?,
            address_range: reader.c_octets(41, "address_range")?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.credential(&self.system_id, 16, "system_id")?;
        writer.credential(&self.password, 9, "password")?;
        writer.credential(&self.system_type, 13, "system_type")?;
        writer.octet(self.interface_version.0);
        writer.octet(self.addr_ton);
        writer.octet(self.addr_npi);
        writer.credential(&self.address_range, 41, "address_range")
    }
}

impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bind")
            .field("mode", &self.mode)
            .field("system_id", &self.system_id)
            .field("system_type", &self.system_type)
            .field("interface_version", &self.interface_version)
            .field("address_range", &self.address_range)
            .finish_non_exhaustive()
    }
}

/// The answer to a bind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindResp {
    /// Which of the three was asked for.
    pub mode: BindMode,
    /// Who the SMSC is; at most 15 octets.
    pub system_id: Octets,
    /// Optional parameters.
    pub tlvs: Tlvs,
}

impl BindResp {
    /// What the SMSC speaks, if it says so.
    #[must_use]
    pub fn sc_interface_version(&self) -> Option<InterfaceVersion> {
        let version = self.tlvs.number(tag::SC_INTERFACE_VERSION)?;
        u8::try_from(version).ok().map(InterfaceVersion)
    }

    pub(super) fn read(reader: &mut Reader<'_>, mode: BindMode) -> Result<Self, DecodeFault> {
        if reader.left() == 0 {
            return Ok(Self { mode, ..Self::default() });
        }
        let system_id = reader.c_octets(16, "system_id")?;
        Ok(Self { mode, system_id, tlvs: reader.tlvs()? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.system_id, 16, "system_id")?;
        writer.tlvs(&self.tlvs)
    }
}

/// `outbind`: an SMSC asks an ESME to bind. Its debug form hides the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Outbind {
    /// Who the SMSC is; at most 15 octets.
    pub system_id: Octets,
    /// Its secret; at most 8 octets.
    pub password: Octets,
}

impl Outbind {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeFault> {
        Ok(Self {
            system_id: reader.c_octets(16, "system_id")?,
            password: reader.c_octets(9, "password")?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.c_octets(&self.system_id, 16, "system_id")?;
        writer.c_octets(&self.password, 9, "password")
    }
}

impl fmt::Debug for Outbind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbind").field("system_id", &self.system_id).finish_non_exhaustive()
    }
}
