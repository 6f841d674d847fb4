//! Base64 with padding (RFC 4648 §4), for AUTH.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(plain: &[u8]) -> String {
    let mut encoded = String::with_capacity(plain.len().div_ceil(3).saturating_mul(4));
    for group in plain.chunks(3) {
        let octet = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for (index, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from(bits >> shift & 63).unwrap_or(0);
            let used = index <= group.len();
            let letter = ALPHABET.get(digit).filter(|_| used).copied().unwrap_or(b'=');
            encoded.push(char::from(letter));
        }
    }
    encoded
}

/// `None` when the text is not base64.
pub(crate) fn decode(encoded: &str) -> Option<Vec<u8>> {
    let letters = encoded.trim_end_matches('=');
    if !encoded.len().is_multiple_of(4) || encoded.len().saturating_sub(letters.len()) > 2 {
        return None;
    }
    let mut plain = Vec::with_capacity(encoded.len() / 4 * 3);
    for group in letters.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            let digit = ALPHABET.iter().position(|known| known == letter)?;
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        let missing = u32::try_from(4_usize.saturating_sub(group.len())).ok()?;
        let [_, octets @ ..] = (bits << (6 * missing)).to_be_bytes();
        plain.extend(octets.iter().take(group.len().saturating_sub(1)));
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_of_rfc_4648() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes()), encoded);
            assert_eq!(decode(encoded).unwrap(), plain.as_bytes());
        }
        for wrong in ["Z", "Zg=", "Zg", "Z===", "Zm9\n", "=Zg="] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn anything_comes_back(plain in prop::collection::vec(any::<u8>(), 0..50), text in ".{0,40}") {
            prop_assert_eq!(decode(&encode(&plain)), Some(plain));
            let _decoded = decode(&text);
        }
    }
}
