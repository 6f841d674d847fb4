//! Answers to submits. The only place that says `ESME_ROK` to one, and it demands the proof that
//! the message is durable.

use smpp::pdu::{MessageResp, SubmitMultiResp, Unsuccess};
use smpp::tlv::Tlvs;
use smpp::{CommandId, Octets, Pdu, Status, tag};

use crate::intake::{Accepted, Refusal};

/// The longest text that a refusal carries.
const WORDS_OCTETS_MAX: usize = 255;

/// The positive answer to a request.
pub(super) fn accepted(
    accepted: &Accepted,
    command: CommandId,
    id: Octets,
    unsuccess: Vec<Unsuccess>,
) -> (Status, Pdu) {
    let _proof: &Accepted = accepted;
    let pdu = match command {
        CommandId::SUBMIT_MULTI => {
            Pdu::SubmitMultiResp(SubmitMultiResp { message_id: id, unsuccess, tlvs: Tlvs::new() })
        }
        CommandId::DATA_SM => Pdu::DataSmResp(MessageResp::new(id)),
        _ => Pdu::SubmitSmResp(MessageResp::new(id)),
    };
    (Status::ROK, pdu)
}

/// The negative answer to a request: a refusal is never ROK.
pub(super) fn refused(refusal: &Refusal, command: CommandId) -> (Status, Pdu) {
    let status = match Status(refusal.smpp_status) {
        Status::ROK => Status::RSUBMITFAIL,
        status => status,
    };
    let mut tlvs = Tlvs::new();
    let words: String =
        refusal.text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    if command == CommandId::DATA_SM && !words.is_empty() {
        let mut value: Vec<u8> = words.into_bytes();
        value.truncate(WORDS_OCTETS_MAX);
        value.push(0);
        // A value of this length always fits.
        if tlvs.push(tag::ADDITIONAL_STATUS_INFO_TEXT, &value).is_err() {
            tlvs = Tlvs::new();
        }
    }
    let resp = MessageResp { message_id: Octets::new(), tlvs };
    let pdu = match command {
        CommandId::SUBMIT_MULTI => Pdu::SubmitMultiResp(SubmitMultiResp::default()),
        CommandId::DATA_SM => Pdu::DataSmResp(resp),
        _ => Pdu::SubmitSmResp(resp),
    };
    (status, pdu)
}
