//! SMPP v3.3, v3.4 and v5.0 without I/O: frames, PDUs, receipts and sessions.
//!
//! The crate reads no clock and no socket. A driver feeds octets and the time in, and takes
//! events and octets out. It is lenient in what it accepts: each tolerated deviation is a named
//! [`Quirk`]; only a lost frame boundary ends a link. It is strict in what it sends.
//!
//! ```text
//! octets -> frame::Framer -> pdu::decode -> session::Session -> Event
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::expect_used,
        clippy::unreachable,
        clippy::as_conversions
    )
)]

pub mod command;
pub mod flags;
pub mod frame;
pub mod octets;
pub mod pdu;
pub mod quirk;
pub mod receipt;
pub mod session;
pub mod status;
pub mod time;
pub mod tlv;
pub mod udh;

pub use command::CommandId;
pub use flags::{EsmClass, InterfaceVersion, RegisteredDelivery, npi, ton};
pub use frame::Framer;
pub use octets::Octets;
pub use pdu::{Address, Pdu, Sm, decode, encode};
pub use quirk::{Quirk, Quirks};
pub use session::{Event, Role, Session};
pub use status::{Status, StatusClass};
pub use tlv::{Tlvs, tag};
