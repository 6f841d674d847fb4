//! Delivery receipts: what an SMSC says became of a message (SMPP v3.4 §5.2.28, Appendix B).
mod id;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use id::{IdRelation, lookup_id, normal_id};

use crate::flags::{EsmClass, RegisteredDelivery};
use crate::octets::Octets;
use crate::pdu::{Address, Sm};
use crate::time::{Time, receipt_date};
use crate::tlv::{TlvTooLong, Tlvs, tag};

/// The state of a message at an SMSC (v3.4 §5.2.28; 0 and 9 are v5.0's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageState {
    /// Waits for its time.
    Scheduled = 0,
    /// On its way.
    Enroute = 1,
    /// Delivered.
    Delivered = 2,
    /// Its validity ran out.
    Expired = 3,
    /// Removed.
    Deleted = 4,
    /// Cannot be delivered.
    Undeliverable = 5,
    /// Taken by somebody in the recipient's place, or by the next hop.
    Accepted = 6,
    /// Nobody knows.
    Unknown = 7,
    /// Refused.
    Rejected = 8,
    /// Left out on purpose.
    Skipped = 9,
}

/// Every state with its number and the word of Appendix B.
const STATES: &[(MessageState, u8, &str)] = &[
    (MessageState::Scheduled, 0, "SCHEDULED"),
    (MessageState::Enroute, 1, "ENROUTE"),
    (MessageState::Delivered, 2, "DELIVRD"),
    (MessageState::Expired, 3, "EXPIRED"),
    (MessageState::Deleted, 4, "DELETED"),
    (MessageState::Undeliverable, 5, "UNDELIV"),
    (MessageState::Accepted, 6, "ACCEPTD"),
    (MessageState::Unknown, 7, "UNKNOWN"),
    (MessageState::Rejected, 8, "REJECTD"),
    (MessageState::Skipped, 9, "SKIPPED"),
];

/// How other SMSCs spell them.
const OTHER_WORDS: &[(&str, MessageState)] = &[
    ("DELIVERED", MessageState::Delivered),
    ("DELIVERD", MessageState::Delivered),
    ("DELIVER", MessageState::Delivered),
    ("SUCCESS", MessageState::Delivered),
    ("UNDELIVERED", MessageState::Undeliverable),
    ("UNDELIVERABLE", MessageState::Undeliverable),
    ("UNDELIVRD", MessageState::Undeliverable),
    ("UNDELIVD", MessageState::Undeliverable),
    ("FAILED", MessageState::Undeliverable),
    ("FAIL", MessageState::Undeliverable),
    ("ACCEPTED", MessageState::Accepted),
    ("REJECTED", MessageState::Rejected),
    ("EXPIRD", MessageState::Expired),
    ("BUFFRED", MessageState::Enroute),
    ("BUFFERED", MessageState::Enroute),
    ("SCHEDLD", MessageState::Scheduled),
    ("DELETD", MessageState::Deleted),
];

impl MessageState {
    /// The state with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        STATES.iter().find(|(_, known, _)| *known == number).map(|(state, _, _)| *state)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        STATES.iter().find(|(state, _, _)| *state == self).map_or(7, |(_, number, _)| *number)
    }

    /// The word of Appendix B, `DELIVRD`.
    #[must_use]
    pub fn word(self) -> &'static str {
        STATES.iter().find(|(state, _, _)| *state == self).map_or("UNKNOWN", |(_, _, word)| word)
    }

    /// The state with this word in any case, in one of the spellings of the field.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let known = STATES.iter().map(|(state, _, word)| (*word, *state));
        known
            .chain(OTHER_WORDS.iter().copied())
            .find(|(known, _)| known.eq_ignore_ascii_case(word))
            .map(|(_, state)| state)
    }

    /// Nothing follows it. `ACCEPTD` is listed among the final states, but is widely used for
    /// "the next hop has it", with another receipt to come.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Delivered
                | Self::Expired
                | Self::Deleted
                | Self::Undeliverable
                | Self::Rejected
                | Self::Skipped
        )
    }
}

impl fmt::Display for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a receipt says. The TLVs count more than the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the message that it is about.
    pub id: Option<Octets>,
    /// What became of it; `None` if it says nothing that we know.
    pub state: Option<MessageState>,
    /// The state's word as it came.
    pub state_word: Option<Octets>,
    /// When it was submitted, milliseconds since 1970 UTC.
    pub submitted_ms: Option<i64>,
    /// When it ended, milliseconds since 1970 UTC.
    pub done_ms: Option<i64>,
    /// The error as it came; `000` is none.
    pub error: Option<Octets>,
    /// The `network_error_code` TLV.
    pub network_error: Option<NetworkError>,
    /// The beginning of the message, or words of the SMSC.
    pub text: Option<Octets>,
    /// The TLVs and the text say different things.
    pub disagrees: bool,
}

