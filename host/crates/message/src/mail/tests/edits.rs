//! Edits touch what they name and nothing else.

use bytes::Bytes;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::super::{EditError, MailEditor, MailView};
use super::{FULL, mail, view};

#[test]
fn an_untouched_mail_is_the_same_octets() {
    let raw = mail(FULL);
    let mut editor = MailEditor::new(raw.clone());
    assert_eq!(editor.bytes().as_ptr(), raw.as_ptr());
}

#[test]
fn a_field_is_replaced_where_it_stands() {
    let mut editor = MailEditor::new(mail(FULL));
    editor.set_header("SUBJECT", "plain").unwrap();
    let expect = FULL.replace(
        "Subject: =?utf-8?B?R3LDvMOf?= =?utf-8?B?ZQ==?= from\n home\n",
        "SUBJECT: plain\n",
    );
    assert_eq!(editor.bytes(), mail(&expect));
}

#[test]
fn other_fields_of_the_name_go() {
    let mut editor = MailEditor::new(mail("A: 1\nB: 2\na: 3\n\nbody"));
    editor.set_header("A", "4").unwrap();
    assert_eq!(editor.bytes(), mail("A: 4\nB: 2\n\nbody"));
    editor.add_header("A", "5").unwrap();
    editor.prepend_header("Received", "by us").unwrap();
    assert_eq!(editor.bytes(), mail("Received: by us\nA: 4\nB: 2\nA: 5\n\nbody"));
    assert_eq!(editor.remove_header("a"), 2);
    assert_eq!(editor.remove_header("a"), 0);
    assert_eq!(editor.bytes(), mail("Received: by us\nB: 2\n\nbody"));
}

#[test]
fn no_value_can_add_a_field() {
    let mut editor = MailEditor::new(mail(FULL));
    for value in ["x\r\nBcc: y", "x\ny", "x\ry", "x\0"] {
        assert_eq!(editor.set_header("X", value), Err(EditError::Value("X".to_owned())));
    }
    for name in ["", "a b", "a:b", "a\r\nb", "é"] {
        assert_eq!(editor.add_header(name, "x"), Err(EditError::Name(name.to_owned())));
    }
    assert_eq!(editor.bytes(), mail(FULL));
}

#[test]
fn a_mail_without_a_header_gets_one_of_its_own() {
    let mut editor = MailEditor::new(mail(" no header\n"));
    editor.add_header("X", "y").unwrap();
    assert_eq!(editor.bytes(), mail("X: y\n\n no header\n"));
    let mut editor = MailEditor::new(Bytes::from_static(b"A: b"));
    editor.add_header("X", "y").unwrap();
    assert_eq!(editor.bytes(), "A: b\r\nX: y\r\n");
}

#[test]
fn new_text_takes_the_place_of_the_alternative() {
    let mut editor = MailEditor::new(mail(FULL));
    editor.set_text("Größe\n");
    let view = editor.view();
    let types: Vec<_> = view.parts().into_iter().map(|part| part.content_type).collect();
    assert_eq!(types, ["multipart/mixed", "text/plain", "application/pdf"]);
    assert_eq!(view.text(), Some("Größe"));
    let raw = editor.bytes();
    let raw = std::str::from_utf8(&raw).unwrap();
    let (head, _) = FULL.split_once("--outer\n").unwrap();
    assert!(raw.starts_with(&head.replace('\n', "\r\n")));
    let (_, tail) = FULL.split_once("--inner--\n").unwrap();
    assert!(raw.ends_with(&tail.replace('\n', "\r\n")));
}

#[test]
fn new_text_of_a_plain_mail_describes_itself() {
    let html = "X: 1\nContent-Type: text/html;\n charset=x\nY: 2\nContent-Language: de\n\n<p>a\n";
    let mut editor = MailEditor::new(mail(html));
    editor.set_text("b");
    let expect = "X: 1\nY: 2\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
                  Content-Transfer-Encoding: 7bit\n\nb\n";
    assert_eq!(editor.bytes(), mail(expect));
}

#[test]
fn a_mail_without_text_gets_a_part() {
    let mut editor = MailEditor::new(mail("Content-Type: image/png\nX: 1\n\nPNG"));
    editor.set_text("look");
    let view = editor.view();
    assert_eq!(view.text(), Some("look"));
    let types: Vec<_> = view.parts().into_iter().map(|part| part.content_type).collect();
    assert_eq!(types, ["multipart/mixed", "text/plain", "image/png"]);
    assert_eq!(view.part(2).unwrap(), "PNG");
    let mut editor = MailEditor::new(mail(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\n\nPNG\n--b--\n",
    ));
    editor.set_text("look");
    assert_eq!(editor.view().text(), Some("look"));
    assert_eq!(editor.view().part(2).unwrap(), "PNG");
}

#[test]
fn text_that_looks_like_a_delimiter_is_encoded() {
    let mut editor = MailEditor::new(mail(FULL));
    editor.set_text("--outer--\n--outer\n");
    assert_eq!(editor.view().text(), Some("--outer--\n--outer"));
    assert_eq!(editor.view().parts().len(), 3);
}

#[test]
fn a_mail_cut_in_a_delimiter_gets_its_text() {
    for end in ["--b", "--b\r\n", "--b\r\n--b--", "--b\r\nX: 1\r\n--b--"] {
        let raw = ["Content-Type: multipart/mixed; boundary=b\r\n\r\n", end].concat();
        let mut editor = MailEditor::new(raw.into());
        editor.set_text("new");
        assert_eq!(editor.view().text(), Some("new"), "{end:?}");
    }
}

