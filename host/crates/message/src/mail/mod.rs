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
pub use view::{MailView, Part, TEXT_OCTETS_MAX};

/// The text that a mail becomes as an SMS.
#[must_use]
pub fn to_sms_text(view: &MailView, template: &Template, strip: &Strip) -> String {
    let subject = view.subject().unwrap_or_default();
    let from = view.from().unwrap_or_default();
    let to = view.to().unwrap_or_default();
    let text = strip.apply(view.text().unwrap_or_default());
    template.render(&Fields { subject: &subject, text: &text, from: &from, to: &to })
}

#[cfg(test)]
mod tests;
