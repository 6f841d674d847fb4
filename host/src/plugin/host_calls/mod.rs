//! What a plugin may ask of the host, one function each. Edits go into the message under edit and
//! nowhere else.

use bytes::Bytes;
use message::Address;
use message::edit::{EditError, Edited, Value};
use message::mail::MailView;
use sha2::{Digest, Sha256};
use wasmtime::component::Resource;

use super::bindings::wirepost::plugin::types::{self as wit, Error};
use super::bindings::wirepost::plugin::{
    clock, kv, log, lookup, message_api, metrics, random, receipt_api, tables, targets,
};
use super::env::{Ask, Metric};
use super::fault::Fault;
use super::judgement::{Answers, SeenReceipt};
use super::kv::{Bucket, Clocks, expiry};
use super::limits::{
    ASK_KEY_BYTES_MAX, EDITED_HEADER_BYTES_MAX, NEEDLE_BYTES_MAX, NEEDLES_MAX, READ_BYTES_MAX,
    RECIPIENTS_MAX, SCAN_BYTES_A_TICK, WORK_BYTES_A_TICK,
};
use super::session::{Context, Session};
use super::translate::{
    empty_envelope, envelope, lift, lift_level, lower, lower_part, lower_value, narrow, size,
};
use super::verdict;

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

    fn read<T: Default>(&mut self, message: &Message, read: impl FnOnce(&Edited) -> T) -> T {
        let held = self.session.as_mut().and_then(|session| session.held(message.rep()));
        held.map_or_else(T::default, |held| read(&held.edited))
    }

    fn edit<T>(
        &mut self,
        message: &Message,
        edit: impl FnOnce(&mut Edited) -> Result<T, EditError>,
    ) -> Result<T, Error> {
        let held = self.session()?.held(message.rep()).ok_or(Error::NotFound)?;
        edit(&mut held.edited).map_err(Error::from)
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
        let outcome = self.edit(message, edit);
        let copied = self.read(message, |edited| edited.message().content.size_bytes());
        self.spend_ticks(copied / SCAN_BYTES_A_TICK);
        outcome
    }

    /// Octets that the host went through for the guest.
    fn work(&mut self, octets: usize) {
        self.spend_ticks(octets / WORK_BYTES_A_TICK);
    }

    fn part(&mut self, message: &Message, index: u32) -> Result<Bytes, Error> {
        let held = self.session()?.held(message.rep()).ok_or(Error::NotFound)?;
        let (octets, decoded) = held.part(index).ok_or(Error::NotFound)?;
        if decoded {
            self.work(octets.len());
        }
        Ok(octets)
    }

    /// An edit of the header of a mail that adds at most so many octets to it.
    fn edit_header(
        &mut self,
        message: &Message,
        octets: usize,
        edit: impl FnOnce(&mut Edited) -> Result<(), EditError>,
    ) -> Result<(), Error> {
        let header = self.read(message, |edited| edited.view().map(MailView::header_bytes));
        let size = header.map_or(0, |header| header.len());
        if size.saturating_add(octets) > EDITED_HEADER_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        self.edit_content(message, octets, edit)
    }

    /// Recipients of the message itself are free to everybody, others by the granted patterns.
    fn check_recipients(&mut self, message: &Message, to: &[Address]) -> Result<(), Error> {
        let session = self.session()?;
        let shared = std::sync::Arc::clone(&session.shared);
        let held = session.held(message.rep()).ok_or(Error::NotFound)?;
        let known = &held.edited.message().recipients;
        let granted = |address: &Address| {
            known.iter().any(|recipient| recipient.address == *address)
                || shared.config.grants.recipients.iter().any(|pattern| pattern.matches(address))
        };
        if to.len() > RECIPIENTS_MAX {
            return Err(Error::Exhausted);
        }
        if to.iter().all(granted) { Ok(()) } else { Err(Error::Denied) }
    }

    pub(super) fn envelope_of(&mut self, message: &Message) -> Option<wit::Envelope> {
        let session = self.session.as_mut()?;
        let (stage, run) = (session.stage, session.run);
        Some(envelope(&session.held(message.rep())?.edited, stage, run))
    }
}

