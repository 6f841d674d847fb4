//! One command line, read (RFC 5321 §4.1.1).

use crate::{AddressError, MailParams, Mailbox, RcptParams, ReversePath, address};

/// Longest name taken at EHLO and HELO (RFC 5321 §4.5.3.1.2).
const NAME_OCTETS_MAX: usize = 255;

/// A command, without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `EHLO name`.
    Ehlo(String),
    /// `HELO name`.
    Helo(String),
    /// `MAIL FROM:<sender> params`.
    Mail(ReversePath, MailParams),
    /// `RCPT TO:<recipient> params`.
    Rcpt(Mailbox, RcptParams),
    /// `DATA`.
    Data,
    /// `BDAT octets [LAST]` (RFC 3030).
    Bdat {
        /// Octets that follow the command line.
        octets: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `VRFY who`.
    Vrfy,
    /// `HELP`.
    Help,
    /// `QUIT`.
    Quit,
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH mechanism [initial]` (RFC 4954), the mechanism in upper case.
    Auth {
        /// The mechanism, in upper case.
        mechanism: String,
        /// The initial response, still in base64; `=` is an empty one.
        initial: Option<String>,
    },
    /// A command that SMTP knows and we do not offer.
    NotOffered,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The verb is not known.
    #[error("command unknown")]
    UnknownCommand,
    /// A browser or proxy speaks HTTP to us.
    #[error("this is not an HTTP server")]
    Http,
    /// The arguments do not fit the verb.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// The path of MAIL is not a path.
    #[error("bad sender address: {0}")]
    Sender(AddressError),
    /// The path of RCPT is not a path.
    #[error("bad recipient address: {0}")]
    Recipient(AddressError),
    /// A parameter that we do not know.
    #[error("parameter not supported")]
    UnknownParameter,
    /// A parameter whose value makes no sense, or that comes twice.
    #[error("bad {0} parameter")]
    InvalidParameter(&'static str),
}

impl Command {
    /// Reads one line, without its line end.
    ///
    /// # Errors
    /// When it is no command that SMTP knows, or its arguments are wrong.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let line = line.trim_ascii_end();
        let verb_octets = line.iter().take_while(|octet| !matches!(octet, b' ' | b'\t')).count();
        let (verb, rest) = line.split_at_checked(verb_octets).unwrap_or((line, b""));
        let verb = Verb::parse(verb).ok_or(CommandError::UnknownCommand)?;
        match verb {
            Verb::Mail => parse_mail(rest),
            Verb::Rcpt => parse_rcpt(rest),
            Verb::Data if rest.is_empty() => Ok(Self::Data),
            Verb::Data => Err(CommandError::Syntax("DATA")),
            Verb::Ehlo => parse_name(rest).map(Self::Ehlo).ok_or(CommandError::Syntax("EHLO name")),
            Verb::Helo => parse_name(rest).map(Self::Helo).ok_or(CommandError::Syntax("HELO name")),
            Verb::Rset if rest.is_empty() => Ok(Self::Rset),
            Verb::Rset => Err(CommandError::Syntax("RSET")),
            Verb::Quit if rest.is_empty() => Ok(Self::Quit),
            Verb::Quit => Err(CommandError::Syntax("QUIT")),
            Verb::StartTls if rest.is_empty() => Ok(Self::StartTls),
            Verb::StartTls => Err(CommandError::Syntax("STARTTLS")),
            Verb::Vrfy if rest.is_empty() => Err(CommandError::Syntax("VRFY who")),
            Verb::Vrfy => Ok(Self::Vrfy),
            Verb::Noop => Ok(Self::Noop),
            Verb::Help => Ok(Self::Help),
            Verb::Auth => parse_auth(rest),
            Verb::Bdat => parse_bdat(rest),
            Verb::NotOffered => Ok(Self::NotOffered),
            Verb::Http => Err(CommandError::Http),
        }
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Mail,
    Rcpt,
    Data,
    Ehlo,
    Helo,
    Rset,
    Quit,
    StartTls,
    Vrfy,
    Noop,
    Help,
    Auth,
    Bdat,
    NotOffered,
    Http,
}

impl Verb {
    fn parse(word: &[u8]) -> Option<Self> {
        const VERBS: [(&[u8], Verb); 20] = [
            (b"RCPT", Verb::Rcpt),
            (b"MAIL", Verb::Mail),
            (b"DATA", Verb::Data),
            (b"BDAT", Verb::Bdat),
            (b"EHLO", Verb::Ehlo),
            (b"HELO", Verb::Helo),
            (b"RSET", Verb::Rset),
            (b"QUIT", Verb::Quit),
            (b"NOOP", Verb::Noop),
            (b"STARTTLS", Verb::StartTls),
            (b"AUTH", Verb::Auth),
            (b"VRFY", Verb::Vrfy),
            (b"HELP", Verb::Help),
            (b"EXPN", Verb::NotOffered),
            (b"ETRN", Verb::NotOffered),
            (b"TURN", Verb::NotOffered),
            (b"BURL", Verb::NotOffered),
            (b"GET", Verb::Http),
            (b"POST", Verb::Http),
            (b"CONNECT", Verb::Http),
        ];
        let found = VERBS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, verb)| *verb)
    }
}

fn parse_mail(rest: &[u8]) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("MAIL FROM:<sender> [parameters]");
    let path = after_keyword(rest, b"FROM:").ok_or(SYNTAX)?;
    let (mailbox, rest) = address::parse_path(path).map_err(CommandError::Sender)?;
    let Ok(params) = std::str::from_utf8(rest) else { return Err(SYNTAX) };
    let sender = mailbox.map_or(ReversePath::Null, ReversePath::Mailbox);
    Ok(Command::Mail(sender, MailParams::parse(params)?))
}

fn parse_rcpt(rest: &[u8]) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("RCPT TO:<recipient> [parameters]");
    let path = after_keyword(rest, b"TO:").ok_or(SYNTAX)?;
    let (mailbox, rest) = address::parse_path(path).map_err(CommandError::Recipient)?;
    let mailbox = mailbox.ok_or(CommandError::Recipient(AddressError::Syntax))?;
    let Ok(params) = std::str::from_utf8(rest) else { return Err(SYNTAX) };
    Ok(Command::Rcpt(mailbox, RcptParams::parse(params)?))
}

fn after_keyword<'a>(rest: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (word, after) = rest.trim_ascii_start().split_at_checked(keyword.len())?;
    word.eq_ignore_ascii_case(keyword).then_some(after)
}

fn parse_name(rest: &[u8]) -> Option<String> {
    let name = rest.trim_ascii_start();
    let plain =
        (1..=NAME_OCTETS_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
    if plain { String::from_utf8(name.to_vec()).ok() } else { None }
}

fn parse_auth(rest: &[u8]) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("AUTH mechanism [initial-response]");
    let Ok(rest) = std::str::from_utf8(rest) else { return Err(SYNTAX) };
    let mut words = rest.split_ascii_whitespace();
    let mechanism = words.next().ok_or(SYNTAX)?.to_ascii_uppercase();
    let initial = words.next().map(str::to_owned);
    if words.next().is_some() { Err(SYNTAX) } else { Ok(Command::Auth { mechanism, initial }) }
}

fn parse_bdat(rest: &[u8]) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("BDAT octets [LAST]");
    let Ok(rest) = std::str::from_utf8(rest) else { return Err(SYNTAX) };
    let mut words = rest.split_ascii_whitespace();
    let digits = words.next().filter(|word| word.bytes().all(|octet| octet.is_ascii_digit()));
    let octets = digits.and_then(|word| word.parse().ok()).ok_or(SYNTAX)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(Command::Bdat { octets, last: false }),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => {
            Ok(Command::Bdat { octets, last: true })
        }
        _ => Err(SYNTAX),
    }
}
