//! Wirepost's message model, without I/O, clock or randomness.
//!
//! The nouns come first, in the order a message meets them: [`MessageId`] and [`Timestamp`],
//! [`Address`], [`Content`], [`Message`]. The host, the plugin SDK's native tests and the tools
//! share them, so that a test counts the same SMS parts as production does.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::expect_used,
        clippy::unreachable,
        clippy::as_conversions
    )
)]

pub mod id;
pub mod time;
pub mod mailbox;
pub mod address;
pub mod content;
pub mod message;
pub mod edit;
pub mod record;
pub mod phone;
pub mod text;
pub mod mail;

pub use address::{Address, AddressKind};
pub use content::{Content, Short, ShortBody, Tlv};
pub use id::{IdSource, MessageId};
pub use mailbox::{normal_domain, normal_mailbox};
pub use message::{Message, Origin, Protocol, Recipient, Ret, Wish};
pub use time::Timestamp;
