//! The bit fields and small numbers of SMPP, with names.

/// What a peer speaks, as in `interface_version` (v3.4 §5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceVersion(pub u8);

impl InterfaceVersion {
    /// v3.3; anything from 0x00 to 0x33 means v3.3 or older.
    pub const V33: Self = Self(0x33);
    /// v3.4
    pub const V34: Self = Self(0x34);
    /// v5.0
    pub const V50: Self = Self(0x50);

    /// v3.4 brought TLVs; older peers get none (v3.4 §3.4).
    #[must_use]
    pub const fn has_tlvs(self) -> bool {
        self.0 >= Self::V34.0
    }

    /// Ids for v3.3 are at most 8 hexadecimal digits (v3.4 §3.4).
    #[must_use]
    pub const fn has_long_ids(self) -> bool {
        self.has_tlvs()
    }
}

impl Default for InterfaceVersion {
    fn default() -> Self {
        Self::V34
    }
}

/// `esm_class` (v3.4 §5.2.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EsmClass(pub u8);

impl EsmClass {
    /// The text starts with a user data header.
    pub const UDHI: u8 = 0x40;
    /// A reply path is set.
    pub const REPLY_PATH: u8 = 0x80;
    /// This is an SMSC's delivery receipt.
    pub const RECEIPT: u8 = 0x04;
    /// This is an SME's delivery acknowledgement.
    pub const SME_DELIVERY_ACK: u8 = 0x08;
    /// This is an SME's manual (user) acknowledgement.
    pub const SME_MANUAL_ACK: u8 = 0x10;
    /// This is an intermediate notification.
    pub const INTERMEDIATE: u8 = 0x20;
    /// The bits that say what kind of message it is.
    pub const TYPE_MASK: u8 = 0x3C;
    /// The bits of the messaging mode; they mean nothing in `deliver_sm`.
    pub const MODE_MASK: u8 = 0x03;

    /// The text starts with a user data header.
    #[must_use]
    pub const fn has_udh(self) -> bool {
        self.0 & Self::UDHI != 0
    }

    /// The kind of message, one of the constants or 0 for an ordinary one.
    #[must_use]
    pub const fn kind(self) -> u8 {
        self.0 & Self::TYPE_MASK
    }

    /// A delivery receipt or an intermediate notification. Some SMSCs add UDHI to it.
    #[must_use]
    pub const fn is_receipt(self) -> bool {
        matches!(self.kind(), Self::RECEIPT | Self::INTERMEDIATE)
    }

    /// An acknowledgement by the recipient's device or by its user.
    #[must_use]
    pub const fn is_sme_ack(self) -> bool {
        matches!(self.kind(), Self::SME_DELIVERY_ACK | Self::SME_MANUAL_ACK)
    }

    /// The same with or without the user data header bit.
    #[must_use]
    pub const fn with_udh(self, on: bool) -> Self {
        if on { Self(self.0 | Self::UDHI) } else { Self(self.0 & !Self::UDHI) }
    }
}

/// `registered_delivery` (v3.4 §5.2.17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RegisteredDelivery(pub u8);

impl RegisteredDelivery {
    /// No receipt.
    pub const NONE: Self = Self(0);
    /// A receipt for success and for failure.
    pub const FINAL: Self = Self(1);
    /// A receipt for failure only.
    pub const FAILURE: Self = Self(2);
    /// A receipt for success only (v5.0).
    pub const SUCCESS: Self = Self(3);
    /// The bit for an intermediate notification. v3.4's text says bit 5, its table shows bit 4.
    pub const INTERMEDIATE: u8 = 0x10;
    /// The bits that ask the recipient's device for acknowledgements.
    pub const SME_ACK_MASK: u8 = 0x0C;

    /// Is a receipt wanted when it was delivered?
    #[must_use]
    pub const fn wants_success(self) -> bool {
        matches!(self.0 & 3, 1 | 3)
    }

    /// Is a receipt wanted when it failed?
    #[must_use]
    pub const fn wants_failure(self) -> bool {
        matches!(self.0 & 3, 1 | 2)
    }

    /// Is a notification wanted on the way?
    #[must_use]
    pub const fn wants_intermediate(self) -> bool {
        self.0 & Self::INTERMEDIATE != 0
    }

    /// The value for two wishes; the other bits are zero.
    #[must_use]
    pub const fn of(success: bool, failure: bool) -> Self {
        match (success, failure) {
            (true, true) => Self::FINAL,
            (false, true) => Self::FAILURE,
            (true, false) => Self::SUCCESS,
            (false, false) => Self::NONE,
        }
    }
}

/// Type of number (v3.4 §5.2.5).
pub mod ton {
    /// Unknown
    pub const UNKNOWN: u8 = 0;
    /// International, without a plus sign
    pub const INTERNATIONAL: u8 = 1;
    /// National
    pub const NATIONAL: u8 = 2;
    /// Network specific; the usual one for short codes
    pub const NETWORK_SPECIFIC: u8 = 3;
    /// Subscriber number
    pub const SUBSCRIBER: u8 = 4;
    /// Alphanumeric, at most 11 characters
    pub const ALPHANUMERIC: u8 = 5;
    /// Abbreviated; short codes of some networks
    pub const ABBREVIATED: u8 = 6;
}

/// Numbering plan indicator (v3.4 §5.2.6).
pub mod npi {
    /// Unknown
    pub const UNKNOWN: u8 = 0;
    /// ISDN, E.163/E.164
    pub const ISDN: u8 = 1;
    /// Data, X.121
    pub const DATA: u8 = 3;
    /// Telex, F.69
    pub const TELEX: u8 = 4;
    /// Land mobile, E.212
    pub const LAND_MOBILE: u8 = 6;
    /// National
    pub const NATIONAL: u8 = 8;
    /// Private
    pub const PRIVATE: u8 = 9;
    /// ERMES
    pub const ERMES: u8 = 10;
    /// Internet (IP)
    pub const INTERNET: u8 = 14;
    /// WAP client id
    pub const WAP: u8 = 18;
}
