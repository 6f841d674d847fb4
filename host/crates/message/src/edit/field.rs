//! Protocol fields by key: what the envelope has no word of its own for.

use std::time::Duration;

use bytes::Bytes;

use super::{CONVERT_TEXT, EditError, Edited};
use crate::content::{Content, Short, ShortBody, Tlv};
use crate::message::Ret;
use crate::text::{Concat, Udh};
use crate::time::Timestamp;

/// Octets of a TLV that an edit sets (message_payload is the text and not set here).
const TLV_BYTES_MAX: usize = 4096;
/// TLVs of a message.
const TLVS_MAX: usize = 64;
/// What begins the key of a TLV; the tag in four hexadecimal digits follows.
const TLV_PREFIX: &str = "smpp.tlv.0x";
/// SMPP sar_msg_ref_num, sar_total_segments and sar_segment_seqnum (SMPP v3.4 §5.3.2.22–24).
const SAR: [u16; 3] = [0x020C, 0x020E, 0x020F];
/// Every key but those of TLVs, in the order of [`Edited::fields`].
const KEYS: [&str; 16] = [
    "smpp.data_coding",
    "smpp.esm_class",
    "smpp.protocol_id",
    "smpp.service_type",
    "smtp.helo",
    "smtp.tls",
    "smtp.auth",
    "smtp.envid",
    "smtp.ret",
    "sms.ref",
    "sms.parts",
    "sms.part",
    "delivery.not-before-ms",
    "delivery.expires-ms",
    "delivery.priority",
    CONVERT_TEXT,
];

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// It is not there; as a new value: remove it.
    None,
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Octets.
    Bytes(Bytes),
}

impl Edited {
    /// A field by its key; [`Value::None`] if the message has no such field.
    #[must_use]
    pub fn field(&self, key: &str) -> Value {
        let message = self.message();
        let text = |text: &str| Value::Text(text.to_owned());
        let time = |at: Timestamp| Value::Int(i64::try_from(at.as_ms()).unwrap_or(i64::MAX));
        match key {
            "smtp.helo" if !message.origin.helo.is_empty() => text(&message.origin.helo),
            "smtp.tls" => Value::Int(i64::from(message.origin.tls)),
            "smtp.auth" if !message.origin.account.is_empty() => text(&message.origin.account),
            "smtp.envid" => message.envid.as_deref().map_or(Value::None, text),
            "smtp.ret" => match message.ret {
                Some(Ret::Full) => text("FULL"),
                Some(Ret::Headers) => text("HDRS"),
                None => Value::None,
            },
            "delivery.not-before-ms" => message.not_before.map_or(Value::None, time),
            "delivery.expires-ms" if message.expires != Timestamp::NEVER => time(message.expires),
            "delivery.validity-ms" if message.expires != Timestamp::NEVER => {
                let validity = message.expires.since(message.received).as_millis();
                Value::Int(i64::try_from(validity).unwrap_or(i64::MAX))
            }
            "delivery.priority" => Value::Int(i64::from(message.priority)),
            CONVERT_TEXT => self.note(CONVERT_TEXT).map_or(Value::None, text),
            _ => match &message.content {
                Content::Short(short) => short_field(short, key),
                Content::Mail(_) => Value::None,
            },
        }
    }

    /// All fields that are there and whose key begins so; repeated TLVs in wire order.
    #[must_use]
    pub fn fields(&self, prefix: &str) -> Vec<(String, Value)> {
        let mut fields: Vec<(String, Value)> = KEYS
            .iter()
            .filter(|key| key.starts_with(prefix))
            .map(|key| ((*key).to_owned(), self.field(key)))
            .filter(|(_, value)| *value != Value::None)
            .collect();
        if let Content::Short(short) = &self.message().content {
            let tlvs = short.tlvs.iter().map(|tlv| {
                (format!("{TLV_PREFIX}{:04X}", tlv.tag), Value::Bytes(tlv.value.clone()))
            });
            fields.extend(tlvs.filter(|(key, _)| key.starts_with(prefix)));
        }
        fields
    }

    /// A new value for a field; [`Value::None`] removes it.
    ///
    /// # Errors
    /// [`EditError::NotFound`] for an unknown key, [`EditError::Denied`] for one that may only be
    /// read, [`EditError::Invalid`] for a value it cannot have, [`EditError::TooLarge`] and
    /// [`EditError::Exhausted`] over the limits of TLVs.
    pub fn set_field(&mut self, key: &str, value: &Value) -> Result<(), EditError> {
        if self.field(key) == *value {
            return Ok(());
        }
        match key {
            "delivery.not-before-ms" => {
                let at = optional_time(value)?;
                self.change().not_before = at;
            }
            "delivery.expires-ms" => {
                let at = optional_time(value)?;
                self.change().expires = at.unwrap_or(Timestamp::NEVER);
            }
            "delivery.validity-ms" => {
                let validity = optional_time(value)?.map(|at| Duration::from_millis(at.as_ms()));
                let received = self.message().received;
                self.change().expires =
                    validity.map_or(Timestamp::NEVER, |validity| received.after(validity));
            }
            "delivery.priority" => {
                let Value::Int(priority @ 0..=3) = value else { return Err(EditError::Invalid) };
                self.change().priority = u8::try_from(*priority).unwrap_or(0);
            }
            CONVERT_TEXT => match value {
                Value::None => self.set_note(CONVERT_TEXT, None)?,
                Value::Text(text) => self.set_note(CONVERT_TEXT, Some(text))?,
                Value::Int(_) | Value::Bytes(_) => return Err(EditError::Invalid),
            },
            _ if key.starts_with("smtp.") || key.starts_with("sms.") => {
                return Err(if KEYS.contains(&key) {
                    EditError::Denied
                } else {
                    EditError::NotFound
                });
            }
            _ if key.starts_with("smpp.") => {
                if !matches!(self.message().content, Content::Short(_)) {
                    return Err(EditError::Invalid);
                }
                let mut edited = self.message().content.clone();
                if let Content::Short(short) = &mut edited {
                    set_short_field(short, key, value)?;
                }
                *self.change_content() = edited;
            }
            _ => return Err(EditError::NotFound),
        }
        Ok(())
    }
}

