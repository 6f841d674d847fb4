//! Parts of a concatenated short message, and the message that they make (3GPP 23.040 §9.2.3.24.1;
//! sar_msg_ref_num, sar_total_segments and sar_segment_seqnum of SMPP v3.4 §5.3.2.22 to 24).

pub mod sets;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use message::content::ESM_UDHI;
use message::text::{Alphabet, Coding, Shift, Udh, ie, meaning};
use message::{Content, Message, MessageId, Short, ShortBody, Wish};

const SAR_MSG_REF_NUM: u16 = 0x020C;
const SAR_TOTAL_SEGMENTS: u16 = 0x020E;
const SAR_SEGMENT_SEQNUM: u16 = 0x020F;
const SAR: [u16; 3] = [SAR_MSG_REF_NUM, SAR_TOTAL_SEGMENTS, SAR_SEGMENT_SEQNUM];

/// What the parts of one message have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The account or, for what an SMSC sent us, the connector: parts may come over any of its binds.
    whose: Arc<str>,
    sender: Arc<str>,
    recipient: Arc<str>,
    reference: u16,
    kind: Kind,
    total: u8,
}

/// Where it says so: the same reference elsewhere is another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Udh8,
    Udh16,
    Sar,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of which message.
    pub key: Key,
    /// Which one, from 1 to [`Part::total`].
    pub sequence: u8,
    /// What it says, in short: a part that comes twice is the same.
    pub says: u64,
}

impl Part {
    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u8 {
        self.key.total
    }
}

/// Which part a message is. None if it is no part, or one that means more than its text: with ports,
/// pictures or anything else in its header it stays as it is.
#[must_use]
pub fn part(message: &Message) -> Option<Part> {
    let (Content::Short(short), [recipient]) = (&message.content, &*message.recipients) else {
        return None;
    };
    let (kind, reference, total, sequence) =
        if short.has_udh() { by_header(short) } else { by_tlvs(short) }?;
    if total < 2 || !(1..=total).contains(&sequence) {
        return None;
    }
    let origin = &message.origin;
    let whose = if origin.account.is_empty() { &origin.door } else { &origin.account };
    let key = Key {
        whose: Arc::clone(whose),
        sender: Arc::clone(&message.sender.value),
        recipient: Arc::clone(&recipient.address.value),
        reference,
        kind,
        total,
    };
    let mut hasher = DefaultHasher::new();
    (short.data_coding, octets(short)).hash(&mut hasher);
    Some(Part { key, sequence, says: hasher.finish() })
}

fn by_header(short: &Short) -> Option<(Kind, u16, u8, u8)> {
    let (udh, _) = Udh::split(octets(short)).ok()?;
    let is_plain = udh.elements().all(|element| {
        let of_text = [ie::CONCAT_8, ie::CONCAT_16, ie::SINGLE_SHIFT, ie::LOCKING_SHIFT];
        of_text.contains(&element.id)
    });
    let concat = udh.concat().filter(|_| is_plain)?;
    let kind = if concat.wide { Kind::Udh16 } else { Kind::Udh8 };
    Some((kind, concat.reference, concat.total, concat.sequence))
}

fn by_tlvs(short: &Short) -> Option<(Kind, u16, u8, u8)> {
    let &[high, low] = &**short.tlv(SAR_MSG_REF_NUM)? else { return None };
    let &[total] = &**short.tlv(SAR_TOTAL_SEGMENTS)? else { return None };
    let &[sequence] = &**short.tlv(SAR_SEGMENT_SEQNUM)? else { return None };
    Some((Kind::Sar, u16::from_be_bytes([high, low]), total, sequence))
}

/// The message that these parts make, which are in their order and come from a door where data_coding
/// 0 means `zero`. Nothing of none.
#[must_use]
pub fn join(parts: &[&Message], zero: Alphabet, id: MessageId) -> Option<Message> {
    let first = *parts.first()?;
    let shorts: Vec<&Short> = parts
        .iter()
        .filter_map(|part| match &part.content {
            Content::Short(short) => Some(short),
            Content::Mail(_) => None,
        })
        .collect();
    let template = *shorts.first()?;
    let wish = parts.iter().flat_map(|part| &part.recipients).fold(Wish::NOTHING, |all, to| Wish {
        success: all.success || to.wish.success,
        failure: all.failure || to.wish.failure,
        delay: all.delay || to.wish.delay,
        unsaid: all.unsaid || to.wish.unsaid,
    });
    let body = match text(&shorts, zero) {
        Some(text) => ShortBody::Text(text.into()),
        None => ShortBody::Coded(binary(&shorts)),
    };
    let content = Short {
        // What is longer than a short message goes out there again.
        in_payload: matches!(body, ShortBody::Coded(_)),
        body,
        esm_class: template.esm_class & !ESM_UDHI,
        tlvs: template.tlvs.iter().filter(|tlv| !SAR.contains(&tlv.tag)).cloned().collect(),
        ..template.clone()
    };
    let mut message = Message {
        id,
        parent: Some(first.id),
        content: Content::Short(content),
        received: parts.iter().map(|part| part.received).min()?,
        not_before: parts.iter().filter_map(|part| part.not_before).max(),
        expires: parts.iter().map(|part| part.expires).min()?,
        priority: parts.iter().map(|part| part.priority).max()?,
        ..first.clone()
    };
    for recipient in &mut message.recipients {
        recipient.wish = wish;
    }
    Some(message)
}

/// The text of all parts, if all are text. Neighbours in the same alphabet are decoded as one, since
/// some phones cut characters in two.
fn text(shorts: &[&Short], zero: Alphabet) -> Option<String> {
    let mut text = String::new();
    let mut run: Option<(Alphabet, Shift, BytesMut)> = None;
    for short in shorts {
        let Coding::Text(alphabet) = meaning(short.data_coding, zero).coding else { return None };
        let (header, octets) = short.split_udh();
        let udh = Udh::parse(&header).unwrap_or_default();
        let shift = Shift::of(&udh);
        match &mut run {
            Some((same, tables, before)) if (*same, *tables) == (alphabet, shift) => {
                before.extend_from_slice(&octets);
            }
            _ => {
                flush(&mut text, run.take());
                run = Some((alphabet, shift, BytesMut::from(&octets[..])));
            }
        }
        if alphabet == Alphabet::GsmPacked {
            // Septets begin anew in each part, at a boundary of seven bits behind its header.
            run = None;
            text.push_str(&alphabet.decode_behind(&octets, udh.fill_bits(), shift));
        }
    }
    flush(&mut text, run);
    Some(text)
}

fn flush(text: &mut String, run: Option<(Alphabet, Shift, BytesMut)>) {
    if let Some((alphabet, shift, octets)) = run {
        text.push_str(&alphabet.decode(&octets.freeze(), shift));
    }
}

fn binary(shorts: &[&Short]) -> Bytes {
    let mut all = BytesMut::new();
    for short in shorts {
        all.extend_from_slice(&short.split_udh().1);
    }
    all.freeze()
}

fn octets(short: &Short) -> &Bytes {
    static NONE: Bytes = Bytes::new();
    match &short.body {
        ShortBody::Coded(octets) => octets,
        ShortBody::Text(_) => &NONE,
    }
}

#[cfg(test)]
mod tests;
