//! What a view finds, and that nothing hostile stops it.

use bytes::Bytes;
use mail_parser::MessageParser;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::super::header::decode;
use super::super::{
    Fields, MailView, PARTS_MAX, Strip, TEXT_OCTETS_MAX, Template, TemplateError, html_to_text,
    to_sms_text,
};
use super::{FULL, mail, view};

#[test]
fn a_header_is_unfolded_and_decoded() {
    let view = view(FULL);
    assert_eq!(view.subject().as_deref(), Some("Grüße from home"));
    assert_eq!(view.header("x-odd").as_deref(), Some("spaced"));
    assert_eq!(view.header("From").as_deref(), Some("Jörg <joerg@example.org>"));
    assert_eq!(view.from().as_deref(), Some("joerg@example.org"));
    assert_eq!(view.addresses("To"), ["jane@example.net", "bob@example.net"]);
    assert_eq!(view.header("Missing"), None);
    assert_eq!(view.hops(), 2);
    assert_eq!(view.header_all("received").len(), 2);
    assert_eq!(view.headers().count(), 8);
    assert!(view.header_bytes().ends_with(b"boundary=\"outer\"\r\n"));
}

#[track_caller]
fn check_decode(value: &str, expect: &str) {
    assert_eq!(decode(value.as_bytes()), expect, "{value:?}");
}

#[test]
fn encoded_words_follow_rfc_2047() {
    // The examples of RFC 2047 §8.
    check_decode("=?ISO-8859-1?Q?a?=", "a");
    check_decode("=?ISO-8859-1?Q?a?= b", "a b");
    check_decode("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab");
    check_decode("=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab");
    check_decode("=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab");
    check_decode("=?ISO-8859-1?Q?a_b?=", "a b");
    check_decode("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b");
    check_decode("=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>");
    check_decode("=?iso-8859-1*fr?q?=E9t=E9?=", "été");
    // A character cut in two, as some programs write it.
    check_decode("=?utf-8?b?w4M=?= =?utf-8?b?wg==?= =?utf-8?b?qQ==?=", "Ã©");
    check_decode("=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é");
    check_decode("=?nonsense", "=?nonsense");
    check_decode("=?utf-8?x?a?=", "=?utf-8?x?a?=");
    check_decode("1 =?= 2", "1 =?= 2");
    check_decode("=?koi8-r?b?8NLJ18XU?=", "Привет");
}

#[test]
fn the_best_text_is_found() {
    assert_eq!(view(FULL).text(), Some("Café au lait\n-- \nJoerg"));
    assert_eq!(view("Subject: x\n\nplain\n").text(), Some("plain"));
    assert_eq!(view("Content-Type: text/html\n\n<b>bold</b> text\n").text(), Some("bold text"));
    let blank_plain = FULL.replace("Caf=E9 au=\n lait\n--=20\nJoerg", " ");
    assert_eq!(view(&blank_plain).text(), Some("Café au lait"));
    assert_eq!(view("Content-Type: image/png\n\nx\n").text(), None);
    let attached = "Content-Disposition: attachment\n\nlog\n";
    assert_eq!(view(attached).text(), None);
    assert_eq!(view("").text(), Some(""));
}

#[test]
fn flowed_text_loses_its_soft_line_ends() {
    let flowed = "Content-Type: text/plain; format=flowed\n\nOne \nline.\n From here\n-- \nme\n";
    assert_eq!(view(flowed).text(), Some("One line.\nFrom here\n-- \nme"));
    let delsp = "Content-Type: text/plain; format=flowed; delsp=yes\n\n日 \n本\n";
    assert_eq!(view(delsp).text(), Some("日本"));
}

#[test]
fn parts_are_listed_with_their_sizes() {
    let view = view(FULL);
    let parts = view.parts();
    let types: Vec<_> =
        parts.iter().map(|part| (&*part.content_type, part.parent, part.size_bytes)).collect();
    assert_eq!(
        types,
        [
            ("multipart/mixed", None, 0),
            ("multipart/alternative", Some(0), 0),
            ("text/plain", Some(1), 24),
            ("text/html", Some(1), 26),
            ("application/pdf", Some(0), 12),
        ]
    );
    assert!(parts[4].is_attachment);
    assert_eq!(parts[4].filename.as_deref(), Some("price list.pdf"));
    assert_eq!(parts[2].charset.as_deref(), Some("iso-8859-1"));
    assert_eq!(view.part(4).unwrap(), "Hello, world");
    assert_eq!(view.part(3).unwrap(), "<p>Caf&eacute; au lait</p>");
    assert_eq!(view.part(0), None);
    assert_eq!(view.part(5), None);
}

#[test]
fn an_attached_message_is_one_part() {
    let view =
        view("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b--\n");
    let types: Vec<_> = view.parts().into_iter().map(|part| part.content_type).collect();
    assert_eq!(types, ["multipart/digest", "message/rfc822"]);
    assert_eq!(view.part(1).unwrap(), "Subject: in\r\n\r\nx");
}