impl message_api::Host for Context {}

impl message_api::HostMessage for Context {
    fn envelope(&mut self, this: Message) -> wit::Envelope {
        self.envelope_of(&this).unwrap_or_else(empty_envelope)
    }

    fn recipients(&mut self, this: Message, offset: u32, max: u32) -> Vec<wit::Address> {
        let max = max.min(u32::try_from(RECIPIENTS_MAX).unwrap_or(u32::MAX));
        self.read(&this, |edited| {
            let all = edited.message().recipients.iter();
            all.skip(size(offset)).take(size(max)).map(|to| lower(&to.address)).collect()
        })
    }

    fn set_source(&mut self, this: Message, source: wit::Address) -> Result<(), Error> {
        if !self.session()?.shared.config.grants.source {
            return Err(Error::Denied);
        }
        let source = lift(source)?;
        self.edit(&this, |edited| edited.set_sender(source))
    }

    fn set_recipients(&mut self, this: Message, to: Vec<wit::Address>) -> Result<(), Error> {
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
        let (old, new) = (lift(old)?, lift(new)?);
        self.check_recipients(&this, std::slice::from_ref(&new))?;
        self.edit(&this, |edited| edited.replace_recipient(&old, new))
    }

    fn text(&mut self, this: Message) -> Option<String> {
        self.read(&this, |edited| edited.text().map(str::to_owned))
    }

    fn set_text(&mut self, this: Message, text: String) -> Result<(), Error> {
        self.edit_content(&this, text.len(), |edited| edited.set_text(&text))
    }

    fn header(&mut self, this: Message, name: String) -> Option<String> {
        self.read(&this, |edited| edited.view()?.header(&name))
    }

    fn header_all(&mut self, this: Message, name: String) -> Vec<String> {
        self.read(&this, |edited| edited.view().map(|view| view.header_all(&name)))
            .unwrap_or_default()
    }

