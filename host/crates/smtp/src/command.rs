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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smtp_proto::{MAIL_BODY_8BITMIME, MAIL_SMTPUTF8, Request};

    use super::*;
    use crate::Body;

    #[track_caller]
    fn check(line: &str, expect: &Command) {
        assert_eq!(Command::parse(line.as_bytes()).as_ref(), Ok(expect), "{line}");
    }

    #[test]
    fn verbs_in_any_case_with_blanks_behind() {
        check("noop", &Command::Noop);
        check("QUIT \t", &Command::Quit);
        check("Data", &Command::Data);
        check("ehlo  a.example", &Command::Ehlo("a.example".to_owned()));
        check("BDAT 12 last", &Command::Bdat { octets: 12, last: true });
        check("EXPN list", &Command::NotOffered);
    }

    #[test]
    fn lines_that_are_no_commands() {
        for line in [
            "",
            " ",
            "MAILFROM:<a@b>",
            "DATA x",
            "QUIT x",
            "EHLO",
            "EHLO a b",
            "BDAT -1",
            "BDAT",
            "AUTH",
            "AUTH A b c",
            "\0",
        ] {
            assert!(Command::parse(line.as_bytes()).is_err(), "{line}");
        }
        assert_eq!(Command::parse(b"GET / HTTP/1.1"), Err(CommandError::Http));
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in prop::collection::vec(any::<u8>(), 0..80), verb in "(MAIL FROM:|RCPT TO:|AUTH |BDAT )?") {
            let mut whole = verb.into_bytes();
            whole.extend(line);
            let _parsed = Command::parse(&whole);
        }

        /// Where smtp-proto has no quirk that we know of, it reads the same.
        #[test]
        fn an_independent_parser_reads_the_same(
            address in "[a-z0-9]([a-z0-9+_.-]{0,8}[a-z0-9])?@[a-z0-9]{1,8}(\\.[a-z0-9]{1,8}){0,2}"
                .prop_filter("two dots in a row are a quirk of ours", |text| !text.contains("..")),
            size in prop::option::of(0_u32..u32::MAX),
            eight_bit: bool,
            smtputf8: bool,
            envid in prop::option::of("[A-Za-z0-9]{1,20}"),
        ) {
            let mut line = format!("MAIL FROM:<{address}>");
            line.extend(size.map(|size| format!(" SIZE={size}")));
            line.push_str(if eight_bit { " BODY=8BITMIME" } else { "" });
            line.push_str(if smtputf8 { " SMTPUTF8" } else { "" });
            line.extend(envid.as_ref().map(|envid| format!(" ENVID={envid}")));
            let Ok(Command::Mail(sender, params)) = Command::parse(line.as_bytes()) else {
                return Err(TestCaseError::fail(line));
            };
            line.push_str("\r\n");
            let Ok(Request::Mail { from }) = Request::parse(&mut line.as_bytes().iter()) else {
                return Err(TestCaseError::fail(line));
            };
            prop_assert_eq!(sender.as_str(), &from.address);
            prop_assert_eq!(params.size_bytes.unwrap_or(0), u64::try_from(from.size).unwrap());
            prop_assert_eq!(params.body == Some(Body::EightBitMime), from.flags & MAIL_BODY_8BITMIME != 0);
            prop_assert_eq!(params.smtputf8, from.flags & MAIL_SMTPUTF8 != 0);
            prop_assert_eq!(params.envid.map(|envid| envid.decode()), from.env_id.map(String::from));
        }
    }
}
