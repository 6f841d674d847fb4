//! A message under edit: what a plugin sees and changes. The host and the plugin SDK's native tests
//! share it, so that both mean the same by every edit. The message it starts from is never touched.

mod field;

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::address::{Address, AddressKind};
use crate::content::{Content, ESM_UDHI, Short, ShortBody};
use crate::mail::{self, COPIED_FOR_ONE_READ, MailEditor, MailView};
use crate::message::{Message, Recipient, Wish};
use crate::text::{Alphabet, Coding, Shift, Udh, meaning};

pub use field::Value;

/// Recipients that an edit may give a message.
pub const RECIPIENTS_MAX: usize = 1000;
/// Octets of an address (RFC 5321 §4.5.3.1 allows 64 and 255 around the `@`).
pub const ADDRESS_BYTES_MAX: usize = 320;
/// Notes on a message.
pub const NOTES_MAX: usize = 64;
/// Octets of the key of a note.
pub const NOTE_KEY_BYTES_MAX: usize = 128;
/// Octets of a note.
pub const NOTE_BYTES_MAX: usize = 4096;
/// Octets of a text that an edit sets.
pub const TEXT_BYTES_MAX: usize = mail::TEXT_OCTETS_MAX;
/// Octets of a message that are searched for needles.
pub const SEARCHED_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;
/// The field, and the note, that holds the text of the SMS that a mail becomes, at most
/// [`NOTE_BYTES_MAX`] octets.
pub const CONVERT_TEXT: &str = "convert.text";

/// Octets read to find an address among others.
const ADDRESS_OCTETS: usize = 32;

/// Why an edit was not made. The message is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no such recipient, part or field.
    #[error("there is no such thing in this message")]
    NotFound,
    /// It may be read only.
    #[error("this may only be read")]
    Denied,
    /// Over a limit of size.
    #[error("it is too large")]
    TooLarge,
    /// Not possible for this kind of message, or not well formed.
    #[error("this message cannot be changed so")]
    Invalid,
    /// Over a limit of number.
    #[error("there are too many of them")]
    Exhausted,
}

impl From<mail::EditError> for EditError {
    fn from(error: mail::EditError) -> Self {
        match error {
            mail::EditError::NoPart(_) => Self::NotFound,
            mail::EditError::Name(_)
            | mail::EditError::Value(_)
            | mail::EditError::Multipart(_)
            | mail::EditError::OnlyPart(_)
            | mail::EditError::Boundary(_) => Self::Invalid,
        }
    }
}

/// What the content of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mail.
    Mail,
    /// A short message of text.
    Text,
    /// A short message of octets.
    Binary,
    /// One part of a concatenated short message.
    Part,
}

/// A message and the edits made to it so far.
#[derive(Debug)]
pub struct Edited {
    base: Arc<Message>,
    now: Arc<Message>,
    view: OnceCell<MailView>,
    short_text: OnceCell<Option<String>>,
    /// The texts that are searched, as they are and in lower case.
    texts: [OnceCell<Vec<String>>; 2],
    received: OnceCell<Bytes>,
    /// Where each recipient stands.
    places: OnceCell<BTreeMap<Address, usize>>,
    /// Octets that edits, and views that are gone, have cost.
    worked: Cell<u64>,
}

impl Clone for Edited {
    fn clone(&self) -> Self {
        Self { now: Arc::clone(&self.now), ..Self::new(Arc::clone(&self.base)) }
    }
}

impl Edited {
    /// Nothing is changed yet.
    #[must_use]
    pub fn new(message: Arc<Message>) -> Self {
        let now = Arc::clone(&message);
        Self {
            base: message,
            now,
            view: OnceCell::new(),
            short_text: OnceCell::new(),
            texts: [OnceCell::new(), OnceCell::new()],
            received: OnceCell::new(),
            places: OnceCell::new(),
            worked: Cell::new(0),
        }
    }

    /// Octets that were read, parsed, decoded or put together for all questions and edits so far: what they
    /// cost, on any machine. Octets that are only copied count for a quarter.
    #[must_use]
    pub fn worked(&self) -> u64 {
        self.worked.get().saturating_add(self.view.get().map_or(0, MailView::worked))
    }

    fn work(&self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.worked.set(self.worked.get().saturating_add(octets));
    }