/// Which part of a concatenated message this is, by its user data header or its SAR parameters.
pub(super) fn concat(short: &Short) -> Option<Concat> {
    if short.has_udh()
        && let ShortBody::Coded(octets) = &short.body
        && let Ok((udh, _)) = Udh::split(octets)
        && let Some(concat) = udh.concat()
    {
        return (concat.total > 1).then_some(concat);
    }
    let [reference, total, sequence] = SAR.map(|tag| {
        let value = short.tlv(tag)?;
        value.iter().try_fold(0_u16, |n, &octet| n.checked_mul(256)?.checked_add(octet.into()))
    });
    let (total, sequence) = (u8::try_from(total?).ok()?, u8::try_from(sequence?).ok()?);
    let plausible = total > 1 && (1..=total).contains(&sequence);
    plausible.then_some(Concat { reference: reference?, wide: true, total, sequence })
}

fn short_field(short: &Short, key: &str) -> Value {
    let int = |octet: u8| Value::Int(i64::from(octet));
    let part = |pick: fn(&Concat) -> i64| {
        concat(short).as_ref().map_or(Value::None, |c| Value::Int(pick(c)))
    };
    match key {
        "smpp.data_coding" if matches!(short.body, ShortBody::Coded(_)) => int(short.data_coding),
        "smpp.esm_class" => int(short.esm_class),
        "smpp.protocol_id" => int(short.protocol_id),
        "smpp.service_type" if !short.service_type.is_empty() => {
            Value::Text(short.service_type.to_string())
        }
        "sms.ref" => part(|concat| concat.reference.into()),
        "sms.parts" => part(|concat| concat.total.into()),
        "sms.part" => part(|concat| concat.sequence.into()),
        _ => tlv_tag(key)
            .and_then(|tag| short.tlv(tag))
            .map_or(Value::None, |value| Value::Bytes(value.clone())),
    }
}

fn set_short_field(short: &mut Short, key: &str, value: &Value) -> Result<(), EditError> {
    let octet = || match value {
        Value::Int(number) => u8::try_from(*number).map_err(|_wide| EditError::Invalid),
        Value::None | Value::Text(_) | Value::Bytes(_) => Err(EditError::Invalid),
    };
    match key {
        "smpp.data_coding" if matches!(short.body, ShortBody::Coded(_)) => {
            short.data_coding = octet()?;
        }
        "smpp.data_coding" => return Err(EditError::Invalid),
        "smpp.esm_class" => short.esm_class = octet()?,
        "smpp.protocol_id" => short.protocol_id = octet()?,
        "smpp.service_type" => {
            let Value::Text(text) = value else { return Err(EditError::Invalid) };
            if text.len() > 5 || !text.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(EditError::Invalid);
            }
            short.service_type = text.as_str().into();
        }
        _ => set_tlv(short, tlv_tag(key).ok_or(EditError::NotFound)?, value)?,
    }
    Ok(())
}

/// The first parameter with this tag gets the value, later ones with it go.
fn set_tlv(short: &mut Short, tag: u16, value: &Value) -> Result<(), EditError> {
    let at = short.tlvs.iter().position(|tlv| tlv.tag == tag);
    let octets = match value {
        Value::None => None,
        Value::Bytes(octets) => Some(octets.clone()),
        Value::Text(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Value::Int(_) => return Err(EditError::Invalid),
    };
    if octets.as_ref().is_some_and(|octets| octets.len() > TLV_BYTES_MAX) {
        return Err(EditError::TooLarge);
    }
    if octets.is_some() && at.is_none() && short.tlvs.len() >= TLVS_MAX {
        return Err(EditError::Exhausted);
    }
    short.tlvs.retain(|tlv| tlv.tag != tag);
    if let Some(value) = octets {
        let at = at.unwrap_or(short.tlvs.len()).min(short.tlvs.len());
        short.tlvs.insert(at, Tlv { tag, value });
    }
    Ok(())
}

fn tlv_tag(key: &str) -> Option<u16> {
    let digits = key.strip_prefix(TLV_PREFIX)?;
    if digits.len() == 4 { u16::from_str_radix(digits, 16).ok() } else { None }
}

fn optional_time(value: &Value) -> Result<Option<Timestamp>, EditError> {
    match value {
        Value::None => Ok(None),
        Value::Int(ms) => {
            let ms = u64::try_from(*ms).map_err(|_negative| EditError::Invalid)?;
            Ok(Some(Timestamp::from_ms(ms)))
        }
        Value::Text(_) | Value::Bytes(_) => Err(EditError::Invalid),
    }
}
