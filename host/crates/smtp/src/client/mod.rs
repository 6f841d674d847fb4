//! The sending side.
/// placeholder
#[derive(Debug)]
pub struct ClientSession;
