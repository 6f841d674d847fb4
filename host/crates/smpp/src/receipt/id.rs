//! Ids: one SMSC writes the same id in decimal in one place and in hexadecimal in another.
use crate::octets::Octets;

/// Digits of the longest id that is taken for a number.
const NUMBER_DIGITS_MAX: usize = 64;

/// How the id in a receipt relates to the id in the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum IdRelation {
    /// The same, but for case and leading zeros.
    #[default]
    Same,
    /// The receipt has in hexadecimal what the response had in decimal.
    ReceiptIsHex,
    /// The receipt has in decimal what the response had in hexadecimal.
    ReceiptIsDecimal,
}

impl IdRelation {
    /// In the order in which they are tried until one is known to be right.
    pub const ALL: [Self; 3] = [Self::Same, Self::ReceiptIsDecimal, Self::ReceiptIsHex];
}

/// The form of an id under which a response is remembered: hexadecimal digits in lower case
/// without leading zeros; anything else as it is.
#[must_use]
pub fn normal_id(id: &[u8]) -> Octets {
    if id.is_empty() || !id.iter().all(u8::is_ascii_hexdigit) {
        return Octets::from(id);
    }
    let zeros = id.iter().take_while(|octet| **octet == b'0').count();
    let digits = id.get(zeros.min(id.len() - 1)..).unwrap_or(id);
    Octets::from(digits.to_ascii_lowercase())
}

/// The form under which the message of a receipt with this id was remembered if the relation is
/// this one; `None` if it cannot be.
#[must_use]
pub fn lookup_id(receipt_id: &[u8], relation: IdRelation) -> Option<Octets> {
    if relation == IdRelation::Same {
        return Some(normal_id(receipt_id)).filter(|id| !id.is_empty());
    }
    let (from, to) = match relation {
        IdRelation::ReceiptIsHex => (16, 10),
        IdRelation::ReceiptIsDecimal | IdRelation::Same => (10, 16),
    };
    convert(receipt_id, from, to)
}

/// A number of any size from one base to another.
fn convert(id: &[u8], from: u32, to: u32) -> Option<Octets> {
    if id.is_empty() || id.len() > NUMBER_DIGITS_MAX {
        return None;
    }
    // Digits in the new base, the lowest first; each step multiplies by the old base and adds.
    let mut digits: Vec<u32> = vec![0];
    for &octet in id {
        let mut carry = char::from(octet).to_digit(from)?;
        for digit in &mut digits {
            let value = *digit * from + carry;
            *digit = value % to;
            carry = value / to;
        }
        while carry > 0 {
            digits.push(carry % to);
            carry /= to;
        }
    }
    let text: Option<String> =
        digits.iter().rev().map(|&digit| char::from_digit(digit, to)).collect();
    text.map(|text| Octets::from(text.into_bytes()))
}
