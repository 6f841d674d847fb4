//! From what MAIL, RCPT and DATA said to a draft, and from the router's answer to a reply.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use message::{Address, Content, Message, MessageId, Origin, Recipient, Timestamp, Wish};
use smtp::{Body, EnhancedCode, MailParams, Mailbox, RcptParams, Reply, Ret, ReversePath};

use crate::generation::Generation;
use crate::intake::{Accepted, Draft, Refusal};

/// A transaction between MAIL and the end of its message.
pub(super) struct Transaction {
    /// Pinned: the whole transaction sees one generation.
    pub(super) generation: Arc<Generation>,
    /// Whether the peer may send anywhere.
    pub(super) relay_allowed: bool,
    pub(super) sender: Address,
    pub(super) params: MailParams,
    pub(super) recipients: Vec<Recipient>,
    /// The leg that the message reports on; then there is no other recipient.
    pub(super) report_on: Option<MessageId>,
    /// Known when the message begins to come.
    pub(super) id: MessageId,
    /// Octets of the `Received` field in front of the message.
    pub(super) prefix_bytes: usize,
}

impl Transaction {
    /// The draft, once the message is here.
    pub(super) fn into_draft(self, origin: Arc<Origin>, body: Bytes, received: Timestamp) -> Draft {
        let hops = hops(body.get(self.prefix_bytes..).unwrap_or_default());
        let ret = self.params.ret.map(|ret| match ret {
            Ret::Full => message::Ret::Full,
            Ret::Headers => message::Ret::Headers,
        });
        Draft {
            message: Message {
                id: self.id,
                parent: None,
                origin,
                sender: self.sender,
                recipients: self.recipients,
                content: Content::Mail(body),
                envid: self.params.envid.map(|envid| envid.decode().into()),
                ret,
                smtputf8: self.params.smtputf8,
                eight_bit: self.params.body == Some(Body::EightBitMime),
                meta: BTreeMap::new(),
                received,
                not_before: None,
                expires: Timestamp::NEVER,
                priority: 0,
                hops: u8::try_from(hops).unwrap_or(u8::MAX),
            },
        }
    }
}

/// The sender as the router knows it.
pub(super) fn sender_address(sender: &ReversePath) -> Address {
    Address::mailbox(sender.as_str())
}

/// A recipient as the router knows it. A number without a domain is a number.
pub(super) fn recipient_of(mailbox: &Mailbox, params: &RcptParams) -> Recipient {
    let text = mailbox.as_str();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let number = mailbox.domain().is_none() && digits.bytes().all(|octet| octet.is_ascii_digit());
    let address = if number { Address::guess(text) } else { Address::mailbox(text) };
    let wish = params.notify.map_or(Wish::FAILURE, |notify| Wish {
        success: notify.success,
        failure: notify.failure,
        delay: notify.delay,
        unsaid: false,
    });
    let original = params.orcpt.as_ref().map(|orcpt| Arc::from(orcpt.to_string()));
    Recipient { address, original, wish }
}

/// The `Received` field that says how the message came to us (RFC 5321 §4.4, RFC 3848).
pub(super) fn received_field(
    transaction: &Transaction,
    origin: &Origin,
    peer: SocketAddr,
    (hostname, extended): (&str, bool),
    now: Timestamp,
) -> String {
    let with = match (transaction.params.smtputf8, extended) {
        (true, _) => "UTF8SMTP",
        (false, true) => "ESMTP",
        (false, false) => "SMTP",
    };
    let secured = if origin.tls { "S" } else { "" };
    let authenticated = if origin.account.is_empty() { "" } else { "A" };
    let ip = peer.ip().to_canonical();
    let family = if ip.is_ipv6() { "IPv6:" } else { "" };
    let mut field = format!(
        "Received: from {} ([{family}{ip}])\r\n\tby {hostname} (Wirepost) with \
         {with}{secured}{authenticated} id {}",
        origin.helo, transaction.id,
    );
    if let [only] = transaction.recipients.as_slice()
        && only.address.is_mailbox()
        // Writing to a string cannot fail.
        && write!(field, "\r\n\tfor <{}>", only.address).is_err()
    {
        field.clear();
    }
    field.push_str(";\r\n\t");
    field.push_str(&now.rfc5322());
    field.push_str("\r\n");
    field
}

/// `Received` fields of a mail: hosts that it passed.
pub(super) fn hops(mail: &[u8]) -> usize {
    let mut count = 0;
    for line in mail.split_inclusive(|octet| *octet == b'\n') {
        if line == b"\r\n" {
            break;
        }
        let name = line.split_at_checked(b"received:".len()).map(|(name, _)| name);
        count += usize::from(name.is_some_and(|name| name.eq_ignore_ascii_case(b"received:")));
    }
    count
}

/// The only positive answer to a message. Only a committed one has an [`Accepted`].
pub(super) fn queued(accepted: &Accepted) -> Reply {
    Reply::new(250, (2, 0, 0), "").with_text(format!("Ok: queued as {}", accepted.id))
}

/// A refusal of the router in the words of SMTP.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    let fallback = EnhancedCode::new(if refusal.permanent { 5 } else { 4 }, 0, 0);
    Reply {
        code: refusal.smtp_code,
        enhanced: Some(EnhancedCode::parse(&refusal.enhanced).unwrap_or(fallback)),
        text: refusal.text.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use message::AddressKind;

    use super::*;

    #[test]
    fn hops_are_counted_in_the_header_only() {
        for (mail, expect) in [
            ("", 0),
            ("Received: a\r\n\tb\r\nRECEIVED: c\r\nX-Received: d\r\n\r\nReceived: e\r\n", 2),
            ("received:a", 1),
            ("\r\nReceived: a\r\n", 0),
        ] {
            assert_eq!(hops(mail.as_bytes()), expect, "{mail:?}");
        }
    }

    #[test]
    fn a_number_without_a_domain_is_a_number() {
        for (text, expect) in [
            ("+33612345678", AddressKind::Phone),
            ("12345", AddressKind::ShortCode),
            ("postmaster", AddressKind::Mailbox),
            ("12345@x", AddressKind::Mailbox),
        ] {
            let mailbox = Mailbox::parse(text).unwrap();
            let recipient = recipient_of(&mailbox, &RcptParams::default());
            assert_eq!(recipient.address.kind, expect, "{text}");
            assert_eq!(recipient.wish, Wish::FAILURE);
        }
    }
}
