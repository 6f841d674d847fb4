//! Mail as the router needs it: raw RFC 5322 octets that can be read, edited without touching
//! anything else, turned into the text of an SMS, and written anew.

mod header;
mod transfer;
mod structure;
mod html;
mod view;
mod strip;
mod template;
mod edit;
mod compose;
mod bounce;

pub use bounce::{
    Action, Bounce, BouncedRecipient, DeliveryStatus, RecipientStatus, Returned,
    STATUS_RECIPIENTS_MAX, bounce, delivery_status,
};
pub use compose::{Compose, compose};
pub use edit::{EditError, MailEditor};
pub use header::{HEADER_FIELDS_MAX, HEADER_VALUE_OCTETS_MAX};
pub use html::{HTML_OCTETS_MAX, html_to_text};
pub use strip::Strip;
pub use structure::{MULTIPART_DEPTH_MAX, PARTS_MAX};
pub use template::{Fields, Template, TemplateError};
pub use view::{COPIED_FOR_ONE_READ, MailView, Part, TEXT_OCTETS_MAX};

/// What a mail has to say to somebody who reads it as an SMS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmsFields {
    /// The decoded subject.
    pub subject: String,
    /// The stripped text.
    pub text: String,
    /// Address of the first author.
    pub from: String,
    /// Address of the first recipient that the header names.
    pub to: String,
}

impl SmsFields {
    /// Takes them out of a mail; what it does not have is empty.
    #[must_use]
    pub fn of(view: &MailView, strip: &Strip) -> Self {
        Self {
            subject: view.subject().unwrap_or_default(),
            text: strip.apply(view.text().unwrap_or_default()),
            from: view.from().unwrap_or_default(),
            to: view.to().unwrap_or_default(),
        }
    }

    /// As a [`Template`] takes them.
    #[must_use]
    pub fn as_fields(&self) -> Fields<'_> {
        Fields { subject: &self.subject, text: &self.text, from: &self.from, to: &self.to }
    }
}

/// The text that a mail becomes as an SMS.
#[must_use]
pub fn to_sms_text(view: &MailView, template: &Template, strip: &Strip) -> String {
    template.render(&SmsFields::of(view, strip).as_fields())
}

#[cfg(test)]
mod tests;
