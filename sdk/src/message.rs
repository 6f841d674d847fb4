//! The message that a plugin looks at and edits.

use std::cell::OnceCell;

use crate::backend::Handle;
use crate::{Address, Content, Envelope, Error, Header, Part, Value, Verdict};

/// Octets that [`Message::part`] and [`Message::raw`] read at a time.
const READ_BYTES: u32 = 64 * 1024;

/// What the origin hears of a fork.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answers {
    /// Nothing: the fork is a copy whose outcome concerns nobody.
    Copy,
    /// The fork's outcome is folded into the origin's answer.
    Share,
}

/// A message. Its body stays in the host and is read piece by piece; edits are kept aside and count only when
/// the plugin returns `Ok`: a panic, a timeout or an error throws all of them away.
#[derive(Debug)]
pub struct Message<'a> {
    /// Everything small, as it was when the call began.
    pub env: Envelope,
    handle: Handle<'a>,
    text: OnceCell<String>,
}

impl<'a> Message<'a> {
    pub(crate) fn new(handle: Handle<'a>, env: Envelope) -> Self {
        let text = env.text.clone().map_or_else(OnceCell::new, OnceCell::from);
        Self { env, handle, text }
    }

    /// The sender as it came in.
    #[must_use]
    pub const fn source(&self) -> &Address {
        &self.env.source
    }

    /// The sender from now on.
    ///
    /// # Errors
    /// [`Error::Denied`] without the grant `source`, [`Error::Invalid`] for an address that cannot send.
    pub fn set_source(&mut self, source: impl Into<Address>) -> Result<(), Error> {
        let source = source.into();
        self.handle.set_source(&source)?;
        self.env.source = source;
        Ok(())
    }

