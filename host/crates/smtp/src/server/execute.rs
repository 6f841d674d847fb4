//! What each command does.

use super::{
    CloseReason, Event, Hello, Question, ServerSession, StartTls, State, Transaction, answers,
};
use crate::{Command, MailParams, Mailbox, RcptParams, Reply, ReversePath};

/// Commands that may lead to no accepted message from a peer that is to hurry.
const IDLE_COMMANDS_HURRIED_MAX: u32 = 20;

impl ServerSession {
    pub(super) fn execute(&mut self, command: Command) {
        if self.shutdown {
            self.close(&answers::SHUTDOWN, CloseReason::Shutdown);
            return;
        }
        self.idle_commands = self.idle_commands.saturating_add(1);
        if self.idle_commands > self.idle_commands_max() {
            self.close(&answers::IDLE_COMMANDS, CloseReason::TooManyErrors);
            return;
        }
        match command {
            Command::Ehlo(name) => self.hello(name, Hello::Extended),
            Command::Helo(name) => self.hello(name, Hello::Basic),
            Command::Quit => self.close(&answers::BYE, CloseReason::Quit),
            Command::Noop => self.answer(&answers::OK),
            Command::Rset => {
                self.reset();
                self.answer(&answers::OK);
            }
            Command::Help => self.answer(&answers::HELP),
            Command::StartTls => self.start_tls(),
            Command::Bdat { octets, .. } if self.tls_is_missing() => {
                self.discard(octets, answers::TLS_FIRST);
            }
            _ if self.tls_is_missing() => self.answer(&answers::TLS_FIRST),
            Command::Vrfy => self.answer(&answers::VRFY),
            Command::Mail(sender, params) => self.mail(sender, params),
            Command::Rcpt(recipient, params) => self.rcpt(recipient, params),
            Command::Data => self.data(),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_deref()),
            Command::Bdat { octets, last } => self.bdat(octets, last),
            Command::NotOffered => self.answer(&answers::NOT_OFFERED),
        }
    }

    /// Recipients are progress of a kind: a long list of them is not idle.
    fn idle_commands_max(&self) -> u32 {
        let recipients =
            self.transaction.map_or(0, |open| open.recipients.saturating_add(open.refused));
        let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
        let limits = self.config.limits;
        let commands = if self.deadlines.is_hurried() {
            limits.idle_commands_max.min(IDLE_COMMANDS_HURRIED_MAX)
        } else {
            limits.idle_commands_max
        };
        commands.saturating_add(recipients)
    }

    fn hello(&mut self, name: String, hello: Hello) {
        self.hello = Some(hello);
        self.transaction = None;
        self.chunks = None;
        let mut text = self.config.hostname.clone();
        if hello == Hello::Extended {
            self.push_extensions(&mut text);
        }
        Reply::plain(250, "").with_text(text).write_to(&mut self.output);
        self.events.push_back(Event::Hello { name, extended: hello == Hello::Extended });
    }

    fn push_extensions(&self, text: &mut String) {
        let offered = self.config.extensions;
        let tls = offered.starttls != StartTls::Off && !self.secured;
        for (_, line) in [
            (offered.pipelining, "\nPIPELINING"),
            (offered.eight_bit_mime, "\n8BITMIME"),
            (offered.smtputf8, "\nSMTPUTF8"),
            (offered.dsn, "\nDSN"),
            (offered.chunking, "\nCHUNKING"),
            (tls, "\nSTARTTLS"),
            (true, "\nENHANCEDSTATUSCODES"),
        ]
        .into_iter()
        .filter(|(offered, _)| *offered)
        {
            text.push_str(line);
        }
        if self.may_auth() {
            text.push_str("\nAUTH PLAIN LOGIN");
        }
        text.push_str("\nSIZE ");
        text.push_str(&self.config.limits.message_bytes_max.to_string());
    }

    fn tls_is_missing(&self) -> bool {
        self.config.extensions.starttls == StartTls::Required && !self.secured
    }

    fn start_tls(&mut self) {
        if self.secured {
            self.answer(&answers::TLS_ALREADY);
        } else if self.config.extensions.starttls == StartTls::Off {
            self.answer(&answers::NOT_OFFERED);
        } else if self.input.is_empty() {
            self.reset();
            answers::TLS_READY.write_to(&mut self.output);
            self.state = State::Handshake;
            self.events.push_back(Event::StartTls);
        } else {
            // What was sent in the clear must not be taken as if it came over TLS.
            self.close(&answers::TLS_PIPELINED, CloseReason::Violation);
        }
    }

    fn mail(&mut self, sender: ReversePath, params: MailParams) {
        let offered = self.config.extensions;
        let extended = self.hello == Some(Hello::Extended);
        let unknown = (params.smtputf8 && !offered.smtputf8)
            || (params.body.is_some() && !offered.eight_bit_mime)
            || ((params.ret.is_some() || params.envid.is_some()) && !offered.dsn)
            || (!extended && params != MailParams::default());
        let size_bytes = params.size_bytes.unwrap_or(0);
        if self.hello.is_none() {
            self.answer(&answers::HELLO_FIRST);
        } else if self.transaction.is_some() {
            self.answer(&answers::MAIL_TWICE);
        } else if self.messages >= self.config.limits.messages_max {
            self.close(&answers::ENOUGH, CloseReason::Refused);
        } else if unknown {
            self.answer(&answers::PARAMETER);
        } else if size_bytes > self.config.limits.message_bytes_max {
            self.answer(&answers::SIZE);
        } else if sender.needs_smtputf8() && !params.smtputf8 {
            self.answer(&answers::UTF8_UNASKED);
        } else {
            let smtputf8 = params.smtputf8;
            let transaction = Transaction { smtputf8, size_bytes, recipients: 0, refused: 0 };
            self.ask(Question::Mail(transaction), Event::Mail { sender, params });
        }
    }

    fn rcpt(&mut self, recipient: Mailbox, params: RcptParams) {
        let Some(open) = self.transaction else {
            self.answer(&answers::MAIL_FIRST);
            return;
        };
        let dsn = self.config.extensions.dsn && self.hello == Some(Hello::Extended);
        if params != RcptParams::default() && !dsn {
            self.answer(&answers::PARAMETER);
        } else if recipient.needs_smtputf8() && !open.smtputf8 {
            self.answer(&answers::UTF8_UNASKED);
        } else if self.chunks.is_some() {
            self.answer(&answers::CHUNKS_OPEN);
        } else if open.recipients >= self.config.limits.recipients_max {
            self.answer(&answers::TOO_MANY_RECIPIENTS);
        } else {
            self.ask(Question::Rcpt, Event::Rcpt { recipient, params });
        }
    }

    fn data(&mut self) {
        match self.data_refusal() {
            _ if self.chunks.is_some() => self.answer(&answers::CHUNKS_OPEN),
            Some(reply) => self.answer(&reply),
            None => self.ask(Question::Data, Event::Data),
        }
    }

    /// Why no message may come now. A transaction without a recipient ends here.
    pub(super) fn data_refusal(&mut self) -> Option<Reply> {
        match self.transaction {
            None => Some(answers::MAIL_FIRST),
            Some(Transaction { recipients: 0, refused: 0, .. }) => Some(answers::RCPT_FIRST),
            Some(Transaction { recipients: 0, .. }) => {
                self.reset();
                Some(answers::NO_RECIPIENTS)
            }
            Some(_) => None,
        }
    }
}
