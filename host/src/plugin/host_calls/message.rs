//! What a plugin may ask of its message and of the forks that it makes.

use ::message::edit::{Edited, Value};
use ::message::mail::{MailView, Part};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use wasmtime::component::Resource;

use super::super::bindings::wirepost::plugin::message_api;
use super::super::bindings::wirepost::plugin::types::{self as wit, Error};
use super::super::fault::Fault;
use super::super::judgement::Answers;
use super::super::limits::{NEEDLE_BYTES_MAX, NEEDLES_MAX, READ_BYTES_MAX, RECIPIENTS_MAX};
use super::super::session::Context;
use super::super::translate::{empty_envelope, lift, lower, lower_part, lower_value, narrow, size};
use super::super::verdict;
use super::super::words::sized;
use super::Message;

impl message_api::Host for Context {}

impl message_api::HostMessage for Context {
    fn envelope(&mut self, this: Message) -> wit::Envelope {
        self.envelope_of(&this).unwrap_or_else(empty_envelope)
    }

    fn recipients(&mut self, this: Message, offset: u32, max: u32) -> Vec<wit::Address> {
        let max = max.min(u32::try_from(RECIPIENTS_MAX).unwrap_or(u32::MAX));
        let page: Vec<_> = self.read(&this, |edited| {
            let all = edited.message().recipients.iter();
            all.skip(size(offset)).take(size(max)).map(|to| lower(&to.address)).collect()
        });
        self.copy(page.iter().map(|address: &wit::Address| address.value.len()).sum());
        page
    }

    fn set_source(&mut self, this: Message, source: wit::Address) -> Result<(), Error> {
        if !self.session()?.shared.config.grants.source {
            return Err(Error::Denied);
        }
        let source = lift(source)?;
        self.edit(&this, |edited| edited.set_sender(source))
    }

    fn set_recipients(&mut self, this: Message, to: Vec<wit::Address>) -> Result<(), Error> {
        self.copy(to.iter().map(|address| address.value.len()).sum());
        let to = to.into_iter().map(lift).collect::<Result<Vec<_>, _>>()?;
        self.check_recipients(&this, &to)?;
        self.edit(&this, |edited| edited.set_recipients(to))
    }

    fn replace_recipient(
        &mut self,
        this: Message,
        old: wit::Address,
        new: wit::Address,
    ) -> Result<(), Error> {
        self.copy(old.value.len().saturating_add(new.value.len()));
        let (old, new) = (lift(old)?, lift(new)?);
        self.check_recipients(&this, std::slice::from_ref(&new))?;
        self.edit(&this, |edited| edited.replace_recipient(&old, new))
    }

    fn text(&mut self, this: Message) -> Option<String> {
        let text = self.read(&this, |edited| edited.text().map(str::to_owned));
        self.copy(text.as_ref().map_or(0, String::len));
        text
    }

    fn set_text(&mut self, this: Message, text: String) -> Result<(), Error> {
        self.copy(text.len());
        self.edit_content(&this, text.len(), |edited| edited.set_text(&text))
    }

    fn header(&mut self, this: Message, name: String) -> Option<String> {
        self.copy(name.len());
        self.read(&this, |edited| edited.view()?.header(&name))
    }

    fn header_all(&mut self, this: Message, name: String) -> Vec<String> {
        self.copy(name.len());
        self.read(&this, |edited| edited.view().map(|view| view.header_all(&name)))
            .unwrap_or_default()
    }

    fn headers(&mut self, this: Message, offset: u32, max: u32) -> Vec<wit::Header> {
        self.read(&this, |edited| {
            let Some(view) = edited.view() else { return Vec::new() };
            let page = view.headers_from(size(offset)).take(size(max));
            page.map(|(name, value)| wit::Header { name: name.to_owned(), value }).collect()
        })
    }

    fn set_header(&mut self, this: Message, name: String, value: String) -> Result<(), Error> {
        let octets = name.len().saturating_add(value.len());
        self.edit_header(&this, octets, |edited| edited.set_header(&name, &value))
    }

    fn add_header(&mut self, this: Message, name: String, value: String) -> Result<(), Error> {
        let octets = name.len().saturating_add(value.len());
        self.edit_header(&this, octets, |edited| edited.add_header(&name, &value))
    }

    fn remove_header(&mut self, this: Message, name: String) -> Result<u32, Error> {
        self.copy(name.len());
        let there = self.read(&this, |edited| Some(edited.view()?.has_header(&name)));
        if there != Some(true) {
            return self.edit(&this, |edited| edited.remove_header(&name).map(narrow));
        }
        self.edit_content(&this, 0, |edited| edited.remove_header(&name).map(narrow))
    }

    fn parts(&mut self, this: Message) -> Vec<wit::Part> {
        let parts = self.read(&this, |edited| edited.view().map(MailView::parts));
        let parts = parts.unwrap_or_default();
        self.copy(parts.iter().map(named_octets).sum());
        parts.into_iter().map(lower_part).collect()
    }

    fn read_part(
        &mut self,
        this: Message,
        index: u32,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        let octets = self.part(&this, index)?;
        Ok(self.window(&octets, offset, max))
    }

    fn set_part(&mut self, this: Message, index: u32, data: Vec<u8>) -> Result<(), Error> {
        self.edit_content(&this, data.len(), |edited| edited.set_part(size(index), &data))
    }

    fn remove_part(&mut self, this: Message, index: u32) -> Result<(), Error> {
        self.edit_content(&this, 0, |edited| edited.remove_part(size(index)))
    }

    fn read_raw(&mut self, this: Message, offset: u64, max: u32) -> Vec<u8> {
        let octets = self.read(&this, Edited::received_bytes);
        self.window(&octets, offset, max)
    }

