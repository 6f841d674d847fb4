//! The socket and the port, as a client sees them.
