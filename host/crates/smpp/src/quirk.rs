//! Quirks: the deviations from the standard that are tolerated, by name.
use std::fmt;

/// One deviation that a peer showed and that was tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Quirk {
    /// The last C-octet string has no NUL; it ends with the PDU.
    MissingNul,
    /// A C-octet string is longer than the standard allows.
    OverlongField,
    /// An address has octets outside printable ASCII.
    OddAddress,
    /// A time field is neither empty nor 16 characters long.
    OddTime,
    /// One to three octets after the last parameter, too few for a TLV; or a body where there is
    /// none.
    TrailingOctets,
    /// The last TLV says that it is longer than the PDU; it was left out.
    TruncatedTlv,
    /// `sm_length` is 255, which v3.4 does not allow and v5.0 does.
    ShortMessage255,
    /// Both `short_message` and `message_payload` have octets; the payload counts.
    ShortMessageAndPayload,
    /// An error response has a body.
    ErrorResponseBody,
    /// A positive response has no body.
    MissingResponseBody,
    /// `deliver_sm_resp` has something in its unused `message_id`.
    ReceiverMessageId,
    /// `sequence_number` is 0 or above 0x7FFFFFFF.
    OddSequence,
    /// The body of a response makes no sense; it was kept raw.
    UndecodableResponse,
}

/// Every quirk with its name, in the order of the bits.
const QUIRKS: &[(Quirk, &str)] = &[
    (Quirk::MissingNul, "missing_nul"),
    (Quirk::OverlongField, "overlong_field"),
    (Quirk::OddAddress, "odd_address"),
    (Quirk::OddTime, "odd_time"),
    (Quirk::TrailingOctets, "trailing_octets"),
    (Quirk::TruncatedTlv, "truncated_tlv"),
    (Quirk::ShortMessage255, "short_message_255"),
    (Quirk::ShortMessageAndPayload, "short_message_and_payload"),
    (Quirk::ErrorResponseBody, "error_response_body"),
    (Quirk::MissingResponseBody, "missing_response_body"),
    (Quirk::ReceiverMessageId, "receiver_message_id"),
    (Quirk::OddSequence, "odd_sequence"),
    (Quirk::UndecodableResponse, "undecodable_response"),
];

impl Quirk {
    /// A stable name for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        QUIRKS.iter().find(|(quirk, _)| *quirk == self).map_or("", |(_, name)| name)
    }

    const fn bit(self) -> u16 {
        match self {
            Self::MissingNul => 1 << 0,
            Self::OverlongField => 1 << 1,
            Self::OddAddress => 1 << 2,
            Self::OddTime => 1 << 3,
            Self::TrailingOctets => 1 << 4,
            Self::TruncatedTlv => 1 << 5,
            Self::ShortMessage255 => 1 << 6,
            Self::ShortMessageAndPayload => 1 << 7,
            Self::ErrorResponseBody => 1 << 8,
            Self::MissingResponseBody => 1 << 9,
            Self::ReceiverMessageId => 1 << 10,
            Self::OddSequence => 1 << 11,
            Self::UndecodableResponse => 1 << 12,
        }
    }
}

/// The quirks of one PDU: a set that costs no allocation.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Quirks(u16);

impl Quirks {
    /// Adds one.
    pub const fn insert(&mut self, quirk: Quirk) {
        self.0 |= quirk.bit();
    }

    /// Is it there?
    #[must_use]
    pub const fn contains(self, quirk: Quirk) -> bool {
        self.0 & quirk.bit() != 0
    }

    /// True if the PDU was as the standard says.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The quirks, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Quirk> {
        QUIRKS.iter().map(|(quirk, _)| *quirk).filter(move |quirk| self.contains(*quirk))
    }
}

impl FromIterator<Quirk> for Quirks {
    fn from_iter<I: IntoIterator<Item = Quirk>>(quirks: I) -> Self {
        let mut set = Self::default();
        for quirk in quirks {
            set.insert(quirk);
        }
        set
    }
}

impl fmt::Debug for Quirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
