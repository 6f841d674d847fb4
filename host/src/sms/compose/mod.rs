//! From a delivery to the PDUs of its parts.
//!
//! What no plugin touched goes out as it came in. A text gets its alphabet and its parts here, at
//! the first attempt; the delivery then keeps how it was cut, so that only missing parts are sent
//! again.

use bytes::{Bytes, BytesMut};
use message::text::{
    Alphabet, Carrier, Coding, Segment, SegmentError, SegmentOptions, Shift, Udh, choose_for,
    meaning, segment,
};
use message::{Address, Content, Protocol, Short, ShortBody, Timestamp};
use smpp::pdu::SHORT_MESSAGE_OCTETS_MAX;
use smpp::time::{Span, Time};
use smpp::tlv::TlvTooLong;
use smpp::{EsmClass, Octets, RegisteredDelivery, Sm, npi, tag, ton};

use crate::config::{Account, Concat, Numbering, Receipts, SmppConnector};
use crate::delivery::{Part, Parts, Queued};

/// TLVs that only a receipt has.
pub const RECEIPT_TLVS: [u16; 2] = [tag::RECEIPTED_MESSAGE_ID, tag::MESSAGE_STATE];

/// How a peer wants its messages.
#[derive(Clone, Debug)]
pub struct Composing {
    /// Towards an SMSC (`submit_sm`) or towards an ESME (`deliver_sm`).
    pub to_smsc: bool,
    /// What its `data_coding` 0 stands for.
    pub zero: Alphabet,
    /// How parts say that they belong together.
    pub concat: Concat,
    /// Type of number and numbering plan of senders that have none.
    pub source: Numbering,
    /// The same for recipients.
    pub dest: Numbering,
    /// `service_type`, at most 5 octets.
    pub service_type: Octets,
}

impl Composing {
    /// As a connector's SMSC wants them.
    #[must_use]
    pub fn for_connector(settings: &SmppConnector) -> Self {
        Self {
            to_smsc: true,
            zero: settings.data_coding_0_out,
            concat: settings.concat,
            source: settings.source,
            dest: settings.dest,
            service_type: Octets::from_text(&settings.service_type).unwrap_or_default(),
        }
    }

    /// As an account's ESME wants them.
    #[must_use]
    pub fn for_account(account: &Account) -> Self {
        Self {
            to_smsc: false,
            zero: account.data_coding_0,
            concat: Concat::Udh8,
            source: Numbering::default(),
            dest: Numbering::default(),
            service_type: Octets::new(),
        }
    }
}

/// A delivery that no PDU can carry.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The content is a mail and nobody made a text of it.
    #[error("a mail without a text cannot go out as a short message")]
    NoText,
    /// The recipient is a mailbox.
    #[error("the recipient is no phone number")]
    NoNumber,
    /// The text cannot be cut.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A TLV is too long.
    #[error(transparent)]
    Tlv(#[from] TlvTooLong),
}

/// All parts in their order, those that were sent before too. Fixes alphabet and parts in the
/// delivery if there are several. `reference` makes the number that they share.
///
/// Only what we made is a receipt, and only for an ESME: whatever a sender or a plugin wrote, nobody
/// else's message looks like one.
///
/// # Errors
/// [`ComposeError`]: no attempt will ever succeed.
pub fn compose(
    queued: &mut Queued,
    composing: &Composing,
    reference: impl FnOnce() -> u16,
    now: Timestamp,
) -> Result<Vec<Sm>, ComposeError> {
    let mut sms = parts(queued, composing, reference, now)?;
    let is_ours = queued.message.origin.protocol == Protocol::Internal;
    if composing.to_smsc || !is_ours {
        sms.iter_mut().for_each(make_ordinary);
    }
    Ok(sms)
}

/// Takes away what makes a receipt of a message (v3.4 §5.2.12, §5.3.2.12, §5.3.2.35). Acknowledgements
/// of a device or a user are the sender's to make.
fn make_ordinary(sm: &mut Sm) {
    sm.esm_class = EsmClass(sm.esm_class.0 & !(EsmClass::RECEIPT | EsmClass::INTERMEDIATE));
    if RECEIPT_TLVS.iter().any(|tag| sm.tlvs.first(*tag).is_some()) {
        sm.tlvs = sm.tlvs.without(|tag| RECEIPT_TLVS.contains(&tag));
    }
}

