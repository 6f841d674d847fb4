//! As much SMPP 3.4 as the peers speak, written anew: it judges what the host writes.

use std::collections::VecDeque;

use crate::facts::Word;

pub(crate) const BIND_TRANSCEIVER: u32 = 0x09;
pub(crate) const SUBMIT_SM: u32 = 0x04;
pub(crate) const DELIVER_SM: u32 = 0x05;
pub(crate) const UNBIND: u32 = 0x06;
pub(crate) const ENQUIRE_LINK: u32 = 0x15;
pub(crate) const RESP: u32 = 0x8000_0000;

const HEADER: usize = 16;

/// One PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pdu {
    pub(crate) command: u32,
    pub(crate) status: u32,
    pub(crate) sequence: u32,
    pub(crate) body: Vec<u8>,
}

impl Pdu {
    pub(crate) fn new(command: u32, status: u32, sequence: u32, body: Vec<u8>) -> Self {
        Self { command, status, sequence, body }
    }

    /// A response whose body is one C string.
    pub(crate) fn answer(command: u32, status: u32, sequence: u32, text: &str) -> Self {
        Self::new(command | RESP, status, sequence, c_string(text))
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap();
        let numbers = [length, self.command, self.status, self.sequence];
        let mut octets: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        octets.extend_from_slice(&self.body);
        octets
    }

    /// Takes the first whole PDU out of what was read.
    pub(crate) fn take(input: &mut Vec<u8>) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(*input.get(at..)?.first_chunk::<4>()?));
        let length = usize::try_from(number(0)?).unwrap();
        assert!((HEADER..100_000).contains(&length), "a PDU of {length} octets");
        if input.len() < length {
            return None;
        }
        let (command, status, sequence) = (number(4)?, number(8)?, number(12)?);
        let body = input[HEADER..length].to_vec();
        input.drain(..length);
        Some(Self { command, status, sequence, body })
    }

    /// The first C string of the body.
    pub(crate) fn text(&self) -> String {
        let end = self.body.iter().position(|octet| *octet == 0).unwrap_or(self.body.len());
        String::from_utf8_lossy(&self.body[..end]).into_owned()
    }
}

/// A bind as a transceiver.
pub(crate) fn bind(system_id: &str, password: &str) -> Vec<u8> {
    let mut body = [c_string(system_id), c_string(password), c_string("")].concat();
    body.extend([0x34, 0, 0, 0]);
    body
}

/// The body of `submit_sm` and `deliver_sm`, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sm {
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) esm_class: u8,
    pub(crate) registered: u8,
    pub(crate) validity: String,
    pub(crate) data_coding: u8,
    pub(crate) text: Vec<u8>,
    pub(crate) tlvs: Vec<(u16, Vec<u8>)>,
}

impl Sm {
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut body = vec![0];
        for address in [&self.source, &self.destination] {
            // Short numbers are national things, long ones international.
            let ton = u8::from(address.len() > 6);
            body.extend([ton, 1]);
            body.extend(c_string(address.trim_start_matches('+')));
        }
        body.extend([self.esm_class, 0, 0]);
        body.extend(c_string(""));
        body.extend(c_string(&self.validity));
        body.extend([self.registered, 0, self.data_coding, 0]);
        body.push(u8::try_from(self.text.len()).unwrap());
        body.extend(&self.text);
        for (tag, value) in &self.tlvs {
            body.extend(tag.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(value);
        }
        body
    }

    /// Reads a body; [`None`] if it is none.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut rest: VecDeque<u8> = body.iter().copied().collect();
        fn octet(rest: &mut VecDeque<u8>) -> Option<u8> {
            rest.pop_front()
        }
        fn string(rest: &mut VecDeque<u8>) -> Option<String> {
            let mut octets = Vec::new();
            loop {
                match rest.pop_front()? {
                    0 => return String::from_utf8(octets).ok(),
                    octet => octets.push(octet),
                }
            }
        }
        let mut sm = Self::default();
        string(&mut rest)?;
        for place in 0..2 {
            let ton = octet(&mut rest)?;
            octet(&mut rest)?;
            let digits = string(&mut rest)?;
            let address = if ton == 1 { format!("+{digits}") } else { digits };
            if place == 0 { sm.source = address } else { sm.destination = address }
        }
        sm.esm_class = octet(&mut rest)?;
        octet(&mut rest)?;
        octet(&mut rest)?;
        string(&mut rest)?;
        sm.validity = string(&mut rest)?;
        sm.registered = octet(&mut rest)?;
        octet(&mut rest)?;
        sm.data_coding = octet(&mut rest)?;
        octet(&mut rest)?;
        let length = usize::from(octet(&mut rest)?);
        if rest.len() < length {
            return None;
        }
        sm.text = rest.drain(..length).collect();
        while rest.len() >= 4 {
            let head: Vec<u8> = rest.drain(..4).collect();
            let tag = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            if rest.len() < length {
                return None;
            }
            sm.tlvs.push((tag, rest.drain(..length).collect()));
        }
        rest.is_empty().then_some(sm)
    }

    /// Which part of how many, by an 8-bit concatenation element (3GPP 23.040 §9.2.3.24.1).
    pub(crate) fn part(&self) -> (u8, u8) {
        match &self.text[..] {
            [5, 0, 3, _, total, part, ..] if self.esm_class & 0x40 != 0 => (*part, *total),
            _ => (1, 1),
        }
    }

    /// Whether it is a receipt, and what it says: id, and how the message ended.
    pub(crate) fn receipt(&self) -> Option<(String, Word)> {
        if self.esm_class & 0x3C != 0x04 {
            return None;
        }
        let text = String::from_utf8_lossy(&self.text).into_owned();
        let id = text.split_once("id:")?.1.split(' ').next()?.to_owned();
        let word = match text.split_once("stat:")?.1.get(..7)? {
            "DELIVRD" => Word::Delivered,
            "UNKNOWN" => Word::Unknown,
            _ => Word::Failed,
        };
        Some((id, word))
    }
}

/// A receipt of an SMSC (SMPP v3.4 Appendix B).
pub(crate) fn receipt(id: &str, delivered: bool) -> Vec<u8> {
    let (word, error) = if delivered { ("DELIVRD", "000") } else { ("UNDELIV", "027") };
    format!(
        "id:{id} sub:001 dlvrd:001 submit date:2611261200 done date:2611261201 stat:{word} err:{error} text:"
    )
    .into_bytes()
}

fn c_string(text: &str) -> Vec<u8> {
    let mut octets = text.as_bytes().to_vec();
    octets.push(0);
    octets
}