#[test]
fn a_multipart_that_never_ends_keeps_its_parts() {
    let view = view("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n");
    assert_eq!(view.parts().len(), 3);
    assert_eq!(view.part(1).unwrap(), "one");
    assert_eq!(view.part(2).unwrap(), "two\r\n");
}

#[test]
fn a_boundary_used_twice_belongs_to_the_outer_multipart() {
    let twice = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; \
                 boundary=b\n\n--b\n\none\n--b--\n";
    let parents: Vec<_> = view(twice).parts().into_iter().map(|part| part.parent).collect();
    assert_eq!(parents, [None, Some(0), Some(0)]);
}

#[test]
fn programs_and_lists_are_recognised() {
    assert!(view("Auto-Submitted: auto-replied (vacation)\n\n").is_auto_submitted());
    assert!(!view("Auto-Submitted: no\n\n").is_auto_submitted());
    assert!(view("Precedence: Bulk\n\n").is_bulk());
    assert!(view("List-Id: <x>\n\n").is_list());
    assert!(view("Return-Path: <>\n\n").has_null_return_path());
    assert!(!view("Subject: hi\n\n").is_automatic());
}

#[track_caller]
fn check_html(html: &str, expect: &str) {
    assert_eq!(html_to_text(html), expect, "{html:?}");
}

#[test]
fn html_becomes_what_people_read() {
    check_html("<p>One</p><p>Two<br>Three</p>", "One\n\nTwo\nThree");
    check_html("<div>a</div><div>b</div>", "a\nb");
    check_html("<ul><li>one<li>two</ul>", "- one\n- two");
    check_html("<tr><td>a</td><td>b</td></tr><tr><td>c</td></tr>", "a b\nc");
    check_html(
        "a &amp; b &lt;c&gt; &eacute;&#8364;&#x41; &unknown; AT&T",
        "a & b <c> é€A &unknown; AT&T",
    );
    check_html("<style>p { x }</style><script>if (a<b) {}</script>text", "text");
    check_html("<!-- <p>no</p> -->yes<!doctype html>", "yes");
    check_html("see <a href=\"https://x.example/a\">here</a>.", "see here (https://x.example/a).");
    check_html("<a href='https://x.example/'>x.example</a>", "x.example");
    check_html("<img alt=\"Logo\" src=x> shop", "Logo shop");
    check_html("<pre>a\n  b</pre>c", "a\n  b\nc");
    check_html("5 < 6 and 7 > 6", "5 < 6 and 7 > 6");
    check_html("<b title='a > b'>bold</b>", "bold");
    check_html("a&nbsp;&nbsp;b\n c", "a b c");
    check_html("<P>UP</P>", "UP");
    check_html("unclosed <b", "unclosed <b");
}

#[track_caller]
fn check_strip(strip: &Strip, text: &str, expect: &str) {
    assert_eq!(strip.apply(text), expect, "{text:?}");
}

#[test]
fn signatures_and_quoted_mails_are_left_out() {
    let strip = Strip::default();
    check_strip(&strip, "text\n-- \nme", "text");
    check_strip(&strip, "text\n--\nmore", "text\n--\nmore");
    check_strip(&strip, "\n\na  \n\n\n\nb\n\n", "a\n\nb");
    check_strip(&Strip::NOTHING, "text\n-- \nme", "text\n--\nme");
    let separators = vec!["-----Original".to_owned()];
    let strip = Strip { quotes: true, separators, ..strip };
    check_strip(&strip, "yes\n> no?\n -----original Message-----\nold", "yes");
}

#[track_caller]
fn check_template(template: &str, subject: &str, expect: &str) {
    let fields = Fields { subject, text: "text", from: "me", to: "you" };
    assert_eq!(Template::parse(template).unwrap().render(&fields), expect);
}

#[test]
fn templates_drop_the_joints_of_what_is_empty() {
    check_template("{subject}: {text}", "S", "S: text");
    check_template("{subject}: {text}", "", "text");
    check_template("{text} - {subject}", "", "text");
    check_template("{from} - {subject}: {text}", "", "me: text");
    check_template("({subject}) {text}", "", "text");
    check_template("{text} ({subject})", "", "text");
    check_template("SMS: {subject} {text}", "", "SMS: text");
    check_template("{{{to}}}", "", "{you}");
    check_template("no places", "S", "no places");
}

#[test]
fn a_bad_template_says_where() {
    let unknown = TemplateError::Unknown { name: "sender".to_owned(), at: 3 };
    assert_eq!(Template::parse("by {sender}").unwrap_err(), unknown);
    assert_eq!(Template::parse("{subject").unwrap_err(), TemplateError::LoneBrace { at: 0 });
    assert_eq!(Template::parse("é}").unwrap_err(), TemplateError::LoneBrace { at: 2 });
}

#[test]
fn a_mail_becomes_the_text_of_an_sms() {
    let template = Template::parse("{subject}: {text}").unwrap();
    let text = to_sms_text(&view(FULL), &template, &Strip::default());
    assert_eq!(text, "Grüße from home: Café au lait");
}

