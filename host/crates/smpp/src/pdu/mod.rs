//! PDUs: one type for each, decoded from an isolated frame and encoded into a buffer.
mod bind;
mod decode;
mod encode;
mod message;
mod operation;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use bind::{Bind, BindMode, BindResp, Outbind};
pub use decode::{DecodeError, DecodeFault, Decoded, Header, decode, header};
pub use encode::{Dialect, EncodeError, SHORT_MESSAGE_OCTETS_MAX, encode, encode_header};
pub use message::{
    Address, DataSm, Destination, MessageResp, Sm, SubmitMulti, SubmitMultiResp, Unsuccess,
};
pub use operation::{AlertNotification, CancelSm, QuerySm, QuerySmResp, ReplaceSm};

use crate::command::CommandId;

/// The body of a PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pdu {
    /// `bind_receiver`, `bind_transmitter` or `bind_transceiver` (v3.4 §4.1)
    Bind(Bind),
    /// The answer to one of them
    BindResp(BindResp),
    /// `outbind` (v3.4 §4.1.7)
    Outbind(Outbind),
    /// `unbind` (v3.4 §4.2)
    Unbind,
    /// `unbind_resp`
    UnbindResp,
    /// `submit_sm` (v3.4 §4.4)
    SubmitSm(Sm),
    /// `submit_sm_resp`
    SubmitSmResp(MessageResp),
    /// `submit_multi` (v3.4 §4.5)
    SubmitMulti(SubmitMulti),
    /// `submit_multi_resp`
    SubmitMultiResp(SubmitMultiResp),
    /// `data_sm` (v3.4 §4.7)
    DataSm(DataSm),
    /// `data_sm_resp`
    DataSmResp(MessageResp),
    /// `deliver_sm` (v3.4 §4.6)
    DeliverSm(Sm),
    /// `deliver_sm_resp`
    DeliverSmResp(MessageResp),
    /// `query_sm` (v3.4 §4.8)
    QuerySm(QuerySm),
    /// `query_sm_resp`
    QuerySmResp(QuerySmResp),
    /// `cancel_sm` (v3.4 §4.9)
    CancelSm(CancelSm),
    /// `cancel_sm_resp`
    CancelSmResp,
    /// `replace_sm` (v3.4 §4.10)
    ReplaceSm(ReplaceSm),
    /// `replace_sm_resp`
    ReplaceSmResp,
    /// `enquire_link` (v3.4 §4.11)
    EnquireLink,
    /// `enquire_link_resp`
    EnquireLinkResp,
    /// `alert_notification` (v3.4 §4.12)
    AlertNotification(AlertNotification),
    /// `generic_nack` (v3.4 §4.3)
    GenericNack,
    /// A known command whose body is kept as it came: the broadcast operations of v5.0, and
    /// responses that make no sense.
    Raw(Raw),
}

/// A body that nobody looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// What it is.
    pub command: CommandId,
    /// Everything after the header.
    pub body: Bytes,
}

impl Pdu {
    /// What it is on the wire.
    #[must_use]
    pub const fn command(&self) -> CommandId {
        match self {
            Self::Bind(bind) => bind.mode.command(),
            Self::BindResp(resp) => resp.mode.command().response(),
            Self::Outbind(_) => CommandId::OUTBIND,
            Self::Unbind => CommandId::UNBIND,
            Self::UnbindResp => CommandId::UNBIND.response(),
            Self::SubmitSm(_) => CommandId::SUBMIT_SM,
            Self::SubmitSmResp(_) => CommandId::SUBMIT_SM.response(),
            Self::SubmitMulti(_) => CommandId::SUBMIT_MULTI,
            Self::SubmitMultiResp(_) => CommandId::SUBMIT_MULTI.response(),
            Self::DataSm(_) => CommandId::DATA_SM,
            Self::DataSmResp(_) => CommandId::DATA_SM.response(),
            Self::DeliverSm(_) => CommandId::DELIVER_SM,
            Self::DeliverSmResp(_) => CommandId::DELIVER_SM.response(),
            Self::QuerySm(_) => CommandId::QUERY_SM,
            Self::QuerySmResp(_) => CommandId::QUERY_SM.response(),
            Self::CancelSm(_) => CommandId::CANCEL_SM,
            Self::CancelSmResp => CommandId::CANCEL_SM.response(),
            Self::ReplaceSm(_) => CommandId::REPLACE_SM,
            Self::ReplaceSmResp => CommandId::REPLACE_SM.response(),
            Self::EnquireLink => CommandId::ENQUIRE_LINK,
            Self::EnquireLinkResp => CommandId::ENQUIRE_LINK.response(),
            Self::AlertNotification(_) => CommandId::ALERT_NOTIFICATION,
            Self::GenericNack => CommandId::GENERIC_NACK,
            Self::Raw(raw) => raw.command,
        }
    }
}
