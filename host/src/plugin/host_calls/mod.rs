//! What a plugin may ask of the host, one function each. Edits go into the message under edit and
//! nowhere else.

mod message;
mod receipt;
mod services;

use ::message::Address;
use ::message::edit::{EditError, Edited};
use wasmtime::component::Resource;

use super::bindings::wirepost::plugin::types::{self as wit, Error};
use super::limits::{EDITED_HEADER_BYTES_MAX, RECIPIENTS_MAX};
use super::session::{Context, Session};
use super::translate::envelope;

/// A plugin's hold of the receipt that its call is about.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it within this folder")]
pub enum ReceiptHandle {}

type Receipt = Resource<ReceiptHandle>;

/// A plugin's hold of a message: its number stands for a message of the session.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it within this folder")]
pub enum Handle {}

type Message = Resource<Handle>;

impl Context {
    fn session(&mut self) -> Result<&mut Session, Error> {
        self.session.as_mut().filter(|session| session.has_message()).ok_or(Error::Unavailable)
    }

    /// Asks a message; what the answer costs is the plugin's.
    fn read<T: Default>(&mut self, message: &Message, read: impl FnOnce(&Edited) -> T) -> T {
        let held = self.session.as_mut().and_then(|session| session.held(message.rep()));
        let Some(held) = held else { return T::default() };
        let answer = read(&held.edited);
        let worked = held.uncharged();
        self.charge(worked);
        answer
    }

    fn edit<T>(
        &mut self,
        message: &Message,
        edit: impl FnOnce(&mut Edited) -> Result<T, EditError>,
    ) -> Result<T, Error> {
        let held = self.session()?.held(message.rep()).ok_or(Error::NotFound)?;
        let outcome = edit(&mut held.edited);
        let worked = held.uncharged();
        self.charge(worked);
        outcome.map_err(Error::from)
    }

    /// An edit of the content that writes so many octets.
    fn edit_content<T>(
        &mut self,
        message: &Message,
        octets: usize,
        edit: impl FnOnce(&mut Edited) -> Result<T, EditError>,
    ) -> Result<T, Error> {
        let session = self.session()?;
        if session.held(message.rep()).is_some() && !session.spend_on_content(message.rep(), octets)
        {
            return Err(Error::TooLarge);
        }
        self.edit(message, edit)
    }

    /// An edit of the header of a mail that adds at most so many octets to it.
    fn edit_header(
        &mut self,
        message: &Message,
        octets: usize,
        edit: impl FnOnce(&mut Edited) -> Result<(), EditError>,
    ) -> Result<(), Error> {
        let size = self.read(message, |edited| Some(edited.view()?.header_bytes().len()));
        let size = size.unwrap_or(0);
        if size.saturating_add(octets) > EDITED_HEADER_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        self.edit_content(message, octets, edit)
    }

    /// Recipients of the message itself are free to everybody, others by the granted patterns.
    fn check_recipients(&mut self, message: &Message, to: &[Address]) -> Result<(), Error> {
        if to.len() > RECIPIENTS_MAX {
            return Err(Error::Exhausted);
        }
        let session = self.session()?;
        let shared = std::sync::Arc::clone(&session.shared);
        session.held(message.rep()).ok_or(Error::NotFound)?;
        let patterns = &shared.config.grants.recipients;
        let granted = self.read(message, |edited| {
            to.iter().all(|address| {
                edited.is_recipient(address) || {
                    let address = address.normal();
                    patterns.iter().any(|pattern| pattern.matches(&address))
                }
            })
        });
        if granted { Ok(()) } else { Err(Error::Denied) }
    }

    pub(super) fn envelope_of(&mut self, message: &Message) -> Option<wit::Envelope> {
        let session = self.session.as_mut()?;
        let (stage, run) = (session.stage, session.run);
        session.held(message.rep())?;
        self.read(message, |edited| Some(envelope(edited, stage, run)))
    }
}

impl wit::Host for Context {}

#[cfg(test)]
mod costs;
#[cfg(test)]
mod tests;
