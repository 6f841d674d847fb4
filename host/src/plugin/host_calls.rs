//! What a plugin may ask of the host.

/// One message.
#[derive(Debug)]
pub struct HostMessage;
