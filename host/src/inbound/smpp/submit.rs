//! From a submit to a draft.

use std::collections::BTreeMap;
use std::sync::Arc;

use message::{Content, Message, Origin, Recipient, Wish};
use smpp::pdu::{Destination, Unsuccess};
use smpp::{Address, CommandId, Sm, Status};

use crate::config::Account;
use crate::generation::Generation;
use crate::intake::{Draft, Refusal};
use crate::router::Router;
use crate::sms::compose::RECEIPT_TLVS;
use crate::sms::read::{self, Reading};

/// The SMSC's predefined messages, of which we have none (v3.4 §4.4.1).
const NO_DEFAULT_MESSAGE: Status = Status(0x63);

/// `ESME_RINVESMCLASS`: a receipt is ours to make (v3.4 §5.1.3).
const INVALID_ESM_CLASS: Status = Status(0x43);
/// `ESME_ROPTPARNOTALLWD`: so are the TLVs of a receipt (v3.4 §5.1.3).
const NO_RECEIPT_TLV: Status = Status(0xC1);
/// ESME_RINVSERTYP.
const NO_SERVICE_TYPE: Status = Status(0x15);
/// Octets of an address and of a service type without their NUL (SMPP v3.4 §4.4.1). What is longer goes
/// on to nobody: a strict SMSC ends the connection at it, for all who share that.
const ADDRESS_OCTETS_MAX: usize = 20;
const SERVICE_TYPE_OCTETS_MAX: usize = 5;

/// A request that waits for the fate of its draft.
#[derive(Debug)]
pub(super) struct Submit {
    pub(super) sequence: u32,
    pub(super) command: CommandId,
    /// Destinations of a `submit_multi` that were refused.
    pub(super) unsuccess: Vec<Unsuccess>,
}

/// A request that was refused before anything was tried.
#[derive(Debug)]
pub(super) enum Refused {
    /// By the session itself.
    Status(Status),
    /// By the router: the recipient.
    Refusal(Refusal),
}

/// What a session knows about everything that it submits.
#[derive(Debug)]
pub(super) struct Submitter<'a> {
    pub(super) router: &'a Router,
    pub(super) generation: &'a Generation,
    pub(super) account: &'a Account,
    pub(super) origin: &'a Arc<Origin>,
    pub(super) reading: Reading,
}

impl Submitter<'_> {
    /// The draft of a `submit_sm` or `data_sm`.
    pub(super) fn one(&self, sm: &Sm) -> Result<Draft, Refused> {
        let (mut message, wish) = self.message(sm)?;
        let recipient =
            self.recipient(&message, &sm.destination, wish).map_err(Refused::Refusal)?;
        message.recipients.push(recipient);
        Ok(Draft { message })
    }

    /// The draft of a `submit_multi`, and the destinations that it does not have.
    pub(super) fn several(
        &self,
        sm: &Sm,
        destinations: Vec<Destination>,
    ) -> Result<(Draft, Vec<Unsuccess>), Refused> {
        let (mut message, wish) = self.message(sm)?;
        let mut unsuccess = Vec::new();
        for destination in destinations {
            let refused = match destination {
                Destination::Address(address) => match self.recipient(&message, &address, wish) {
                    Ok(recipient) => {
                        message.recipients.push(recipient);
                        continue;
                    }
                    Err(refusal) => (address, Status(refusal.smpp_status)),
                },
                // We keep no distribution lists.
                Destination::List(addr) => (Address { addr, ..Address::default() }, Status(0x34)),
            };
            unsuccess.push(Unsuccess { address: refused.0, status: refused.1 });
        }
        if message.recipients.is_empty() {
            let status = unsuccess.first().map_or(Status::RINVNUMDESTS, |first| first.status);
            return Err(Refused::Status(status));
        }
        Ok((Draft { message }, unsuccess))
    }

    /// Everything but the recipients, and which receipts they are to have.
    fn message(&self, sm: &Sm) -> Result<(Message, Wish), Refused> {
        if sm.sm_default_msg_id != 0 {
            return Err(Refused::Status(NO_DEFAULT_MESSAGE));
        }
        if sm.esm_class.is_receipt() {
            return Err(Refused::Status(INVALID_ESM_CLASS));
        }
        if RECEIPT_TLVS.iter().any(|tag| sm.tlvs.first(*tag).is_some()) {
            return Err(Refused::Status(NO_RECEIPT_TLV));
        }
        if sm.service_type.len() > SERVICE_TYPE_OCTETS_MAX {
            return Err(Refused::Status(NO_SERVICE_TYPE));
        }
        if sm.source.addr.len() > ADDRESS_OCTETS_MAX {
            return Err(Refused::Status(Status::RINVSRCADR));
        }
        let now = self.router.clock.now();
        let incoming = read::read(sm, &self.reading, now).map_err(Refused::Status)?;
        if !self.account.may_send_as(&incoming.sender) {
            return Err(Refused::Status(Status::RINVSRCADR));
        }
        let message = Message {
            id: self.router.next_id(),
            parent: None,
            origin: Arc::clone(self.origin),
            sender: incoming.sender,
            recipients: Vec::with_capacity(1),
            content: Content::Short(incoming.content),
            envid: None,
            ret: None,
            smtputf8: false,
            eight_bit: false,
            meta: BTreeMap::new(),
            received: now,
            not_before: incoming.not_before,
            expires: incoming.expires,
            priority: incoming.priority,
            hops: 0,
        };
        Ok((message, incoming.wish))
    }

    fn recipient(
        &self,
        message: &Message,
        given: &Address,
        wish: Wish,
    ) -> Result<Recipient, Refusal> {
        if given.addr.is_empty() {
            return Err(no_destination("there is no destination address"));
        }
        if given.addr.len() > ADDRESS_OCTETS_MAX {
            return Err(no_destination("a destination address has at most 20 octets"));
        }
        let recipient = Recipient::new(read::address(given, self.reading.dest), wish);
        let sender = &message.sender;
        self.router.admit_recipient(self.generation, self.origin, sender, recipient, true)
    }
}

/// The refusal of a destination address; some clients send an empty one when a number is missing.
fn no_destination(why: &'static str) -> Refusal {
    Refusal {
        permanent: true,
        smtp_code: 550,
        enhanced: "5.1.3".into(),
        smpp_status: Status::RINVDSTADR.0,
        text: why.into(),
    }
}
