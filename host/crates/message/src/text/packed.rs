//! Packing of septets into octets (3GPP TS 23.038 §6.1.2).

/// Fills a last octet that would otherwise read as one more septet of zero, which is `@`
/// (§6.1.2.3.1): a carriage return, which shows nothing.
pub const PADDING: u8 = 0x0D;

/// Packs `septets` after `fill_bits` zero bits (0 to 6), which align the text of a segment to a
/// septet boundary after its user data header (23.040 §9.2.3.24).
#[must_use]
pub fn pack(septets: &[u8], fill_bits: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity((fill_bits + septets.len() * 7).div_ceil(8));
    let mut held = 0u16;
    let mut bits = fill_bits % 7;
    let pads = (bits + septets.len() * 7) % 8 == 1;
    for septet in septets.iter().copied().chain(pads.then_some(PADDING)) {
        held |= u16::from(septet & 0x7F) << bits;
        bits += 7;
        if bits >= 8 {
            let [octet, high] = held.to_le_bytes();
            out.push(octet);
            held = u16::from(high);
            bits -= 8;
        }
    }
    if bits > 0 {
        let [octet, _] = held.to_le_bytes();
        out.push(octet);
    }
    out
}

/// Unpacks what [`pack`] wrote. The number of septets is not on the wire in SMPP, so a padding
/// carriage return (or seven zero bits) that fills the last octet is taken for padding.
#[must_use]
pub fn unpack(octets: &[u8], fill_bits: usize) -> Vec<u8> {
    let fill_bits = fill_bits % 7;
    let total = (octets.len() * 8).saturating_sub(fill_bits) / 7;
    let mut out = Vec::with_capacity(total);
    let mut held = 0u16;
    let mut bits = 0;
    let mut skip = fill_bits;
    for &octet in octets {
        held |= u16::from(octet) << bits;
        bits += 8;
        held >>= skip;
        bits -= skip;
        skip = 0;
        while bits >= 7 {
            let [low, _] = held.to_le_bytes();
            out.push(low & 0x7F);
            held >>= 7;
            bits -= 7;
        }
    }
    let filled = !octets.is_empty() && bits == 0;
    if filled && matches!(out.last(), Some(&(PADDING | 0))) {
        out.pop();
    }
    out
}
