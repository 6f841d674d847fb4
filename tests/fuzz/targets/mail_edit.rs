//! Editing a mail: what is set is read back, and all else stays as it was.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use message::mail::{Action, Bounce, BouncedRecipient, MailEditor, MailView, Returned, bounce};

fuzz_target!(|octets: &[u8]| {
    let Some((&index, octets)) = octets.split_first() else { return };
    let raw = Bytes::copy_from_slice(octets);
    let index = usize::from(index);

    let mut editor = MailEditor::new(raw.clone());
    let before = MailView::new(raw.clone()).header_bytes().len();
    editor.set_header("X-Fuzz", "set").expect("a good field");
    let after = editor.bytes();
    assert_eq!(editor.view().header("X-Fuzz").as_deref(), Some("set"));
    if MailView::new(raw.clone()).header("X-Fuzz").is_none() {
        assert!(after.starts_with(&raw[..before]), "the header stays");
        assert!(after.ends_with(&raw[before..]), "the body stays");
    }

    let mut editor = MailEditor::new(raw.clone());
    editor.set_text("new text");
    assert_eq!(editor.view().text(), Some("new text"));

    let mut editor = MailEditor::new(raw.clone());
    if editor.set_part(index, b"new octets").is_ok() {
        let part = editor.view().part(index).expect("the part is still there");
        assert!(part.starts_with(b"new octets"));
    }
    let parts = editor.view().parts().len();
    if editor.remove_part(index).is_ok() {
        assert!(editor.view().parts().len() < parts);
    }

    let text = String::from_utf8_lossy(octets);
    let recipient = BouncedRecipient {
        final_recipient: &text,
        original_recipient: &text,
        action: Action::Failed,
        status: "5.0.0",
        remote_mta: "",
        diagnostic: &text,
        will_retry_until: "",
    };
    let written = bounce(&Bounce {
        from: "postmaster@example.net",
        to: &text,
        reporting_mta: "example.net",
        envelope_id: &text,
        arrival_date: "",
        date: "",
        message_id: "1@example.net",
        recipients: &[recipient],
        returned: Returned::Full(octets),
    });
    assert_eq!(MailView::new(written.into()).parts().len(), 4, "no text ends the frame");
});