/// A network's own error (v3.4 §5.3.2.31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkError {
    /// 1 ANSI-136, 2 IS-95, 3 GSM, and more since.
    pub network: u8,
    /// The network's number for it.
    pub code: u16,
}

impl Receipt {
    /// Reads a `deliver_sm` or `data_sm` that says it is a receipt, by its `esm_class` or its
    /// TLVs. `None` for everything else: text alone proves nothing, any handset can send it.
    #[must_use]
    pub fn of(sm: &Sm) -> Option<Self> {
        if !sm.is_receipt() {
            return None;
        }
        let body = sm.text();
        let mut receipt = text::parse(&body);
        receipt.overlay(&sm.tlvs);
        Some(receipt)
    }

    /// Reads the text of a receipt alone.
    #[must_use]
    pub fn parse_text(body: &Bytes) -> Self {
        text::parse(body)
    }

    fn overlay(&mut self, tlvs: &Tlvs) {
        if let Some(id) = tlvs.string(tag::RECEIPTED_MESSAGE_ID).filter(|id| !id.is_empty()) {
            self.disagrees |= self
                .id
                .as_ref()
                .is_some_and(|other| normal_id(other.as_bytes()) != normal_id(id.as_bytes()));
            self.id = Some(id);
        }
        let state = tlvs.number(tag::MESSAGE_STATE).and_then(|number| u8::try_from(number).ok());
        if let Some(state) = state.and_then(MessageState::from_number) {
            self.disagrees |= self.state.is_some_and(|other| other != state);
            self.state = Some(state);
        }
        self.network_error = tlvs.first(tag::NETWORK_ERROR_CODE).and_then(NetworkError::of);
    }
}

impl NetworkError {
    /// Reads the TLV's value: one octet and a number of two octets, or three ASCII digits.
    #[must_use]
    pub fn of(value: &[u8]) -> Option<Self> {
        match *value {
            [a, b, c, ..] if [a, b, c].iter().all(u8::is_ascii_digit) => {
                let digit = |octet: u8| u16::from(octet - b'0');
                Some(Self { network: 0, code: digit(a) * 100 + digit(b) * 10 + digit(c) })
            }
            [network, high, low] => Some(Self { network, code: u16::from_be_bytes([high, low]) }),
            _ => None,
        }
    }
}

/// A receipt to be sent, from an SMSC to an ESME.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptToSend<'a> {
    /// The id exactly as the response to the submit had it.
    pub id: &'a Octets,
    /// What became of it.
    pub state: MessageState,
    /// When it was submitted, milliseconds since 1970 UTC.
    pub submitted_ms: i64,
    /// When it ended, milliseconds since 1970 UTC.
    pub done_ms: i64,
    /// 0 for none, at most 999.
    pub error: u16,
    /// The beginning of the message; its first 20 octets are used.
    pub text: &'a [u8],
}

impl ReceiptToSend<'_> {
    /// The text of Appendix B.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let delivered = u8::from(self.state == MessageState::Delivered);
        let head = format!(
            "id:{} sub:001 dlvrd:00{delivered} submit date:{} done date:{} stat:{} err:{:03} text:",
            self.id,
            receipt_date(self.submitted_ms),
            receipt_date(self.done_ms),
            self.state,
            self.error.min(999),
        );
        let mut text = head.into_bytes();
        text.extend(self.text.iter().take(20));
        text
    }

    /// The whole `deliver_sm`: from the message's recipient to its sender.
    ///
    /// # Errors
    /// [`TlvTooLong`] for an id that no TLV can hold.
    pub fn into_sm(self, recipient: Address, sender: Address) -> Result<Sm, TlvTooLong> {
        let mut tlvs = Tlvs::new();
        let mut id = self.id.as_bytes().to_vec();
        id.push(0);
        tlvs.push(tag::RECEIPTED_MESSAGE_ID, &id)?;
        tlvs.push(tag::MESSAGE_STATE, &[self.state.number()])?;
        let kind = if self.state.is_final() || self.state == MessageState::Accepted {
            EsmClass::RECEIPT
        } else {
            EsmClass::INTERMEDIATE
        };
        Ok(Sm {
            source: recipient,
            destination: sender,
            esm_class: EsmClass(kind),
            registered_delivery: RegisteredDelivery::NONE,
            short_message: self.text().into(),
            tlvs,
            ..Sm::default()
        })
    }
}

/// A date of a receipt, milliseconds since 1970 UTC.
fn date_ms(text: &[u8]) -> Option<i64> {
    match Time::parse(text)? {
        Time::Absolute(at_ms) => Some(at_ms),
        Time::Relative(_) => None,
    }
}