fn parts(
    queued: &mut Queued,
    composing: &Composing,
    reference: impl FnOnce() -> u16,
    now: Timestamp,
) -> Result<Vec<Sm>, ComposeError> {
    if queued.delivery.recipient.address.is_mailbox() {
        return Err(ComposeError::NoNumber);
    }
    let envelope = envelope(queued, composing, now);
    let (text, short) = match (&queued.delivery.sms, &queued.message.content) {
        (Some(sms), Content::Mail(_)) => (&*sms.text, None),
        (Some(sms), Content::Short(short)) => (&*sms.text, Some(short)),
        (None, Content::Mail(_)) => return Err(ComposeError::NoText),
        (None, Content::Short(short)) => match &short.body {
            ShortBody::Text(text) => (&**text, Some(short)),
            ShortBody::Coded(octets) => {
                return coded(envelope, octets, short, composing).map(|sm| vec![sm]);
            }
        },
    };
    let cut = Cut::of(text, queued.delivery.parts.as_ref(), composing, reference)?;
    let parts = cut.sms(&envelope, short, composing)?;
    if cut.segments.len() > 1 && !cut.is_as_before(queued.delivery.parts.as_ref()) {
        queued.delivery.parts = Some(Parts {
            reference: cut.reference,
            total: u8::try_from(cut.segments.len()).unwrap_or(u8::MAX),
            data_coding: cut.data_coding,
            wide: cut.carrier == Carrier::Udh16,
            sent: vec![Part::Missing; cut.segments.len()],
        });
    }
    Ok(parts)
}

/// How a text is cut.
struct Cut {
    segments: Vec<Segment>,
    carrier: Carrier,
    reference: u16,
    data_coding: u8,
}

impl Cut {
    fn of(
        text: &str,
        before: Option<&Parts>,
        composing: &Composing,
        reference: impl FnOnce() -> u16,
    ) -> Result<Self, SegmentError> {
        let zero = composing.zero;
        let alphabet = choose_for(text, zero);
        let carrier = match (composing.concat, before) {
            (Concat::Udh8 | Concat::Udh16, Some(parts)) if parts.wide => Carrier::Udh16,
            (Concat::Udh8 | Concat::Udh16, Some(_)) | (Concat::Udh8, None) => Carrier::Udh8,
            (Concat::Udh16, None) => Carrier::Udh16,
            (Concat::Payload, _) => Carrier::Payload,
            (Concat::Sar, _) => Carrier::Sar,
        };
        let reference = before.map_or_else(reference, |parts| parts.reference);
        let options = SegmentOptions {
            carrier,
            reference,
            recoded: matches!(alphabet, Alphabet::Latin1 | Alphabet::Ascii | Alphabet::Utf8),
            ..SegmentOptions::default()
        };
        Ok(Self {
            segments: segment(text, alphabet, &options)?,
            carrier,
            reference,
            data_coding: Coding::Text(alphabet).data_coding(zero, None).unwrap_or(0),
        })
    }

    /// The parts that were sent before are parts of this.
    fn is_as_before(&self, before: Option<&Parts>) -> bool {
        before.is_some_and(|parts| {
            usize::from(parts.total) == self.segments.len()
                && parts.sent.len() == self.segments.len()
                && parts.data_coding == self.data_coding
                && parts.reference == self.reference
        })
    }

    fn sms(
        &self,
        envelope: &Sm,
        short: Option<&Short>,
        composing: &Composing,
    ) -> Result<Vec<Sm>, TlvTooLong> {
        let total = self.segments.len();
        let parts = self.segments.iter().enumerate().map(|(index, segment)| {
            let mut sm = envelope.clone();
            sm.data_coding = self.data_coding;
            if let Some(short) = short {
                sm.protocol_id = short.protocol_id;
                sm.esm_class = esm_class(short.esm_class, composing);
                push_tlvs(&mut sm, short)?;
            }
            sm.esm_class = sm.esm_class.with_udh(!segment.udh.is_empty());
            if self.carrier == Carrier::Sar && total > 1 {
                let number = |number: usize| [u8::try_from(number).unwrap_or(u8::MAX)];
                sm.tlvs.push(tag::SAR_MSG_REF_NUM, &self.reference.to_be_bytes())?;
                sm.tlvs.push(tag::SAR_TOTAL_SEGMENTS, &number(total))?;
                sm.tlvs.push(tag::SAR_SEGMENT_SEQNUM, &number(index + 1))?;
            }
            let text = if segment.udh.is_empty() {
                segment.payload.clone()
            } else {
                let mut text = BytesMut::from(&segment.udh[..]);
                text.extend_from_slice(&segment.payload);
                text.freeze()
            };
            put_text(&mut sm, text, false)?;
            Ok(sm)
        });
        parts.collect()
    }
}