    /// All recipients, edits included.
    #[must_use]
    pub fn recipients(&self) -> Vec<Address> {
        let mut all = Vec::new();
        loop {
            let offset = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let page = self.handle.recipients(offset, 256);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// The recipients from now on. One that is kept keeps its wishes (NOTIFY, registered delivery); a
    /// new one has those of the first that is not kept, else of the first.
    ///
    /// # Errors
    /// [`Error::Denied`] for one outside the granted patterns, [`Error::Exhausted`] over 1,000,
    /// [`Error::Invalid`] for none or for one that cannot be an address.
    pub fn set_recipients<A: Into<Address>>(
        &mut self,
        to: impl IntoIterator<Item = A>,
    ) -> Result<(), Error> {
        let to: Vec<Address> = to.into_iter().map(Into::into).collect();
        self.handle.set_recipients(&to)
    }

    /// Puts `new` in the place of `old`, with the same wishes and `old` as the original recipient.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `old` is not a recipient, else as [`Message::set_recipients`].
    pub fn replace_recipient(
        &mut self,
        old: &Address,
        new: impl Into<Address>,
    ) -> Result<(), Error> {
        self.handle.replace_recipient(old, &new.into())
    }

    /// The text of a short message, or of the best text part of a mail; empty if there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| {
            if self.env.text_bytes == 0 {
                String::new()
            } else {
                self.handle.text().unwrap_or_default()
            }
        })
    }

    /// The text from now on. A mail loses its HTML alternative; for a short message the alphabet and the
    /// parts are chosen anew.
    ///
    /// # Errors
    /// [`Error::Invalid`] for binary content and single parts, [`Error::TooLarge`] over the output limit.
    pub fn set_text(&mut self, text: impl Into<String>) -> Result<(), Error> {
        let text = text.into();
        self.handle.set_text(&text)?;
        self.env.text_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.text = OnceCell::from(text);
        Ok(())
    }

    /// The subject of a mail, edits included.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        if self.env.content == Content::Mail { self.header("Subject") } else { None }
    }

    /// The first header of that name, unfolded and decoded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.handle.header(name)
    }

    /// Every header of that name.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<String> {
        self.handle.header_all(name)
    }

    /// All headers in order.
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        let mut all = Vec::new();
        loop {
            let offset = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let page = self.handle.headers(offset, 128);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// One header of that name with this value; others of the name go.
    ///
    /// # Errors
    /// [`Error::Invalid`] if this is not a mail or the name is not one.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.handle.set_header(name, value)
    }

    /// One more header.
    ///
    /// # Errors
    /// As [`Message::set_header`].
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.handle.add_header(name, value)
    }

    /// Removes every header of that name and says how many there were.
    ///
    /// # Errors
    /// As [`Message::set_header`].
    pub fn remove_header(&mut self, name: &str) -> Result<u32, Error> {
        self.handle.remove_header(name)
    }

    /// The MIME parts of a mail.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        self.handle.parts()
    }

    /// At most `max` decoded octets of a part from `offset` on.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such part.
    pub fn read_part(&self, index: u32, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        self.handle.read_part(index, offset, max)
    }

    /// All decoded octets of a part. Mind the memory that the operator gave the plugin.
    ///
    /// # Errors
    /// As [`Message::read_part`].
    pub fn part(&self, index: u32) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        loop {
            let page = self.handle.read_part(index, all.len() as u64, READ_BYTES)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// New content for a part; its type stays.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] if it cannot be replaced, [`Error::TooLarge`].
    pub fn set_part(&mut self, index: u32, data: &[u8]) -> Result<(), Error> {
        self.handle.set_part(index, data)
    }

    /// Removes a part. The others keep their content, not their index.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] if it cannot be removed.
    pub fn remove_part(&mut self, index: u32) -> Result<(), Error> {
        self.handle.remove_part(index)
    }

    /// All octets as received.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let page = self.handle.read_raw(all.len() as u64, READ_BYTES);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Which of these needles stand in the subject or any text part. The search runs in the host: on long
    /// texts it is many times faster than one in the plugin.
    #[must_use]
    pub fn find(&self, needles: &[&str], ignore_case: bool) -> Vec<usize> {
        self.handle.find(needles, ignore_case).into_iter().map(|index| index as usize).collect()
    }

    /// SHA-256 of a part, or of the whole message as received.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such part.
    pub fn sha256(&self, part: Option<u32>) -> Result<Vec<u8>, Error> {
        self.handle.sha256(part)
    }

    /// A protocol field by its key, such as `smpp.data_coding` or `smpp.tlv.0x1403`.
    #[must_use]
    pub fn field(&self, key: &str) -> Value {
        self.handle.field(key)
    }

    /// All fields whose key starts with `prefix`; repeated TLVs in wire order.
    #[must_use]
    pub fn fields(&self, prefix: &str) -> Vec<(String, Value)> {
        self.handle.fields(prefix)
    }

    /// A new value for a protocol field; [`Value::None`] removes it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown key, [`Error::Invalid`] for a value that the field cannot have,
    /// [`Error::Denied`] for one that plugins may only read.
    pub fn set_field(&mut self, key: &str, value: impl Into<Value>) -> Result<(), Error> {
        self.handle.set_field(key, &value.into())
    }

    /// A note that an earlier plugin, or an earlier run, left on this message.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<String> {
        self.handle.meta(key)
    }

    /// Leaves a note on this message for later plugins, the route tables and the log; `None` removes it.
    ///
    /// # Errors
    /// [`Error::Exhausted`] over 64 notes, [`Error::TooLarge`] over 4 KiB each.
    pub fn set_meta(&mut self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.handle.set_meta(key, value)
    }

    /// A copy of the message with the edits so far. It is dropped unless [`Message::emit`]ted.
    ///
    /// # Errors
    /// [`Error::Denied`] without the grant `fork`, [`Error::Exhausted`] over 32 forks a call.
    pub fn fork(&mut self, answers: Answers) -> Result<Message<'static>, Error> {
        let handle = self.handle.fork(match answers {
            Answers::Copy => 0,
            Answers::Share => 1,
        })?;
        let env = handle.envelope();
        Ok(Message::new(handle, env))
    }
}

impl Message<'static> {
    /// Sends the fork on its way with a verdict of its own; only the plugins after this one see it. Returns
    /// its number among the forks of this call, from 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a verdict that the host does not know, [`Error::Exhausted`] over the limits.
    pub fn emit(self, outcome: Verdict) -> Result<u64, Error> {
        Handle::emit(self.handle, outcome)
    }
}
