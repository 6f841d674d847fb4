//! AUTH PLAIN and LOGIN (RFC 4954, RFC 4616).

use super::{Auth, Event, Hello, Question, ServerSession, State, answers};
use crate::{Credentials, base64};

/// What the next line of the peer is.
#[derive(Debug, Default)]
pub(super) enum AuthStep {
    /// The response of PLAIN.
    #[default]
    Plain,
    /// The user name of LOGIN.
    LoginUser,
    /// The password of LOGIN.
    LoginPassword(String),
}

impl ServerSession {
    /// Whether AUTH is offered on this connection as it is now.
    pub(super) fn may_auth(&self) -> bool {
        match self.config.extensions.auth {
            Auth::Off => false,
            Auth::OverTls => self.secured,
            Auth::Always => true,
        }
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) {
        if self.config.extensions.auth == Auth::Off {
            self.answer(&answers::NOT_OFFERED);
        } else if !self.may_auth() {
            self.answer(&answers::AUTH_NEEDS_TLS);
        } else if self.hello != Some(Hello::Extended) {
            self.answer(&answers::HELLO_FIRST);
        } else if self.authenticated {
            self.answer(&answers::AUTH_TWICE);
        } else if self.transaction.is_some() {
            self.answer(&answers::MAIL_TWICE);
        } else {
            self.begin_auth(mechanism, initial);
        }
    }

    fn begin_auth(&mut self, mechanism: &str, initial: Option<&str>) {
        let (step, challenge) = match mechanism {
            "PLAIN" => (AuthStep::Plain, &answers::AUTH_PLAIN),
            "LOGIN" => (AuthStep::LoginUser, &answers::AUTH_USER),
            _ => {
                self.answer(&answers::AUTH_MECHANISM);
                return;
            }
        };
        match initial {
            // A lone `=` is an empty response.
            Some("=") => self.auth_response(step, b""),
            Some(response) => self.auth_response(step, response.as_bytes()),
            None => {
                self.answer(challenge);
                self.state = State::Auth(step);
            }
        }
    }

    /// Takes a response, still in base64.
    pub(super) fn auth_response(&mut self, step: AuthStep, response: &[u8]) {
        self.state = State::Command;
        if response == b"*" {
            self.answer(&answers::AUTH_CANCELLED);
            return;
        }
        let decoded = std::str::from_utf8(response).ok().and_then(base64::decode);
        let Some(text) = decoded.and_then(|octets| String::from_utf8(octets).ok()) else {
            self.answer(&answers::AUTH_SYNTAX);
            return;
        };
        match step {
            AuthStep::Plain => match plain(&text) {
                Some(credentials) => self.ask(Question::Auth, Event::Auth(credentials)),
                None => self.answer(&answers::AUTH_SYNTAX),
            },
            AuthStep::LoginUser => {
                self.answer(&answers::AUTH_PASSWORD);
                self.state = State::Auth(AuthStep::LoginPassword(text));
            }
            AuthStep::LoginPassword(user) => {
                self.ask(Question::Auth, Event::Auth(Credentials { user, password: text }));
            }
        }
    }
}

/// `authorization NUL user NUL password`; who acts for another than himself is refused.
fn plain(text: &str) -> Option<Credentials> {
    let mut words = text.split('\0');
    let (acts_for, user, password) = (words.next()?, words.next()?, words.next()?);
    let fits = words.next().is_none() && (acts_for.is_empty() || acts_for == user);
    fits.then(|| Credentials { user: user.to_owned(), password: password.to_owned() })
}
