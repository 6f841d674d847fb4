//! Command ids (SMPP v3.4 §5.1.2.1, v5.0 §4.7.5).
use std::fmt;

/// What a PDU is. Any 32-bit value can arrive; the constants are the ones the standards name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u32);

/// The bit that makes a request's id its response's id.
const RESPONSE: u32 = 0x8000_0000;

/// Every command there is, with its name.
const COMMANDS: &[(CommandId, &str)] = &[
    (CommandId::GENERIC_NACK, "generic_nack"),
    (CommandId::BIND_RECEIVER, "bind_receiver"),
    (CommandId::BIND_RECEIVER.response(), "bind_receiver_resp"),
    (CommandId::BIND_TRANSMITTER, "bind_transmitter"),
    (CommandId::BIND_TRANSMITTER.response(), "bind_transmitter_resp"),
    (CommandId::QUERY_SM, "query_sm"),
    (CommandId::QUERY_SM.response(), "query_sm_resp"),
    (CommandId::SUBMIT_SM, "submit_sm"),
    (CommandId::SUBMIT_SM.response(), "submit_sm_resp"),
    (CommandId::DELIVER_SM, "deliver_sm"),
    (CommandId::DELIVER_SM.response(), "deliver_sm_resp"),
    (CommandId::UNBIND, "unbind"),
    (CommandId::UNBIND.response(), "unbind_resp"),
    (CommandId::REPLACE_SM, "replace_sm"),
    (CommandId::REPLACE_SM.response(), "replace_sm_resp"),
    (CommandId::CANCEL_SM, "cancel_sm"),
    (CommandId::CANCEL_SM.response(), "cancel_sm_resp"),
    (CommandId::BIND_TRANSCEIVER, "bind_transceiver"),
    (CommandId::BIND_TRANSCEIVER.response(), "bind_transceiver_resp"),
    (CommandId::OUTBIND, "outbind"),
    (CommandId::ENQUIRE_LINK, "enquire_link"),
    (CommandId::ENQUIRE_LINK.response(), "enquire_link_resp"),
    (CommandId::SUBMIT_MULTI, "submit_multi"),
    (CommandId::SUBMIT_MULTI.response(), "submit_multi_resp"),
    (CommandId::ALERT_NOTIFICATION, "alert_notification"),
    (CommandId::DATA_SM, "data_sm"),
    (CommandId::DATA_SM.response(), "data_sm_resp"),
    (CommandId::BROADCAST_SM, "broadcast_sm"),
    (CommandId::BROADCAST_SM.response(), "broadcast_sm_resp"),
    (CommandId::QUERY_BROADCAST_SM, "query_broadcast_sm"),
    (CommandId::QUERY_BROADCAST_SM.response(), "query_broadcast_sm_resp"),
    (CommandId::CANCEL_BROADCAST_SM, "cancel_broadcast_sm"),
    (CommandId::CANCEL_BROADCAST_SM.response(), "cancel_broadcast_sm_resp"),
];

impl CommandId {
    /// `bind_receiver`
    pub const BIND_RECEIVER: Self = Self(0x01);
    /// `bind_transmitter`
    pub const BIND_TRANSMITTER: Self = Self(0x02);
    /// `query_sm`
    pub const QUERY_SM: Self = Self(0x03);
    /// `submit_sm`
    pub const SUBMIT_SM: Self = Self(0x04);
    /// `deliver_sm`
    pub const DELIVER_SM: Self = Self(0x05);
    /// `unbind`
    pub const UNBIND: Self = Self(0x06);
    /// `replace_sm`
    pub const REPLACE_SM: Self = Self(0x07);
    /// `cancel_sm`
    pub const CANCEL_SM: Self = Self(0x08);
    /// `bind_transceiver`
    pub const BIND_TRANSCEIVER: Self = Self(0x09);
    /// `outbind`
    pub const OUTBIND: Self = Self(0x0B);
    /// `enquire_link`
    pub const ENQUIRE_LINK: Self = Self(0x15);
    /// `submit_multi`
    pub const SUBMIT_MULTI: Self = Self(0x21);
    /// `alert_notification`
    pub const ALERT_NOTIFICATION: Self = Self(0x102);
    /// `data_sm`
    pub const DATA_SM: Self = Self(0x103);
    /// `broadcast_sm` (v5.0)
    pub const BROADCAST_SM: Self = Self(0x111);
    /// `query_broadcast_sm` (v5.0)
    pub const QUERY_BROADCAST_SM: Self = Self(0x112);
    /// `cancel_broadcast_sm` (v5.0)
    pub const CANCEL_BROADCAST_SM: Self = Self(0x113);
    /// `generic_nack`
    pub const GENERIC_NACK: Self = Self(0x8000_0000);

    /// The id of the response to this request; a response's own id otherwise.
    #[must_use]
    pub const fn response(self) -> Self {
        Self(self.0 | RESPONSE)
    }

    /// The id of the request that this response answers; a request's own id otherwise.
    #[must_use]
    pub const fn request(self) -> Self {
        Self(self.0 & !RESPONSE)
    }

    /// True for responses, `generic_nack` included.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 & RESPONSE != 0
    }

    /// True for requests that the standard leaves without an answer (v3.4 §4.1.7, §4.12.1).
    #[must_use]
    pub const fn is_unanswered(self) -> bool {
        matches!(self, Self::OUTBIND | Self::ALERT_NOTIFICATION)
    }

    /// True for the ids that a standard names.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.name().is_some()
    }

    /// The standard's name, `submit_sm_resp`.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        COMMANDS.iter().find(|(id, _)| *id == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "command 0x{:08x}", self.0),
        }
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
