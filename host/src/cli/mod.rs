//! What the binary does when it is not the router: tools for trying and measuring.
#![expect(clippy::print_stdout, reason = "the output of a command is its result")]

pub mod check;
pub mod explain;
pub mod load;
pub mod send;
pub mod sim;
pub mod smpp_client;
pub mod specimen;
