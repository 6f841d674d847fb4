//! Optional parameters (TLVs, SMPP v3.4 §5.3): an ordered list, kept octet by octet.
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::octets::{Octets, latin1};

/// Octets of a TLV's tag and length.
const HEAD_OCTETS: usize = 4;
/// The longest value a TLV can have.
pub const VALUE_OCTETS_MAX: usize = 0xFFFF;

/// The TLVs of one PDU in their order, unknown and repeated ones included.
///
/// They are kept as they stand on the wire, so that decoding allocates nothing and passing them
/// on is one copy. Decoded ones share the buffer of their PDU.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Tlvs(Bytes);

/// One optional parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// What it is: one of [`tag`] or any other.
    pub tag: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl Tlvs {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Splits off the whole TLVs at the start of `octets`; returns how many octets are left over
    /// and the tag of a TLV that ends behind the PDU.
    pub(crate) fn parse(octets: &Bytes) -> (Self, usize, Option<u16>) {
        let mut whole = 0;
        let mut cut_tag = None;
        while let Some((tag, len)) = head(octets.get(whole..).unwrap_or_default()) {
            let end = whole + HEAD_OCTETS + usize::from(len);
            if end > octets.len() {
                cut_tag = Some(tag);
                break;
            }
            whole = end;
        }
        let left = octets.len() - whole;
        let raw = if whole == 0 { Bytes::new() } else { octets.slice(..whole) };
        (Self(raw), left, cut_tag)
    }

    /// They as they stand on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each in its order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0 }
    }

    /// The value of the first with this tag.
    #[must_use]
    pub fn first(&self, tag: u16) -> Option<&[u8]> {
        self.iter().find(|tlv| tlv.tag == tag).map(|tlv| tlv.value)
    }

    /// The value of the first with this tag, sharing the buffer.
    #[must_use]
    pub fn first_bytes(&self, tag: u16) -> Option<Bytes> {
        self.first(tag).map(|value| self.0.slice_ref(value))
    }

    /// Adds one at the end. A value over [`VALUE_OCTETS_MAX`] cannot be written and is refused.
    ///
    /// # Errors
    /// [`TlvTooLong`]
    pub fn push(&mut self, tag: u16, value: &[u8]) -> Result<(), TlvTooLong> {
        let Ok(len) = u16::try_from(value.len()) else { return Err(TlvTooLong { tag }) };
        let mut raw = BytesMut::from(std::mem::take(&mut self.0));
        raw.reserve(HEAD_OCTETS + value.len());
        raw.put_u16(tag);
        raw.put_u16(len);
        raw.put_slice(value);
        self.0 = raw.freeze();
        Ok(())
    }

    /// The same without those that `drop` names.
    #[must_use]
    pub fn without(&self, drop: impl Fn(u16) -> bool) -> Self {
        if !self.iter().any(|tlv| drop(tlv.tag)) {
            return self.clone();
        }
        let mut kept = BytesMut::with_capacity(self.0.len());
        for tlv in self.iter().filter(|tlv| !drop(tlv.tag)) {
            kept.put_u16(tlv.tag);
            kept.put_u16(u16::try_from(tlv.value.len()).unwrap_or(u16::MAX));
            kept.put_slice(tlv.value);
        }
        Self(kept.freeze())
    }

    /// The number in the first with this tag. Fewer and more octets than the standard says are
    /// read too (`sar_msg_ref_num` of one octet exists); more than four mean nothing.
    #[must_use]
    pub fn number(&self, tag: u16) -> Option<u32> {
        let value = self.first(tag)?;
        if value.is_empty() || value.len() > 4 {
            return None;
        }
        Some(value.iter().fold(0, |number, &octet| (number << 8) | u32::from(octet)))
    }

    /// The C-octet string in the first with this tag, with or without its NUL.
    #[must_use]
    pub fn string(&self, tag: u16) -> Option<Octets> {
        let value = self.first(tag)?;
        let end = value.iter().position(|&octet| octet == 0).unwrap_or(value.len());
        Some(Octets::from(self.0.slice_ref(value.get(..end)?)))
    }
}

/// A value over [`VALUE_OCTETS_MAX`] octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of TLV 0x{tag:04x} is over 65535 octets")]
pub struct TlvTooLong {
    /// Whose value it is.
    pub tag: u16,
}

/// Iterator over TLVs.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let (tag, len) = head(self.rest)?;
        let (value, rest) = self.rest.get(HEAD_OCTETS..)?.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some(Tlv { tag, value })
    }
}

impl<'a> IntoIterator for &'a Tlvs {
    type Item = Tlv<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Tlvs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for tlv in self {
            let name =
                tag::name(tlv.tag).map_or_else(|| format!("0x{:04x}", tlv.tag), ToOwned::to_owned);
            map.entry(&format_args!("{name}"), &latin1(tlv.value));
        }
        map.finish()
    }
}

fn head(octets: &[u8]) -> Option<(u16, u16)> {
    let [t0, t1, l0, l1] = *octets.first_chunk::<HEAD_OCTETS>()?;
    Some((u16::from_be_bytes([t0, t1]), u16::from_be_bytes([l0, l1])))
}

