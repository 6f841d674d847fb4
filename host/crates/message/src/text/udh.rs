//! User data headers (3GPP TS 23.040 §9.2.3.24): elements kept byte for byte, the few that the
//! router understands recognised.

use bytes::{Bytes, BytesMut};

/// Identifiers of information elements (23.040 §9.2.3.24).
pub mod ie {
    /// Concatenation with an 8 bit reference.
    pub const CONCAT_8: u8 = 0x00;
    /// Application ports, 8 bit.
    pub const PORTS_8: u8 = 0x04;
    /// Application ports, 16 bit.
    pub const PORTS_16: u8 = 0x05;
    /// Concatenation with a 16 bit reference.
    pub const CONCAT_16: u8 = 0x08;
    /// National language single shift.
    pub const SINGLE_SHIFT: u8 = 0x24;
    /// National language locking shift.
    pub const LOCKING_SHIFT: u8 = 0x25;
}

/// Why octets are not a user data header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdhError {
    /// The length octet promises more than there is.
    #[error("user data header announces {announced} octets, {available} are there")]
    Truncated {
        /// What the length octet says.
        announced: usize,
        /// What follows it.
        available: usize,
    },
    /// An element runs over the end of the header.
    #[error("element 0x{id:02x} runs over the end of the user data header")]
    Overrun {
        /// The element's identifier.
        id: u8,
    },
    /// The header would be longer than its length octet can say.
    #[error("user data header is longer than {} octets", Udh::OCTETS_MAX)]
    TooLong,
}

/// A well-formed header, byte for byte as it came, its length octet included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Udh {
    octets: Bytes,
}

/// One information element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its identifier, see [`ie`].
    pub id: u8,
    /// Its octets without identifier and length.
    pub data: &'a [u8],
}

/// Which part of which message a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The number that the parts of one message share; below 256 unless `wide`.
    pub reference: u16,
    /// Whether the reference has 16 bits.
    pub wide: bool,
    /// Parts in the message, at least 1.
    pub total: u8,
    /// This part, from 1 to `total`.
    pub sequence: u8,
}

impl Udh {
    /// The longest header, its length octet included (one segment holds it whole).
    pub const OCTETS_MAX: usize = 140;

    /// Splits user data with a header into the header and what follows it.
    ///
    /// # Errors
    /// The length octet or an element promises more than there is. 23.040 asks a receiver to
    /// ignore such a header; whoever passes the message on keeps the octets as they are.
    pub fn split(user_data: &Bytes) -> Result<(Self, Bytes), UdhError> {
        let Some(&announced) = user_data.first() else {
            return Ok((Self::default(), Bytes::new()));
        };
        let announced = usize::from(announced);
        let available = user_data.len() - 1;
        if announced > available {
            return Err(UdhError::Truncated { announced, available });
        }
        let udh = Self { octets: user_data.slice(..=announced) };
        udh.check()?;
        Ok((udh, user_data.slice(announced + 1..)))
    }

    /// Takes octets that are a header and nothing else.
    ///
    /// # Errors
    /// As [`split`](Self::split); octets behind the header count as an overrun of element 0.
    pub fn parse(octets: &Bytes) -> Result<Self, UdhError> {
        let (udh, rest) = Self::split(octets)?;
        if rest.is_empty() { Ok(udh) } else { Err(UdhError::Overrun { id: 0 }) }
    }

    /// The header with its length octet; empty if there is none.
    #[must_use]
    pub fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// Whether there is no header at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The elements in wire order.
    pub fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        let mut rest = self.octets.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (element, after) = next_element(rest)?;
            rest = after;
            Some(element)
        })
    }

    /// The part that this header declares: the last valid concatenation element (23.040
    /// §9.2.3.24.1 has the last of several count, and an impossible one ignored).
    #[must_use]
    pub fn concat(&self) -> Option<Concat> {
        self.elements()
            .filter_map(|element| match (element.id, element.data) {
                (ie::CONCAT_8, &[reference, total, sequence]) => {
                    Some(Concat { reference: u16::from(reference), wide: false, total, sequence })
                }
                (ie::CONCAT_16, &[high, low, total, sequence]) => {
                    let reference = u16::from_be_bytes([high, low]);
                    Some(Concat { reference, wide: true, total, sequence })
                }
                _ => None,
            })
            .filter(|concat| concat.sequence >= 1 && concat.sequence <= concat.total)
            .last()
    }

    /// The same header without its concatenation elements, all others byte for byte: what an
    /// assembled message keeps.
    #[must_use]
    pub fn without_concat(&self) -> Self {
        let mut builder = UdhBuilder::default();
        for element in self.elements() {
            if !matches!(element.id, ie::CONCAT_8 | ie::CONCAT_16) {
                builder = builder.element(element.id, element.data);
            }
        }
        builder.build().unwrap_or_default()
    }

    /// Zero bits between the header and packed septets.
    #[must_use]
    pub fn fill_bits(&self) -> usize {
        (7 - self.octets.len() * 8 % 7) % 7
    }

    fn check(&self) -> Result<(), UdhError> {
        let mut rest = self.octets.get(1..).unwrap_or_default();
        while let Some(&id) = rest.first() {
            let Some((_, after)) = next_element(rest) else {
                return Err(UdhError::Overrun { id });
            };
            rest = after;
        }
        Ok(())
    }
}

fn next_element(octets: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&id, octets) = octets.split_first()?;
    let (&length, octets) = octets.split_first()?;
    let (data, rest) = octets.split_at_checked(usize::from(length))?;
    Some((Element { id, data }, rest))
}

/// Writes a header element by element, in the order given.
#[derive(Clone, Debug, Default)]
pub struct UdhBuilder {
    elements: BytesMut,
    too_long: bool,
}

impl UdhBuilder {
    /// Appends an element with its octets.
    #[must_use]
    pub fn element(mut self, id: u8, data: &[u8]) -> Self {
        let Ok(length) = u8::try_from(data.len()) else {
            self.too_long = true;
            return self;
        };
        self.elements.extend_from_slice(&[id, length]);
        self.elements.extend_from_slice(data);
        self
    }

    /// Appends a concatenation element; a reference of 8 bits takes the low octet.
    #[must_use]
    pub fn concat(self, concat: Concat) -> Self {
        let [high, low] = concat.reference.to_be_bytes();
        if concat.wide {
            self.element(ie::CONCAT_16, &[high, low, concat.total, concat.sequence])
        } else {
            self.element(ie::CONCAT_8, &[low, concat.total, concat.sequence])
        }
    }

    /// The header; empty octets if no element was given.
    ///
    /// # Errors
    /// [`UdhError::TooLong`] if the elements do not fit one segment.
    pub fn build(self) -> Result<Udh, UdhError> {
        if self.elements.is_empty() && !self.too_long {
            return Ok(Udh::default());
        }
        if self.too_long || self.elements.len() + 1 > Udh::OCTETS_MAX {
            return Err(UdhError::TooLong);
        }
        let length = u8::try_from(self.elements.len()).map_err(|_too_long| UdhError::TooLong)?;
        let mut octets = BytesMut::with_capacity(self.elements.len() + 1);
        octets.extend_from_slice(&[length]);
        octets.extend_from_slice(&self.elements);
        Ok(Udh { octets: octets.freeze() })
    }
}