    /// The message as edited so far.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.now
    }

    /// The edited message; `None` if nothing was changed.
    #[must_use]
    pub fn into_changed(self) -> Option<Arc<Message>> {
        (!Arc::ptr_eq(&self.base, &self.now)).then_some(self.now)
    }

    /// The message, edited or not.
    #[must_use]
    pub fn into_message(self) -> Arc<Message> {
        self.now
    }

    /// Octets of content that edits have written; 0 if the content is the original's.
    #[must_use]
    pub fn written_bytes(&self) -> usize {
        if Arc::ptr_eq(&self.base, &self.now) || self.base.content == self.now.content {
            return 0;
        }
        self.now.content.size_bytes()
    }

    /// What the content is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let Content::Short(short) = &self.now.content else { return Kind::Mail };
        if field::concat(short).is_some() {
            return Kind::Part;
        }
        match coded_text(short) {
            Some(_) => Kind::Text,
            None if matches!(short.body, ShortBody::Text(_)) => Kind::Text,
            None => Kind::Binary,
        }
    }

    /// The sender from now on.
    ///
    /// # Errors
    /// [`EditError::Invalid`] for what cannot be an address.
    pub fn set_sender(&mut self, sender: Address) -> Result<(), EditError> {
        check_address(&sender, true)?;
        if self.now.sender != sender {
            self.change().sender = sender;
        }
        Ok(())
    }

    /// The recipients from now on. One that is kept keeps its wishes, a new one has those of the
    /// first that is not kept, else of the first; a repeated one counts once.
    ///
    /// # Errors
    /// [`EditError::Invalid`] for none or for what cannot be an address, [`EditError::Exhausted`]
    /// for more than [`RECIPIENTS_MAX`].
    pub fn set_recipients(
        &mut self,
        to: impl IntoIterator<Item = Address>,
    ) -> Result<(), EditError> {
        let to: Vec<Address> = to.into_iter().collect();
        let before = &self.now.recipients;
        self.work(to.len().saturating_add(before.len()).saturating_mul(ADDRESS_OCTETS));
        let wanted: BTreeSet<&Address> = to.iter().collect();
        let replaced = before.iter().find(|known| !wanted.contains(&known.address));
        let wish = replaced.or_else(|| before.first()).map_or(Wish::FAILURE, |it| it.wish);
        let mut recipients: Vec<Recipient> = Vec::new();
        let mut taken: BTreeSet<&Address> = BTreeSet::new();
        for address in &to {
            check_address(address, false)?;
            if !taken.insert(address) {
                continue;
            }
            if recipients.len() == RECIPIENTS_MAX {
                return Err(EditError::Exhausted);
            }
            let kept = self.place(address).and_then(|at| before.get(at));
            recipients.push(kept.cloned().unwrap_or_else(|| Recipient::new(address.clone(), wish)));
        }
        if recipients.is_empty() {
            return Err(EditError::Invalid);
        }
        if self.now.recipients != recipients {
            self.change().recipients = recipients;
            self.places = OnceCell::new();
        }
        Ok(())
    }

    /// Whether the message goes to this address.
    #[must_use]
    pub fn is_recipient(&self, address: &Address) -> bool {
        self.place(address).is_some()
    }

    /// Where a recipient stands, the first time if it does so twice.
    fn place(&self, address: &Address) -> Option<usize> {
        let places = self.places.get_or_init(|| {
            let recipients = &self.now.recipients;
            self.work(recipients.len().saturating_mul(ADDRESS_OCTETS));
            let places = recipients.iter().enumerate().rev();
            places.map(|(at, recipient)| (recipient.address.normal().into_owned(), at)).collect()
        });
        self.work(ADDRESS_OCTETS);
        places.get(&*address.normal()).copied()
    }

    /// Puts `new` in the place of `old`, with its wishes and `old` as the original recipient.
    ///
    /// # Errors
    /// [`EditError::NotFound`] if `old` is not a recipient, [`EditError::Invalid`] if `new` cannot
    /// be one or is one already.
    pub fn replace_recipient(&mut self, old: &Address, new: Address) -> Result<(), EditError> {
        check_address(&new, false)?;
        let at = self.place(old).ok_or(EditError::NotFound)?;
        if old.normal() == new.normal() {
            return Ok(());
        }
        if self.is_recipient(&new) {
            return Err(EditError::Invalid);
        }
        let recipient = self.change().recipients.get_mut(at).ok_or(EditError::NotFound)?;
        if recipient.original.is_none() {
            let spelled = match old.kind {
                AddressKind::Mailbox => format!("rfc822;{}", old.value),
                AddressKind::Phone | AddressKind::Alphanumeric | AddressKind::ShortCode => {
                    old.value.to_string()
                }
            };
            recipient.original = Some(spelled.into());
        }
        recipient.address = new.clone();
        let count = self.now.recipients.len();
        match self.places.get_mut() {
            Some(places) if places.len() == count => {
                places.remove(old);
                places.insert(new, at);
            }
            // One stands there twice: the second comes to light.
            Some(_) | None => self.places = OnceCell::new(),
        }
        Ok(())
    }

    /// The text of a short message, or of the best text part of a mail.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.now.content {
            Content::Mail(_) => self.view()?.text(),
            Content::Short(short) => match &short.body {
                ShortBody::Text(text) => Some(text),
                ShortBody::Coded(_) => self.short_text.get_or_init(|| coded_text(short)).as_deref(),
            },
        }
    }

    /// The text from now on. A mail loses its HTML alternative; of a short message, alphabet and
    /// parts are chosen when it is sent.
    ///
    /// # Errors
    /// [`EditError::Invalid`] for binary content and single parts, [`EditError::TooLarge`] for more
    /// than [`TEXT_BYTES_MAX`].
    pub fn set_text(&mut self, text: &str) -> Result<(), EditError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(EditError::TooLarge);
        }
        match self.kind() {
            Kind::Mail => self.edit_mail(|editor| {
                editor.set_text(text);
                Ok(())
            }),
            Kind::Text => {
                if self.text() != Some(text)
                    && let Content::Short(short) = self.change_content()
                {
                    short.body = ShortBody::Text(text.into());
                    short.esm_class &= !ESM_UDHI;
                }
                Ok(())
            }
            Kind::Binary | Kind::Part => Err(EditError::Invalid),
        }
    }

    /// The mail, to read headers and parts of; `None` for a short message.
    #[must_use]
    pub fn view(&self) -> Option<&MailView> {
        let Content::Mail(raw) = &self.now.content else { return None };
        Some(self.view.get_or_init(|| MailView::new(raw.clone())))
    }

    /// One header field of that name with this value; others of the name go.
    ///
    /// # Errors
    /// [`EditError::Invalid`] for a short message or what cannot be a field.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.edit_mail(|editor| Ok(editor.set_header(name, value)?))
    }

    /// One more header field.
    ///
    /// # Errors
    /// As [`Edited::set_header`].
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.edit_mail(|editor| Ok(editor.add_header(name, value)?))
    }

    /// Removes every header field of that name and says how many there were.
    ///
    /// # Errors
    /// [`EditError::Invalid`] for a short message.
    pub fn remove_header(&mut self, name: &str) -> Result<usize, EditError> {
        if !self.view().ok_or(EditError::Invalid)?.has_header(name) {
            return Ok(0);
        }
        self.edit_mail(|editor| Ok(editor.remove_header(name)))
    }

    /// New octets for a part.
    ///
    /// # Errors
    /// [`EditError::NotFound`], [`EditError::Invalid`] if it cannot be replaced.
    pub fn set_part(&mut self, index: usize, octets: &[u8]) -> Result<(), EditError> {
        self.edit_mail(|editor| Ok(editor.set_part(index, octets)?))
    }

    /// Removes a part.
    ///
    /// # Errors
    /// As [`Edited::set_part`].
    pub fn remove_part(&mut self, index: usize) -> Result<(), EditError> {
        self.edit_mail(|editor| Ok(editor.remove_part(index)?))
    }

    /// The octets as received: a whole mail, or the user data of a short message.
    #[must_use]
    pub fn received_bytes(&self) -> Bytes {
        match &self.base.content {
            Content::Mail(raw) => raw.clone(),
            Content::Short(Short { body: ShortBody::Coded(octets), .. }) => octets.clone(),
            Content::Short(Short { body: ShortBody::Text(text), .. }) => {
                let received = self.received.get_or_init(|| {
                    self.work(text.len() / COPIED_FOR_ONE_READ);
                    Bytes::copy_from_slice(text.as_bytes())
                });
                received.clone()
            }
        }
    }

    /// Which of the needles stand in the subject or any text part, as far as [`texts`](Self::texts)
    /// go.
    #[must_use]
    pub fn find(&self, needles: &[String], ignore_case: bool) -> Vec<usize> {
        Self::find_in(self.texts(ignore_case), needles, ignore_case)
    }

    /// The subject, the text and the other text parts, about [`SEARCHED_BYTES_MAX`] octets at most;
    /// in lower case if case does not count.
    #[must_use]
    pub fn texts(&self, ignore_case: bool) -> &[String] {
        let [as_they_are, in_lower_case] = &self.texts;
        let texts = if ignore_case { in_lower_case } else { as_they_are };
        texts.get_or_init(|| {
            let texts = self.collect_texts(ignore_case);
            self.work(texts.iter().map(String::len).sum::<usize>() / COPIED_FOR_ONE_READ);
            texts
        })
    }

    fn collect_texts(&self, ignore_case: bool) -> Vec<String> {
        let fold = |text: &str| if ignore_case { text.to_lowercase() } else { text.to_owned() };
        let mut texts: Vec<String> = Vec::new();
        texts.extend(self.view().and_then(MailView::subject).as_deref().map(fold));
        texts.extend(self.text().map(fold));
        let Some(view) = self.view() else { return texts };
        let others = view.parts().into_iter().filter(|part| {
            part.content_type.starts_with("text/") && Some(part.index) != view.text_part()
        });
        let mut room = SEARCHED_BYTES_MAX.saturating_sub(texts.iter().map(String::len).sum());
        for part in others {
            if room == 0 {
                break;
            }
            let octets = view.part(part.index).unwrap_or_default();
            let head = octets.get(..room.min(TEXT_BYTES_MAX)).unwrap_or(&octets);
            room = room.saturating_sub(head.len());
            texts.push(fold(&String::from_utf8_lossy(head)));
        }
        texts
    }

    /// Which of the needles stand in one of the texts that [`texts`](Self::texts) gave for the same
    /// `ignore_case`.
    #[must_use]
    pub fn find_in(texts: &[String], needles: &[String], ignore_case: bool) -> Vec<usize> {
        let occurs = |needle: &String| {
            let folded = ignore_case.then(|| needle.to_lowercase());
            let needle = folded.as_deref().unwrap_or(needle);
            !needle.is_empty() && texts.iter().any(|text| text.contains(needle))
        };
        (0..needles.len()).filter(|&index| needles.get(index).is_some_and(occurs)).collect()
    }

    /// A note on the message.
    #[must_use]
    pub fn note(&self, key: &str) -> Option<&str> {
        self.now.meta.get(key).map(|note| &**note)
    }

    /// Leaves a note; `None` removes it.
    ///
    /// # Errors
    /// [`EditError::TooLarge`] over [`NOTE_KEY_BYTES_MAX`] or [`NOTE_BYTES_MAX`],
    /// [`EditError::Exhausted`] over [`NOTES_MAX`].
    pub fn set_note(&mut self, key: &str, note: Option<&str>) -> Result<(), EditError> {
        if self.note(key) == note {
            return Ok(());
        }
        let Some(note) = note else {
            self.change().meta.remove(key);
            return Ok(());
        };
        if key.len() > NOTE_KEY_BYTES_MAX || note.len() > NOTE_BYTES_MAX {
            return Err(EditError::TooLarge);
        }
        if self.now.meta.len() >= NOTES_MAX && !self.now.meta.contains_key(key) {
            return Err(EditError::Exhausted);
        }
        self.change().meta.insert(key.into(), note.into());
        Ok(())
    }

    /// For edits of all but the content: what was read of it stays known.
    fn change(&mut self) -> &mut Message {
        if Arc::get_mut(&mut self.now).is_none() {
            self.work(self.now.recipients.len().saturating_mul(ADDRESS_OCTETS));
        }
        Arc::make_mut(&mut self.now)
    }

    fn change_content(&mut self) -> &mut Content {
        self.worked.set(self.worked());
        self.view = OnceCell::new();
        self.short_text = OnceCell::new();
        self.texts = [OnceCell::new(), OnceCell::new()];
        &mut self.change().content
    }

    fn edit_mail<T>(
        &mut self,
        edit: impl FnOnce(&mut MailEditor) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        let Content::Mail(raw) = &self.now.content else { return Err(EditError::Invalid) };
        let mut editor = MailEditor::new(raw.clone());
        let outcome = edit(&mut editor);
        self.work(editor.worked());
        let outcome = outcome?;
        let edited = editor.bytes();
        self.work(edited.len() / COPIED_FOR_ONE_READ);
        *self.change_content() = Content::Mail(edited);
        Ok(outcome)
    }
}

