//! The fixed answers of a server session, in one place.

use crate::{AddressError, CommandError, Reply};

pub(super) const OK: Reply = Reply::new(250, (2, 0, 0), "ok");
pub(super) const BYE: Reply = Reply::new(221, (2, 0, 0), "bye");
pub(super) const VRFY: Reply = Reply::new(252, (2, 0, 0), "send mail and see");
pub(super) const HELP: Reply = Reply::new(214, (2, 0, 0), "this is a mail relay, see RFC 5321");
pub(super) const TLS_READY: Reply = Reply::new(220, (2, 0, 0), "go ahead");
pub(super) const SEND_DATA: Reply = Reply::plain(354, "end data with <CR><LF>.<CR><LF>");

pub(super) const NOT_OFFERED: Reply = Reply::new(502, (5, 5, 1), "command not offered");
pub(super) const TLS_ALREADY: Reply = Reply::new(503, (5, 5, 1), "TLS is on already");
pub(super) const TLS_FIRST: Reply = Reply::new(530, (5, 7, 0), "say STARTTLS first");
pub(super) const TLS_PIPELINED: Reply =
    Reply::new(554, (5, 5, 0), "nothing may follow STARTTLS before its answer");
pub(super) const HELLO_FIRST: Reply = Reply::new(503, (5, 5, 1), "say EHLO or HELO first");
pub(super) const MAIL_FIRST: Reply = Reply::new(503, (5, 5, 1), "say MAIL first");
pub(super) const MAIL_TWICE: Reply = Reply::new(503, (5, 5, 1), "a transaction is open already");
pub(super) const RCPT_FIRST: Reply = Reply::new(503, (5, 5, 1), "say RCPT first");
pub(super) const NO_RECIPIENTS: Reply = Reply::new(554, (5, 5, 1), "no recipient was accepted");
pub(super) const CHUNKS_OPEN: Reply =
    Reply::new(503, (5, 5, 1), "a message in chunks has begun, say BDAT or RSET");
pub(super) const TOO_MANY_RECIPIENTS: Reply =
    Reply::new(452, (4, 5, 3), "too many recipients, send the others in another transaction");
pub(super) const SIZE: Reply = Reply::new(552, (5, 3, 4), "message too large");
pub(super) const UTF8_UNASKED: Reply =
    Reply::new(553, (5, 6, 7), "address needs SMTPUTF8, which MAIL did not say");
pub(super) const PARAMETER: Reply = Reply::new(555, (5, 5, 4), "parameter not supported");

pub(super) const AUTH_PLAIN: Reply = Reply::plain(334, "");
/// "Username:" and "Password:", which old clients wait for.
pub(super) const AUTH_USER: Reply = Reply::plain(334, "VXNlcm5hbWU6");
pub(super) const AUTH_PASSWORD: Reply = Reply::plain(334, "UGFzc3dvcmQ6");
pub(super) const AUTH_NEEDS_TLS: Reply =
    Reply::new(538, (5, 7, 11), "AUTH is offered over TLS only");
pub(super) const AUTH_TWICE: Reply = Reply::new(503, (5, 5, 1), "authenticated already");
pub(super) const AUTH_MECHANISM: Reply = Reply::new(504, (5, 5, 4), "AUTH PLAIN or AUTH LOGIN");
pub(super) const AUTH_CANCELLED: Reply = Reply::new(501, (5, 7, 0), "AUTH cancelled");
pub(super) const AUTH_SYNTAX: Reply = Reply::new(501, (5, 5, 2), "response not understood");

pub(super) const LINE_TOO_LONG: Reply = Reply::new(500, (5, 5, 2), "command line too long");
pub(super) const BARE_COMMAND: Reply =
    Reply::new(500, (5, 5, 2), "commands must end in <CR><LF> and hold no other CR or LF");
pub(super) const BARE_MESSAGE: Reply =
    Reply::new(550, (5, 6, 11), "message holds a bare CR or LF, lines must end in <CR><LF>");
pub(super) const NUL_MESSAGE: Reply =
    Reply::new(550, (5, 6, 11), "message holds a NUL octet, which no message may have");

pub(super) const EARLY: Reply = Reply::new(554, (5, 5, 0), "wait for the greeting");
pub(super) const TOO_MANY_ERRORS: Reply = Reply::new(421, (4, 7, 0), "too many errors");
pub(super) const IDLE_COMMANDS: Reply =
    Reply::new(421, (4, 7, 0), "too many commands without a message");
pub(super) const ENOUGH: Reply =
    Reply::new(421, (4, 7, 0), "enough messages on this connection, open another one");
pub(super) const TIMED_OUT: Reply = Reply::new(421, (4, 4, 2), "timed out");
pub(super) const TOO_SLOW: Reply = Reply::new(421, (4, 4, 2), "message comes too slowly");
pub(super) const SHUTDOWN: Reply = Reply::new(421, (4, 3, 2), "shutting down, try again");

/// How a line that is no command is answered.
pub(super) fn command_error(error: &CommandError) -> Reply {
    match error {
        CommandError::UnknownCommand => Reply::new(500, (5, 5, 2), "command unknown"),
        CommandError::Http => Reply::new(554, (5, 5, 0), "this is not an HTTP server"),
        CommandError::Syntax(_) => Reply::new(501, (5, 5, 4), "").with_text(error.to_string()),
        CommandError::Sender(reason) => address_error(*reason, (5, 1, 7), error),
        CommandError::Recipient(reason) => address_error(*reason, (5, 1, 3), error),
        CommandError::UnknownParameter => PARAMETER,
        CommandError::InvalidParameter(_) => {
            Reply::new(501, (5, 5, 4), "").with_text(error.to_string())
        }
    }
}

fn address_error(reason: AddressError, enhanced: (u8, u16, u16), error: &CommandError) -> Reply {
    let reply = match reason {
        AddressError::Syntax | AddressError::TooLong => Reply::new(501, enhanced, ""),
        AddressError::NotUtf8 => Reply::new(553, (5, 6, 7), ""),
    };
    reply.with_text(error.to_string())
}