/// A message in its own octets, with its own header and TLVs.
fn coded(
    mut sm: Sm,
    octets: &Bytes,
    short: &Short,
    composing: &Composing,
) -> Result<Sm, ComposeError> {
    let (data_coding, octets) = from_model(short, octets, composing.zero);
    sm.data_coding = data_coding;
    sm.protocol_id = short.protocol_id;
    sm.esm_class = esm_class(short.esm_class, composing);
    push_tlvs(&mut sm, short)?;
    put_text(&mut sm, octets, short.in_payload)?;
    Ok(sm)
}

/// Everything but the content.
fn envelope(queued: &Queued, composing: &Composing, now: Timestamp) -> Sm {
    let Queued { delivery, message } = queued;
    let sender = delivery.sms.as_ref().map_or(&message.sender, |sms| &sms.sender);
    let mut sm = Sm {
        service_type: composing.service_type.clone(),
        source: address(sender, composing.source),
        destination: address(&delivery.recipient.address, composing.dest),
        ..Sm::default()
    };
    if composing.to_smsc {
        sm.priority_flag = delivery.priority.min(3);
        let wish = delivery.recipient.wish;
        // A wish for one outcome is served by asking for both: the other one closes the book.
        let last = match delivery.terms.ask {
            Receipts::AsWished => u8::from(wish.success || wish.failure),
            Receipts::Always => 1,
            Receipts::Never => 0,
        };
        let is_curious = wish.delay && delivery.terms.ask != Receipts::Never;
        let between = if is_curious { RegisteredDelivery::INTERMEDIATE } else { 0 };
        sm.registered_delivery = RegisteredDelivery(last | between);
        if message.expires != Timestamp::NEVER {
            // What is left of the validity: the time that it spent here is over.
            let left = message.expires.since(now).as_secs().max(1);
            sm.validity_period = Time::Relative(Span::from_seconds(left)).format();
        }
    }
    sm
}

/// An address for the wire. One that came from SMPP keeps its kind; one without gets the
/// operator's, or that of its look. A mailbox is no sender: the SMSC puts its own.
fn address(address: &Address, numbering: Numbering) -> smpp::Address {
    if address.is_mailbox() {
        return smpp::Address::default();
    }
    let (mut given_ton, mut given_npi, mut octets) = address.to_smpp();
    if given_ton == ton::UNKNOWN {
        given_ton = numbering.ton.unwrap_or(given_ton);
        given_npi = numbering.npi.unwrap_or(given_npi);
        if given_ton == ton::INTERNATIONAL && octets.first() == Some(&b'+') {
            octets.remove(0);
        }
    }
    if given_ton == ton::INTERNATIONAL && given_npi == npi::UNKNOWN {
        given_npi = numbering.npi.unwrap_or(npi::ISDN);
    }
    smpp::Address::new(given_ton, given_npi, Octets::from(octets))
}

/// The bits of the mode mean nothing to an ESME.
const fn esm_class(esm_class: u8, composing: &Composing) -> EsmClass {
    if composing.to_smsc { EsmClass(esm_class) } else { EsmClass(esm_class & !EsmClass::MODE_MASK) }
}

fn push_tlvs(sm: &mut Sm, short: &Short) -> Result<(), TlvTooLong> {
    for tlv in &short.tlvs {
        sm.tlvs.push(tlv.tag, &tlv.value)?;
    }
    Ok(())
}

fn put_text(sm: &mut Sm, text: Bytes, in_payload: bool) -> Result<(), TlvTooLong> {
    if in_payload || text.len() > SHORT_MESSAGE_OCTETS_MAX {
        sm.tlvs.push(tag::MESSAGE_PAYLOAD, &text)
    } else {
        sm.short_message = text;
        Ok(())
    }
}

/// What the model's `data_coding` and octets are at a peer with another default alphabet.
fn from_model(short: &Short, octets: &Bytes, zero: Alphabet) -> (u8, Bytes) {
    let said = meaning(short.data_coding, Alphabet::Gsm);
    if zero == Alphabet::Gsm || said.coding != Coding::Text(Alphabet::Gsm) {
        return (short.data_coding, octets.clone());
    }
    let (header, text) = short.split_udh();
    let udh = Udh::parse(&header).unwrap_or_default();
    let text = Alphabet::Gsm.decode(&text, Shift::of(&udh));
    let alphabet = choose_for(&text, zero);
    let Some(data_coding) = Coding::Text(alphabet).data_coding(zero, said.class) else {
        return (short.data_coding, octets.clone());
    };
    let mut out = BytesMut::from(&header[..]);
    out.extend_from_slice(&alphabet.encode_lossy(&text, Shift::DEFAULT));
    (data_coding, out.freeze())
}

#[cfg(test)]
pub(crate) mod tests;