/// The text of a coded body, if its coding is a text's. 0 means the GSM alphabet here: whoever took
/// the message from a peer that means something else has said so in the model.
fn coded_text(short: &Short) -> Option<String> {
    let ShortBody::Coded(octets) = &short.body else { return None };
    let Coding::Text(alphabet) = meaning(short.data_coding, Alphabet::Gsm).coding else {
        return None;
    };
    if short.has_udh()
        && let Ok((udh, text)) = Udh::split(octets)
    {
        return Some(alphabet.decode_behind(&text, udh.fill_bits(), Shift::of(&udh)));
    }
    Some(alphabet.decode(octets, Shift::DEFAULT))
}

fn check_address(address: &Address, may_be_null: bool) -> Result<(), EditError> {
    let value = &*address.value;
    if value.len() > ADDRESS_BYTES_MAX {
        return Err(EditError::TooLarge);
    }
    if value.chars().any(|c| c.is_control() || matches!(c, '<' | '>')) {
        return Err(EditError::Invalid);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let well_formed = match address.kind {
        AddressKind::Mailbox => {
            (may_be_null && value.is_empty())
                || value
                    .rsplit_once('@')
                    .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        }
        AddressKind::Phone => digits(value.strip_prefix('+').unwrap_or(value)) && value.len() <= 21,
        AddressKind::ShortCode => digits(value) && value.len() <= 21,
        AddressKind::Alphanumeric => !value.trim().is_empty() && value.chars().count() <= 20,
    };
    if well_formed { Ok(()) } else { Err(EditError::Invalid) }
}

#[cfg(test)]
mod tests;