    fn headers(&mut self, this: Message, offset: u32, max: u32) -> Vec<wit::Header> {
        self.read(&this, |edited| {
            let Some(view) = edited.view() else { return Vec::new() };
            let page = view.headers().skip(size(offset)).take(size(max));
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
        let there = self.read(&this, |edited| edited.view()?.header(&name)).is_some();
        if !there {
            return self.edit(&this, |edited| edited.remove_header(&name).map(narrow));
        }
        self.edit_content(&this, 0, |edited| edited.remove_header(&name).map(narrow))
    }

    fn parts(&mut self, this: Message) -> Vec<wit::Part> {
        // Their sizes are counted in the octets of the mail.
        let counted = self.read(&this, |edited| edited.message().content.size_bytes());
        self.work(counted);
        self.read(&this, |edited| {
            edited.view().map(|view| view.parts().into_iter().map(lower_part).collect())
        })
        .unwrap_or_default()
    }

    fn read_part(
        &mut self,
        this: Message,
        index: u32,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        Ok(window(&self.part(&this, index)?, offset, max))
    }

    fn set_part(&mut self, this: Message, index: u32, data: Vec<u8>) -> Result<(), Error> {
        self.edit_content(&this, data.len(), |edited| edited.set_part(size(index), &data))
    }

    fn remove_part(&mut self, this: Message, index: u32) -> Result<(), Error> {
        self.edit_content(&this, 0, |edited| edited.remove_part(size(index)))
    }

    fn read_raw(&mut self, this: Message, offset: u64, max: u32) -> Vec<u8> {
        window(&self.read(&this, Edited::received_bytes), offset, max)
    }

    fn find(&mut self, this: Message, needles: Vec<String>, ignore_case: bool) -> Vec<u32> {
        let octets: usize = needles.iter().map(String::len).sum();
        if needles.len() > NEEDLES_MAX || octets > NEEDLE_BYTES_MAX {
            // Not to have looked must not be as if nothing were there.
            if let Some(session) = &mut self.session {
                let most = format!("{NEEDLES_MAX} needles of {NEEDLE_BYTES_MAX} octets together");
                session.condemn(Fault::Output(format!("`find` looks for {most} at most")));
            }
            return Vec::new();
        }
        let texts = self.read(&this, |edited| edited.texts(ignore_case));
        let searched: usize = texts.iter().map(String::len).sum();
        let size = self.read(&this, |edited| edited.message().content.size_bytes());
        self.work(size);
        self.spend_ticks(searched.saturating_mul(needles.len()) / SCAN_BYTES_A_TICK);
        Edited::find_in(&texts, &needles, ignore_case).into_iter().map(narrow).collect()
    }

    fn sha256(&mut self, this: Message, part: Option<u32>) -> Result<Vec<u8>, Error> {
        let octets = match part {
            Some(index) => self.part(&this, index)?,
            None => self.read(&this, Edited::received_bytes),
        };
        self.work(octets.len());
        Ok(Sha256::digest(octets).to_vec())
    }

    fn field(&mut self, this: Message, key: String) -> wit::Value {
        lower_value(self.read(&this, |edited| Some(edited.field(&key))))
    }

    fn fields(&mut self, this: Message, prefix: String) -> Vec<(String, wit::Value)> {
        let fields = self.read(&this, |edited| edited.fields(&prefix));
        fields.into_iter().map(|(key, value)| (key, lower_value(Some(value)))).collect()
    }

    fn set_field(&mut self, this: Message, key: String, value: wit::Value) -> Result<(), Error> {
        let octets = match &value {
            wit::Value::None | wit::Value::Int(_) => 0,
            wit::Value::Text(text) => text.len(),
            wit::Value::Bytes(octets) => octets.len(),
        };
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
        self.read(&this, |edited| edited.note(&key).map(str::to_owned))
    }

    fn set_meta(&mut self, this: Message, key: String, value: Option<String>) -> Result<(), Error> {
        let octets = key.len().saturating_add(value.as_ref().map_or(0, String::len));
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

impl wit::Host for Context {}

impl log::Host for Context {
    fn enabled(&mut self, level: log::Level) -> bool {
        let level = lift_level(level);
        self.session.as_ref().is_some_and(|session| session.env.log_enabled(level))
    }

    fn write(&mut self, level: log::Level, text: String, fields: Vec<(String, String)>) {
        if let Some(session) = &mut self.session {
            session.log(lift_level(level), &text, &fields);
        }
    }
}

impl kv::Host for Context {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let session = self.session()?;
        Ok(session.kv.get(&*session.env, &key).await?)
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<(), Error> {
        let session = self.session()?;
        let expires = expiry(session.now(), ttl_ms);
        Ok(session.kv.set(&*session.env, &key, value, expires).await?)
    }

    async fn set_if_absent(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, Error> {
        let session = self.session()?;
        let expires = expiry(session.now(), ttl_ms);
        Ok(session.kv.set_if_absent(&*session.env, &key, value, expires).await?)
    }

    async fn delete(&mut self, key: String) -> Result<bool, Error> {
        let session = self.session()?;
        Ok(session.kv.delete(&*session.env, &key).await?)
    }

    fn add(&mut self, key: String, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        let session = self.session()?;
        let now = session.now();
        Ok(session.kv.counters().add(&key, by, now, expiry(now, ttl_ms))?)
    }

    fn take(&mut self, key: String, per_second: f64, burst: f64, cost: f64) -> Result<(), u64> {
        let Ok(session) = self.session() else { return Err(0) };
        let clocks = Clocks { now: session.now(), monotonic: session.env.monotonic() };
        let taken = session.kv.counters().take(&key, Bucket { per_second, burst, cost }, clocks);
        taken.map_err(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

impl metrics::Host for Context {
    fn add(&mut self, name: String, by: u64) {
        self.metric(&name, Metric::Add(by));
    }

    fn gauge(&mut self, name: String, value: f64) {
        self.metric(&name, Metric::Gauge(value));
    }

    fn observe(&mut self, name: String, value: f64) {
        self.metric(&name, Metric::Observe(value));
    }
}

impl Context {
    /// Names are kept to what a metrics page can print.
    fn metric(&mut self, name: &str, metric: Metric) {
        let printable = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let usable = (1..=64).contains(&name.len()) && name.chars().all(printable);
        if let (true, Some(session)) = (usable, &self.session)
            && session.shared.keeps_metric(name)
        {
            session.env.metric(&session.shared.config.name, name, metric);
        }
    }
}

impl tables::Host for Context {
    fn lookup(&mut self, table: String, key: String) -> Option<String> {
        Some(self.session.as_ref()?.env.lookup(&table, &key)?.to_string())
    }

    fn lookup_prefix(&mut self, table: String, key: String) -> Option<(String, String)> {
        let (prefix, value) = self.session.as_ref()?.env.lookup_prefix(&table, &key)?;
        Some((prefix, value.to_string()))
    }

    fn lookup_ip(&mut self, table: String, ip: String) -> Option<String> {
        let address = ip.parse().ok()?;
        Some(self.session.as_ref()?.env.lookup_ip(&table, address)?.to_string())
    }
}

impl targets::Host for Context {
    fn state(&mut self, name: String) -> Option<targets::TargetState> {
        let session = self.session.as_ref()?;
        if !session.shared.config.grants.targets.iter().any(|granted| **granted == *name) {
            return None;
        }
        let state = session.env.target(&name)?;
        let (up, queued, per_second) = (state.up, state.queued, state.per_second);
        Some(targets::TargetState { name, up, queued, per_second })
    }
}

impl lookup::Host for Context {
    fn ask(&mut self, name: String, key: String) -> Result<u32, Error> {
        let session = self.session()?;
        if key.len() > ASK_KEY_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        // A key of dots alone would lead to another place of a path.
        if key.bytes().all(|octet| octet == b'.') || key.chars().any(char::is_control) {
            return Err(Error::Invalid);
        }
        if !session.env.knows_lookup(&name) {
            return Err(Error::NotFound);
        }
        session.ask(Ask { name: name.into(), key: key.into() }).ok_or(Error::Exhausted)
    }
}

impl clock::Host for Context {
    fn now_ms(&mut self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.env.now().as_ms())
    }

    fn monotonic_ns(&mut self) -> u64 {
        let now = self.session.as_ref().map(|session| session.env.monotonic().as_nanos());
        now.map_or(0, |ns| u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

impl random::Host for Context {
    fn next(&mut self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.env.random())
    }

    fn bytes(&mut self, count: u32) -> Vec<u8> {
        const BYTES_MAX: u32 = 1024;
        let count = size(count.min(BYTES_MAX));
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&random::Host::next(self).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

impl receipt_api::Host for Context {}

impl receipt_api::HostReceipt for Context {
    fn message_id(&mut self, _this: Receipt) -> u64 {
        self.receipt().map_or(0, |receipt| receipt.message.as_u64())
    }

    fn recipient(&mut self, _this: Receipt) -> wit::Address {
        let empty = || wit::Address { value: String::new(), kind: 1, ton: 0, npi: 0 };
        self.receipt().map_or_else(empty, |receipt| lower(&receipt.recipient))
    }

    fn target(&mut self, _this: Receipt) -> String {
        self.receipt().map(|receipt| receipt.target.to_string()).unwrap_or_default()
    }

    fn state(&mut self, _this: Receipt) -> u16 {
        self.receipt().map_or(0, |receipt| u16::from(receipt.state))
    }

    /// The book of receipts keeps no notes of messages.
    fn meta(&mut self, _this: Receipt, _key: String) -> Option<String> {
        None
    }

    fn field(&mut self, _this: Receipt, key: String) -> wit::Value {
        let text = self.receipt().and_then(|receipt| match &*key {
            "receipt.error" => Some(receipt.error.to_string()),
            "receipt.text" => Some(receipt.text.to_string()),
            _ => None,
        });
        text.filter(|text| !text.is_empty()).map_or(wit::Value::None, wit::Value::Text)
    }

    fn drop(&mut self, _this: Receipt) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl Context {
    fn receipt(&self) -> Option<&SeenReceipt> {
        self.session.as_ref()?.receipt.as_ref()
    }
}

fn window(octets: &[u8], offset: u64, max: u32) -> Vec<u8> {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = octets.get(offset..).unwrap_or_default();
    rest.get(..size(max.min(READ_BYTES_MAX))).unwrap_or(rest).to_vec()
}

#[cfg(test)]
mod tests;