    fn find(&mut self, this: Message, needles: Vec<String>, ignore_case: bool) -> Vec<u32> {
        let octets: usize = needles.iter().map(String::len).sum();
        if needles.len() > NEEDLES_MAX || octets > NEEDLE_BYTES_MAX {
            // Not to have looked must not be as if nothing were there.
            if let Some(session) = &mut self.session {
                let most = format!("{NEEDLES_MAX} needles of {} together", sized(NEEDLE_BYTES_MAX));
                session.condemn(Fault::Output(format!("`find` looks for {most} at most")));
            }
            return Vec::new();
        }
        let (found, searched) = self.read(&this, |edited| {
            let texts = edited.texts(ignore_case);
            let found = Edited::find_in(texts, &needles, ignore_case);
            (found, texts.iter().map(String::len).sum::<usize>())
        });
        self.copy(searched.saturating_mul(needles.len()));
        found.into_iter().map(narrow).collect()
    }

    fn sha256(&mut self, this: Message, part: Option<u32>) -> Result<Vec<u8>, Error> {
        let octets = match part {
            Some(index) => self.part(&this, index)?,
            None => self.read(&this, Edited::received_bytes),
        };
        self.charge(octets.len());
        Ok(Sha256::digest(octets).to_vec())
    }

    fn field(&mut self, this: Message, key: String) -> wit::Value {
        self.copy(key.len());
        let value = self.read(&this, |edited| Some(edited.field(&key)));
        self.copy(value.as_ref().map_or(0, value_octets));
        lower_value(value)
    }

    fn fields(&mut self, this: Message, prefix: String) -> Vec<(String, wit::Value)> {
        self.copy(prefix.len());
        let fields = self.read(&this, |edited| edited.fields(&prefix));
        self.copy(fields.iter().map(|(key, value)| key.len() + value_octets(value)).sum());
        fields.into_iter().map(|(key, value)| (key, lower_value(Some(value)))).collect()
    }

    fn set_field(&mut self, this: Message, key: String, value: wit::Value) -> Result<(), Error> {
        let octets = match &value {
            wit::Value::None | wit::Value::Int(_) => 0,
            wit::Value::Text(text) => text.len(),
            wit::Value::Bytes(octets) => octets.len(),
        };
        self.copy(key.len().saturating_add(octets));
        if !self.session()?.spend(octets) {
            return Err(Error::TooLarge);
        }
        let value = match value {
            wit::Value::None => Value::None,
            wit::Value::Int(number) => Value::Int(number),
            wit::Value::Text(text) => Value::Text(text),
            wit::Value::Bytes(octets) => Value::Bytes(octets.into()),
        };
        self.edit(&this, |edited| edited.set_field(&key, &value))
    }

    fn meta(&mut self, this: Message, key: String) -> Option<String> {
        let note = self.read(&this, |edited| edited.note(&key).map(str::to_owned));
        self.copy(key.len().saturating_add(note.as_ref().map_or(0, String::len)));
        note
    }

    fn set_meta(&mut self, this: Message, key: String, value: Option<String>) -> Result<(), Error> {
        let octets = key.len().saturating_add(value.as_ref().map_or(0, String::len));
        self.copy(octets);
        if !self.session()?.spend(octets) {
            return Err(Error::TooLarge);
        }
        self.edit(&this, |edited| edited.set_note(&key, value.as_deref()))
    }

    fn fork(&mut self, this: Message, answers: u16) -> Result<Message, Error> {
        let answers = match answers {
            0 => Answers::Copy,
            1 => Answers::Share,
            _ => return Err(Error::Invalid),
        };
        let session = self.session()?;
        if session.forks_max() == 0 {
            return Err(Error::Denied);
        }
        session.fork(this.rep(), answers).map(Resource::new_own).ok_or(Error::Exhausted)
    }

    fn emit(&mut self, fork: Message, outcome: wit::Verdict) -> Result<u64, Error> {
        self.copy(verdict::octets(&outcome));
        let session = self.session()?;
        let grants = &session.shared.config.grants;
        let outcome = match verdict::read(outcome, grants, &*session.env) {
            Ok(outcome) => outcome,
            Err(fault) => {
                session.condemn(fault);
                return Err(Error::Invalid);
            }
        };
        // The message itself is lent, not owned: only forks can come here.
        session.held(fork.rep()).ok_or(Error::NotFound)?;
        let held = session.take(fork.rep()).ok_or(Error::NotFound)?;
        Ok(session.emit(held, outcome))
    }

    fn drop(&mut self, fork: Message) -> wasmtime::Result<()> {
        if let Some(session) = &mut self.session {
            drop(session.take(fork.rep()));
        }
        Ok(())
    }
}

impl Context {
    fn part(&mut self, message: &Message, index: u32) -> Result<Bytes, Error> {
        let held = self.session()?.held(message.rep()).ok_or(Error::NotFound)?;
        let octets = held.part(index);
        let worked = held.uncharged();
        self.charge(worked);
        octets.ok_or(Error::NotFound)
    }

    fn window(&mut self, octets: &[u8], offset: u64, max: u32) -> Vec<u8> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = octets.get(offset..).unwrap_or_default();
        let page = rest.get(..size(max.min(READ_BYTES_MAX))).unwrap_or(rest);
        self.copy(page.len());
        page.to_vec()
    }
}

fn value_octets(value: &Value) -> usize {
    match value {
        Value::None | Value::Int(_) => 0,
        Value::Text(text) => text.len(),
        Value::Bytes(octets) => octets.len(),
    }
}

fn named_octets(part: &Part) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    part.content_type.len() + optional(&part.charset) + optional(&part.filename)
}
