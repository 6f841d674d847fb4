//! Short messages as tests write them down.

use bytes::Bytes;
use smpp::receipt::{MessageState, ReceiptToSend};
use smpp::{Address, Octets, RegisteredDelivery, Sm, npi, ton};

/// An address of an international number.
#[must_use]
pub fn number(digits: &str) -> Address {
    Address::new(ton::INTERNATIONAL, npi::ISDN, Octets::from_text(digits).unwrap())
}

/// A text in the default alphabet from a short code; ASCII letters only.
#[must_use]
pub fn text(to: &str, text: &str) -> Sm {
    Sm {
        source: Address::new(ton::NETWORK_SPECIFIC, npi::UNKNOWN, Octets::from_static(b"33700")),
        destination: number(to),
        short_message: Bytes::copy_from_slice(text.as_bytes()),
        ..Sm::default()
    }
}

/// The same, and a final receipt is wanted.
#[must_use]
pub fn text_with_receipt(to: &str, words: &str) -> Sm {
    Sm { registered_delivery: RegisteredDelivery(1), ..text(to, words) }
}

/// What an SMSC says of a message that it took under `id`.
#[must_use]
pub fn receipt(of: &Sm, id: &str, state: MessageState) -> Sm {
    let id = Octets::from_text(id).unwrap();
    ReceiptToSend {
        id: &id,
        state,
        submitted_ms: 1_795_000_000_000,
        done_ms: 1_795_000_001_000,
        error: u16::from(state != MessageState::Delivered),
        text: &of.short_message,
    }
    .into_sm(of.destination.clone(), of.source.clone())
    .unwrap()
}
