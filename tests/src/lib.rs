//! The harness of the whole-host tests: a running router, the peers around it, and waiting for a
//! state instead of for a time.
//!
//! The peers are written anew here, as plainly as possible, so that they judge what the router
//! writes with other code than the router's own where that is cheap: the relay and the mailer speak
//! SMTP by hand, the SMSC and the ESME use the protocol crate's sessions.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test stops at the first surprise"
)]

pub mod wait;
pub mod world;
pub mod stranger;
pub mod mailer;
pub mod relay;
pub mod esme;
pub mod smsc;
pub mod sms;
pub mod dsn;
pub mod crash;
pub mod plugins;
pub mod hostile;
pub mod traffic;

pub use esme::Esme;
pub use mailer::Mailer;
pub use relay::Relay;
pub use smsc::{Answer, Smsc};
pub use traffic::Traffic;
pub use wait::until;
pub use world::World;
