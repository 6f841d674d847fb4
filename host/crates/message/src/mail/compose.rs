//! New mails: from the text of an SMS, and the frame of a bounce. Time and ids are arguments.

use super::header;
use super::transfer;

/// A mail to be written. Values may hold anything: control characters become spaces, so that no
/// value can add a field.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compose<'a> {
    /// Mailbox of the author.
    pub from: &'a str,
    /// Name shown for the author; empty for none.
    pub from_name: &'a str,
    /// Mailbox of the recipient.
    pub to: &'a str,
    /// Subject; line ends become spaces.
    pub subject: &'a str,
    /// Text with any line ends.
    pub text: &'a str,
    /// RFC 5322 date, see [`Timestamp::rfc5322`](crate::Timestamp::rfc5322).
    pub date: &'a str,
    /// With or without angle brackets.
    pub message_id: &'a str,
    /// Further fields, such as `Auto-Submitted` or `In-Reply-To`; bad names are left out.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Writes a mail: one `text/plain` part in UTF-8, as it is if it is ASCII, else quoted-printable or
/// base64.
#[must_use]
pub fn compose(mail: &Compose<'_>) -> Vec<u8> {
    let (transfer, body) = transfer::encode_text(mail.text, &[]);
    let mut out = Vec::with_capacity(body.len() + 512);
    write_envelope_fields(&mut out, mail);
    header::write(&mut out, "Content-Type", "text/plain; charset=utf-8");
    header::write(&mut out, "Content-Transfer-Encoding", transfer);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    if !body.is_empty() && !body.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// All fields but those that describe the content.
pub(super) fn write_envelope_fields(out: &mut Vec<u8>, mail: &Compose<'_>) {
    header::write(out, "Date", mail.date);
    header::write(out, "From", &mailbox(mail.from_name, mail.from));
    header::write(out, "To", &mailbox("", mail.to));
    header::write(out, "Subject", mail.subject);
    header::write(out, "Message-ID", &message_id(mail.message_id));
    for (name, value) in mail.headers {
        if header::is_name(name) {
            header::write(out, name, value);
        }
    }
    header::write(out, "MIME-Version", "1.0");
}

/// `name <address>`; the name is quoted if it needs to be.
fn mailbox(name: &str, address: &str) -> String {
    let address = header::sanitize(address);
    let name = header::sanitize(name);
    let name = name.trim();
    let atoms =
        |character: char| character.is_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(character);
    if name.is_empty() {
        address.into_owned()
    } else if name.chars().all(atoms) {
        format!("{name} <{address}>")
    } else if name.is_ascii() {
        format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        // Encoded words hold no quotes, and what they hold needs none.
        format!("{} <{address}>", name.replace(['"', '\\', '<', '>', ',', ';', ':', '@'], " "))
    }
}

fn message_id(id: &str) -> String {
    let id = header::sanitize(id);
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    format!("<{id}>")
}