#[test]
fn parts_are_replaced_and_removed_by_number() {
    let mut editor = MailEditor::new(mail(FULL));
    editor.set_part(4, b"\x00new").unwrap();
    assert_eq!(editor.view().part(4).unwrap(), &b"\x00new"[..]);
    assert_eq!(editor.view().parts()[4].filename.as_deref(), Some("price list.pdf"));
    editor.set_part(2, b"Caf\xe9").unwrap();
    assert_eq!(editor.view().text(), Some("Café"));
    assert_eq!(editor.set_part(0, b""), Err(EditError::Multipart(0)));
    assert_eq!(editor.set_part(9, b""), Err(EditError::NoPart(9)));
    editor.remove_part(3).unwrap();
    assert_eq!(editor.remove_part(2), Err(EditError::OnlyPart(2)));
    editor.remove_part(3).unwrap();
    assert_eq!(editor.remove_part(0), Err(EditError::OnlyPart(0)));
    assert_eq!(editor.view().parts().len(), 3);
    assert!(editor.bytes().ends_with(b"--outer--\r\nepilogue\r\n"));
}

#[test]
fn removing_a_part_leaves_the_rest_alone() {
    let mut editor = MailEditor::new(mail(FULL));
    editor.remove_part(4).unwrap();
    let (before, after) = FULL.split_once("--outer\nContent-Type: application").unwrap();
    let (_, after) = after.split_once("--outer--").unwrap();
    assert_eq!(editor.bytes(), mail(&format!("{before}--outer--{after}")));
}

#[test]
fn an_attached_message_is_never_encoded() {
    let raw = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nA: 1\n\nx\n--b--\n";
    let mut editor = MailEditor::new(mail(raw));
    editor.set_part(1, b"A: 2\r\n\r\ny").unwrap();
    assert_eq!(editor.view().part(1).unwrap(), "A: 2\r\n\r\ny");
    assert_eq!(editor.set_part(1, b"--b--"), Err(EditError::Boundary(1)));
}

proptest! {
    #[test]
    fn a_written_field_reads_back(value in "[ -~äöü€日😀]{0,200}") {
        let value = value.trim();
        let mut editor = MailEditor::new(mail("A: 1\n\nbody"));
        editor.add_header("Subject", value).unwrap();
        let raw = editor.bytes();
        prop_assert!(raw.is_ascii());
        prop_assert!(raw.split(|&octet| octet == b'\n').all(|line| line.len() < 998));
        prop_assert_eq!(editor.view().header("Subject").unwrap(), value);
        prop_assert_eq!(editor.view().headers().count(), 2);
    }

    #[test]
    fn folded_lines_are_short(words in prop::collection::vec("[a-zé]{1,20}", 0..40)) {
        let mut editor = MailEditor::new(mail("\nbody"));
        editor.add_header("Subject", &words.join(" ")).unwrap();
        for line in editor.bytes().split(|&octet| octet == b'\n') {
            prop_assert!(line.len() <= 79, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn header_edits_leave_all_else_alone(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let raw = Bytes::from([b"A: 1\r\nSubject: old\r\nB: 2\r\n\r\n", &*octets].concat());
        let mut editor = MailEditor::new(raw);
        editor.set_header("Subject", "new").unwrap();
        let expect = [b"A: 1\r\nSubject: new\r\nB: 2\r\n\r\n", &*octets].concat();
        prop_assert_eq!(editor.bytes(), expect);
        editor.remove_header("Subject");
        let expect = [b"A: 1\r\nB: 2\r\n\r\n", &*octets].concat();
        prop_assert_eq!(editor.bytes(), expect);
    }

    #[test]
    fn text_set_is_text_read(text in "[ -~\näé日=.]{0,300}", base in 0usize..3) {
        let base = [FULL, "Subject: x\n\nold\n", "Content-Type: image/png\n\nPNG\n"][base];
        let mut editor = MailEditor::new(mail(base));
        let before = view(base).headers().count();
        editor.set_text(&text);
        let view = editor.view();
        if text.trim().is_empty() {
            prop_assert_eq!(view.text().map(str::trim), Some(""));
        } else {
            prop_assert_eq!(view.text(), Some(text.trim_end_matches('\n')));
        }
        prop_assert!(view.headers().count() >= before);
    }

    #[test]
    fn no_edit_of_any_octets_panics(octets in prop::collection::vec(any::<u8>(), 0..200), mime in "[-a-z:=; \r\n\"/]{0,80}", index in 0usize..4) {
        let raw = [b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", mime.as_bytes(), b"\r\n--b\r\n", &octets].concat();
        for raw in [Bytes::from(raw), Bytes::from(octets)] {
            let mut editor = MailEditor::new(raw.clone());
            editor.set_text("new");
            let view = editor.view();
            prop_assert_eq!(view.text(), Some("new"));
            let mut editor = MailEditor::new(raw);
            if editor.set_part(index, b"new").is_ok() {
                prop_assert!(editor.view().part(index).is_some_and(|part| part.starts_with(b"new")));
            }
            let parts = MailView::new(editor.bytes()).parts().len();
            if editor.remove_part(index).is_ok() {
                prop_assert!(editor.view().parts().len() < parts);
            }
        }
    }
}