/// Tags (v3.4 §5.3.2, v5.0 §4.8.1).
pub mod tag {
    /// Octet string: the text if it is not in `short_message`
    pub const MESSAGE_PAYLOAD: u16 = 0x0424;
    /// C-octet string: the id that a receipt is about
    pub const RECEIPTED_MESSAGE_ID: u16 = 0x001E;
    /// One octet: the state that a receipt tells
    pub const MESSAGE_STATE: u16 = 0x0427;
    /// Three octets: network and its error
    pub const NETWORK_ERROR_CODE: u16 = 0x0423;
    /// Two octets: the reference of a concatenated message
    pub const SAR_MSG_REF_NUM: u16 = 0x020C;
    /// One octet: how many parts
    pub const SAR_TOTAL_SEGMENTS: u16 = 0x020E;
    /// One octet: which part, from 1
    pub const SAR_SEGMENT_SEQNUM: u16 = 0x020F;
    /// One octet: what the SMSC speaks, in a bind response
    pub const SC_INTERFACE_VERSION: u16 = 0x0210;
    /// Two octets: the sender's port
    pub const SOURCE_PORT: u16 = 0x020A;
    /// Two octets: the recipient's port
    pub const DESTINATION_PORT: u16 = 0x020B;
    /// Two octets: the sender's own reference
    pub const USER_MESSAGE_REFERENCE: u16 = 0x0204;
    /// C-octet string: words about a refusal
    pub const ADDITIONAL_STATUS_INFO_TEXT: u16 = 0x001D;
    /// One octet: why it was not delivered
    pub const DELIVERY_FAILURE_REASON: u16 = 0x0425;
    /// One octet: more messages follow
    pub const MORE_MESSAGES_TO_SEND: u16 = 0x0426;
    /// One octet, 0 to 100: how loaded the SMSC is (v5.0)
    pub const CONGESTION_STATE: u16 = 0x0428;
    /// Four octets: seconds until expiry (for `data_sm`)
    pub const QOS_TIME_TO_LIVE: u16 = 0x0017;

    /// Every tag with a name of its own.
    const NAMES: &[(u16, &str)] = &[
        (0x0005, "dest_addr_subunit"),
        (0x0006, "dest_network_type"),
        (0x0007, "dest_bearer_type"),
        (0x0008, "dest_telematics_id"),
        (0x000D, "source_addr_subunit"),
        (0x000E, "source_network_type"),
        (0x000F, "source_bearer_type"),
        (0x0010, "source_telematics_id"),
        (QOS_TIME_TO_LIVE, "qos_time_to_live"),
        (0x0019, "payload_type"),
        (ADDITIONAL_STATUS_INFO_TEXT, "additional_status_info_text"),
        (RECEIPTED_MESSAGE_ID, "receipted_message_id"),
        (0x0030, "ms_msg_wait_facilities"),
        (0x0201, "privacy_indicator"),
        (0x0202, "source_subaddress"),
        (0x0203, "dest_subaddress"),
        (USER_MESSAGE_REFERENCE, "user_message_reference"),
        (0x0205, "user_response_code"),
        (SOURCE_PORT, "source_port"),
        (DESTINATION_PORT, "destination_port"),
        (SAR_MSG_REF_NUM, "sar_msg_ref_num"),
        (0x020D, "language_indicator"),
        (SAR_TOTAL_SEGMENTS, "sar_total_segments"),
        (SAR_SEGMENT_SEQNUM, "sar_segment_seqnum"),
        (SC_INTERFACE_VERSION, "sc_interface_version"),
        (0x0302, "callback_num_pres_ind"),
        (0x0303, "callback_num_atag"),
        (0x0304, "number_of_messages"),
        (0x0381, "callback_num"),
        (0x0420, "dpf_result"),
        (0x0421, "set_dpf"),
        (0x0422, "ms_availability_status"),
        (NETWORK_ERROR_CODE, "network_error_code"),
        (MESSAGE_PAYLOAD, "message_payload"),
        (DELIVERY_FAILURE_REASON, "delivery_failure_reason"),
        (MORE_MESSAGES_TO_SEND, "more_messages_to_send"),
        (MESSAGE_STATE, "message_state"),
        (CONGESTION_STATE, "congestion_state"),
        (0x0501, "ussd_service_op"),
        (0x0600, "broadcast_channel_indicator"),
        (0x0601, "broadcast_content_type"),
        (0x0602, "broadcast_content_type_info"),
        (0x0603, "broadcast_message_class"),
        (0x0604, "broadcast_rep_num"),
        (0x0605, "broadcast_frequency_interval"),
        (0x0606, "broadcast_area_identifier"),
        (0x0607, "broadcast_error_status"),
        (0x0608, "broadcast_area_success"),
        (0x0609, "broadcast_end_time"),
        (0x060A, "broadcast_service_group"),
        (0x060B, "billing_identification"),
        (0x060D, "source_network_id"),
        (0x060E, "dest_network_id"),
        (0x060F, "source_node_id"),
        (0x0610, "dest_node_id"),
        (0x0611, "dest_addr_np_resolution"),
        (0x0612, "dest_addr_np_information"),
        (0x0613, "dest_addr_np_country"),
        (0x1201, "display_time"),
        (0x1203, "sms_signal"),
        (0x1204, "ms_validity"),
        (0x130C, "alert_on_message_delivery"),
        (0x1380, "its_reply_type"),
        (0x1383, "its_session_info"),
    ];

    /// The standard's name of a tag.
    #[must_use]
    pub fn name(tag: u16) -> Option<&'static str> {
        NAMES.iter().find(|(known, _)| *known == tag).map(|(_, name)| *name)
    }

    /// The tag with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<u16> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(tag, _)| *tag)
    }

    /// Without these the receiver would see another message; the rest only describes it.
    #[must_use]
    pub const fn is_essential(tag: u16) -> bool {
        matches!(tag, MESSAGE_PAYLOAD | SAR_MSG_REF_NUM | SAR_TOTAL_SEGMENTS | SAR_SEGMENT_SEQNUM)
    }
}
