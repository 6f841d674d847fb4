//! Short messages between the common model and SMPP, the same for both roles.

pub mod link;