#[test]
fn deep_and_wide_mails_are_bounded() {
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
    assert_eq!(MailView::new(nested.into()).parts().len(), 1);
    let deep: String = (0..5_000)
        .map(|level| {
            format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n")
        })
        .collect();
    assert!(MailView::new(deep.into()).parts().len() < 50);
    let wide =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n".repeat(9_000));
    assert_eq!(MailView::new(wide.into()).parts().len(), PARTS_MAX);
    let long = format!("Subject: x\r\n\r\n{}", "é".repeat(TEXT_OCTETS_MAX));
    assert_eq!(MailView::new(long.into()).text().map(str::len), Some(TEXT_OCTETS_MAX));
    let fields = MailView::new("a: b\r\n".repeat(100_000).into());
    assert_eq!(fields.headers().count(), super::super::HEADER_FIELDS_MAX);
}

#[test]
fn hostile_html_and_words_cost_linear_time() {
    for html in ["<a", "<a =\"", "<a href=x>", "<!--", "</", "&", "<script>", "<a ='>", "<li>"] {
        html_to_text(&html.repeat(100_000)).truncate(1);
    }
    for value in ["=?a?q?", "=?", "=?utf-8?q?a?= ", "=?a?b?"] {
        decode(value.repeat(10_000).as_bytes()).truncate(1);
    }
}

/// Text and part count of mails whose structure both readers take alike.
#[track_caller]
fn check_against_mail_parser(text: &str) {
    let raw = mail(text);
    let theirs = MessageParser::default().parse(&*raw).unwrap();
    let ours = MailView::new(raw.clone());
    assert_eq!(ours.parts().len(), theirs.parts.len(), "{text}");
    assert_eq!(ours.subject().as_deref(), theirs.subject(), "{text}");
    let plain = theirs.body_text(0).map(|text| text.replace("\r\n", "\n").trim_end().to_owned());
    assert_eq!(ours.text().map(str::trim_end), plain.as_deref(), "{text}");
    for (ours, theirs) in ours.parts().iter().zip(&theirs.parts) {
        if !theirs.is_text() && !theirs.is_multipart() {
            assert_eq!(ours.size_bytes, theirs.contents().len(), "{text}");
        }
    }
}

#[test]
fn mail_parser_reads_the_same() {
    check_against_mail_parser(FULL);
    check_against_mail_parser("Subject: a\n b\n\nbody\n");
    check_against_mail_parser(
        "Subject: =?utf-8?q?=C3=A9?=\nContent-Transfer-Encoding: base64\n\naGk=\n",
    );
    check_against_mail_parser(
        "Subject: s\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: quoted-printable\n\n=F0=D2=C9=D7=C5=D4\n",
    );
}

proptest! {
    #[test]
    fn no_octets_stop_a_view(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        walk(octets.into());
    }

    #[test]
    fn no_nearly_mail_stops_a_view(pieces in prop::collection::vec(prop::sample::select(vec![
        "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: text/html; charset=x\r\n",
        "Content-Transfer-Encoding: base64\r\n", "Content-Transfer-Encoding: quoted-printable\r\n",
        "Subject: =?utf-8?q?=C3", "?=", "\r\n", "\n", "--b\r\n", "--b--\r\n", "--", "=", "<p>", "é",
        "To: a@b, \"", "Content-Type: message/rfc822\r\n", " ", "\t", "\r", "=E9", ":", "aGk=",
        "Content-Disposition: attachment; filename*0*=utf-8''%", "; boundary=\"b", "&#", "\0",
    ]), 0..60)) {
        let raw = Bytes::from(pieces.concat());
        walk(raw.clone());
        for end in 0..raw.len().min(80) {
            walk(raw.slice(..end));
        }
    }

    #[test]
    fn html_of_any_kind_becomes_text(html in "[<>/a-c&;#\"'= \n!-]{0,200}") {
        let text = html_to_text(&html);
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn a_template_without_places_is_itself(literal in "[^{}]{0,40}") {
        let template = Template::parse(&literal).unwrap();
        prop_assert_eq!(template.render(&Fields::default()), literal);
    }

    #[test]
    fn no_template_panics(source in "[{}a-z:() ]{0,40}", subject in "[a(]{0,3}") {
        if let Ok(template) = Template::parse(&source) {
            template.render(&Fields { subject: &subject, ..Fields::default() }).truncate(0);
        }
    }
}

/// Asks everything.
fn walk(raw: Bytes) {
    let view = MailView::new(raw);
    for part in view.parts() {
        if let Some(octets) = view.part(part.index) {
            assert_eq!(octets.len(), part.size_bytes);
        }
    }
    assert_eq!(view.text().is_some(), view.text_part().is_some());
    assert!(view.headers().count() >= view.hops());
    view.addresses("To").truncate(0);
    assert!(!view.is_bulk() || view.is_automatic());
    assert!(
        super::super::delivery_status(&view).is_none_or(|status| !status.recipients.is_empty())
    );
}
