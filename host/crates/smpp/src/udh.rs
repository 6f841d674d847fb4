//! User data headers: the octets before the text when `esm_class` says so (3GPP TS 23.040
//! §9.2.3.24).
use bytes::Bytes;
use thiserror::Error;

/// Concatenated short message, 8-bit reference
pub const IEI_CONCAT_8: u8 = 0x00;
/// Concatenated short message, 16-bit reference
pub const IEI_CONCAT_16: u8 = 0x08;
/// Application ports, 8-bit
pub const IEI_PORTS_8: u8 = 0x04;
/// Application ports, 16-bit
pub const IEI_PORTS_16: u8 = 0x05;
/// National language single shift
pub const IEI_SINGLE_SHIFT: u8 = 0x24;
/// National language locking shift
pub const IEI_LOCKING_SHIFT: u8 = 0x25;

/// The longest header, its length octet not counted.
pub const UDH_OCTETS_MAX: usize = 255;

/// A header, kept octet by octet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Udh(Bytes);

/// One information element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// What it is.
    pub iei: u8,
    /// Its data.
    pub data: &'a [u8],
}

/// Which part of which message this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The same in all parts of one message.
    pub reference: u16,
    /// The reference has 16 bits; one with 8 bits is another even if the number is the same.
    pub wide: bool,
    /// How many parts, at least 1.
    pub total: u8,
    /// Which part, from 1 to `total`.
    pub sequence: u8,
}

/// The text says that it starts with a header, but it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the user data header says {said} octets but {left} are there")]
pub struct NoHeader {
    /// Its length octet.
    pub said: usize,
    /// What follows it.
    pub left: usize,
}

impl Udh {
    /// Splits user data into header and text.
    ///
    /// # Errors
    /// [`NoHeader`] if it is shorter than its header says.
    pub fn split(user_data: &Bytes) -> Result<(Self, Bytes), NoHeader> {
        let said = user_data.first().map_or(0, |&len| usize::from(len));
        let left = user_data.len().saturating_sub(1);
        if user_data.is_empty() || said > left {
            return Err(NoHeader { said, left });
        }
        Ok((Self(user_data.slice(1..=said)), user_data.slice(1 + said..)))
    }

    /// A header of these elements; those that do not fit any more are left out.
    #[must_use]
    pub fn of(elements: &[Element<'_>]) -> Self {
        let mut header = Vec::new();
        for element in elements {
            let fits = header.len() + 2 + element.data.len() <= UDH_OCTETS_MAX;
            if let (Ok(len), true) = (u8::try_from(element.data.len()), fits) {
                header.extend_from_slice(&[element.iei, len]);
                header.extend_from_slice(element.data);
            }
        }
        Self(header.into())
    }

    /// The header of one part.
    #[must_use]
    pub fn concat_header(concat: Concat) -> Self {
        let [high, low] = concat.reference.to_be_bytes();
        let Concat { total, sequence, .. } = concat;
        if concat.wide {
            Self::of(&[Element { iei: IEI_CONCAT_16, data: &[high, low, total, sequence] }])
        } else {
            Self::of(&[Element { iei: IEI_CONCAT_8, data: &[low, total, sequence] }])
        }
    }

    /// The octets without the length before them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Octets on the wire, the length octet included.
    #[must_use]
    pub const fn wire_octets(&self) -> usize {
        self.0.len() + 1
    }

    /// Length, header and text: what goes into `short_message`.
    #[must_use]
    pub fn join(&self, text: &[u8]) -> Bytes {
        let mut user_data = Vec::with_capacity(self.wire_octets() + text.len());
        user_data.push(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        user_data.extend_from_slice(&self.0);
        user_data.extend_from_slice(text);
        user_data.into()
    }

    /// The elements in their order; an unfinished last one is not among them.
    pub fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (&[iei, len], tail) = rest.split_first_chunk::<2>()?;
            let (data, tail) = tail.split_at_checked(usize::from(len))?;
            rest = tail;
            Some(Element { iei, data })
        })
    }

    /// Which part this is, if it is one. The last such element counts (3GPP TS 23.040
    /// §9.2.3.24); one that makes no sense counts for nothing.
    #[must_use]
    pub fn concat(&self) -> Option<Concat> {
        self.elements().filter_map(|element| concat_of(&element)).last()
    }
}

fn concat_of(element: &Element<'_>) -> Option<Concat> {
    let concat = match (element.iei, element.data) {
        (IEI_CONCAT_8, &[reference, total, sequence]) => {
            Concat { reference: reference.into(), wide: false, total, sequence }
        }
        (IEI_CONCAT_16, &[high, low, total, sequence]) => {
            Concat { reference: u16::from_be_bytes([high, low]), wide: true, total, sequence }
        }
        _ => return None,
    };
    (1..=concat.total).contains(&concat.sequence).then_some(concat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user_data: &'static [u8], expect: Option<(u16, bool, u8, u8)>, text: &[u8]) {
        let data = Bytes::from_static(user_data);
        let (udh, rest) = Udh::split(&data).unwrap();
        let concat = udh.concat().map(|c| (c.reference, c.wide, c.total, c.sequence));
        assert_eq!((concat, &rest[..]), (expect, text));
        assert_eq!(udh.join(&rest), data, "round trip");
    }

    #[test]
    fn parts_of_both_widths_are_known_and_everything_is_kept() {
        check(b"\x05\x00\x03\x2A\x02\x01hi", Some((42, false, 2, 1)), b"hi");
        check(b"\x06\x08\x04\x01\x2A\x03\x03", Some((298, true, 3, 3)), b"");
        // Ports before the concatenation, and an unknown element after it.
        check(
            b"\x0E\x05\x04\x0B\x84\x23\xF0\x00\x03\x01\x02\x02\x70\x01\xAAx",
            Some((1, false, 2, 2)),
            b"x",
        );
        check(b"\x05\x00\x03\x2A\x02\x03z", None, b"z"); // part 3 of 2
        check(b"\x05\x00\x03\x2A\x00\x00z", None, b"z");
        check(b"\x03\x00\x09\x01z", None, b"z"); // an element longer than the header
        check(b"\x00z", None, b"z");
    }

    #[test]
    fn a_header_longer_than_the_text_is_an_error() {
        assert!(Udh::split(&Bytes::from_static(b"\x05\x00\x03")).is_err());
        assert!(Udh::split(&Bytes::new()).is_err());
    }

    #[test]
    fn a_part_header_has_the_usual_octets() {
        let concat = Concat { reference: 0x1234, wide: false, total: 2, sequence: 1 };
        assert_eq!(Udh::concat_header(concat).join(b"")[..], [5, 0, 3, 0x34, 2, 1]);
        let concat = Concat { wide: true, ..concat };
        assert_eq!(Udh::concat_header(concat).join(b"")[..], [6, 8, 4, 0x12, 0x34, 2, 1]);
    }
}
