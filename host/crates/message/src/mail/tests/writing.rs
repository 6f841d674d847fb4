//! Mails and notifications that we write.

use bytes::Bytes;
use mail_parser::MessageParser;
use proptest::prelude::{prop_assert_eq, proptest};

use super::super::{
    Action, Bounce, BouncedRecipient, Compose, MailView, Returned, bounce, compose, delivery_status,
};
use super::{FULL, mail};

const DATE: &str = "Mon, 23 Nov 2026 09:22:05 +0000";

const SMS: Compose<'_> = Compose {
    from: "336@sms.example.net",
    from_name: "",
    to: "alice@example.org",
    subject: "SMS from +336",
    text: "Hi",
    date: DATE,
    message_id: "1@gw.example.net",
    headers: &[("Auto-Submitted", "auto-generated")],
};

#[test]
fn a_plain_mail_is_plain() {
    let expect = "Date: Mon, 23 Nov 2026 09:22:05 +0000\n\
                  From: 336@sms.example.net\n\
                  To: alice@example.org\n\
                  Subject: SMS from +336\n\
                  Message-ID: <1@gw.example.net>\n\
                  Auto-Submitted: auto-generated\n\
                  MIME-Version: 1.0\n\
                  Content-Type: text/plain; charset=utf-8\n\
                  Content-Transfer-Encoding: 7bit\n\
                  \n\
                  Hi\n";
    assert_eq!(compose(&SMS), mail(expect));
}

#[test]
fn no_argument_can_add_a_field() {
    let evil = "x\r\nBcc: evil@example.org\r\n\r\nbody";
    let headers = [("X-Bad\r\nBcc", "x"), ("X-Good", evil)];
    let composed = compose(&Compose {
        from: evil,
        from_name: evil,
        to: evil,
        subject: evil,
        message_id: evil,
        date: evil,
        headers: &headers,
        text: "text",
    });
    let view = MailView::new(composed.into());
    assert_eq!(view.header("Bcc"), None);
    assert_eq!(view.headers().count(), 9);
    assert_eq!(view.text(), Some("text"));
}

#[track_caller]
fn check_name(name: &str, raw: &str, read: &str) {
    let composed = compose(&Compose { from_name: name, ..SMS });
    let line = String::from_utf8(composed.clone()).unwrap();
    assert!(line.contains(&format!("From: {raw} <336@sms.example.net>\r\n")), "{line}");
    let parsed = MessageParser::default().parse(&composed).unwrap();
    let author = parsed.from().and_then(|from| from.first()).unwrap();
    assert_eq!(author.name(), Some(read));
    assert_eq!(author.address(), Some("336@sms.example.net"));
}

#[test]
fn names_are_quoted_or_encoded() {
    check_name("Joe Doe", "Joe Doe", "Joe Doe");
    check_name("Doe, \"Joe\"", "\"Doe, \\\"Joe\\\"\"", "Doe, \"Joe\"");
    check_name("Jörg", "=?utf-8?b?SsO2cmc=?=", "Jörg");
}

const FAILED: BouncedRecipient<'_> = BouncedRecipient {
    final_recipient: "+33612345678",
    original_recipient: "rfc822;0612345678@sms.example.net",
    action: Action::Failed,
    status: "5.1.1",
    remote_mta: "smsc-a",
    diagnostic: "smpp; 0x0000000B invalid destination",
    will_retry_until: "",
};

const BOUNCE: Bounce<'_> = Bounce {
    from: "postmaster@gw.example.net",
    to: "alice@example.org",
    reporting_mta: "gw.example.net",
    envelope_id: "QQ314159",
    arrival_date: DATE,
    date: DATE,
    message_id: "2@gw.example.net",
    recipients: &[FAILED],
    returned: Returned::Headers(b"Subject: hello\r\n\r\nsecret\r\n"),
};

#[test]
fn a_bounce_follows_rfc_3464() {
    let expect = "Date: Mon, 23 Nov 2026 09:22:05 +0000
From: Mail Delivery System <postmaster@gw.example.net>
To: alice@example.org
Subject: Undelivered Mail Returned to Sender
Message-ID: <2@gw.example.net>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary=\"=_wirepost_0_\"
Content-Transfer-Encoding: 7bit

--=_wirepost_0_
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

This is the mail system at gw.example.net.

Your message could not be delivered to the recipients below.
No further attempts are made.

<0612345678@sms.example.net> (+33612345678): 5.1.1
    smpp; 0x0000000B invalid destination
--=_wirepost_0_
Content-Description: Delivery report
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Original-Envelope-Id: QQ314159
Reporting-MTA: dns; gw.example.net
Arrival-Date: Mon, 23 Nov 2026 09:22:05 +0000

Original-Recipient: rfc822;0612345678@sms.example.net
Final-Recipient: X-SMS; +33612345678
Action: failed
Status: 5.1.1
Remote-MTA: dns; smsc-a
Diagnostic-Code: smpp; 0x0000000B invalid destination
--=_wirepost_0_
Content-Description: Undelivered message
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 7bit

Subject: hello
--=_wirepost_0_--
";
    assert_eq!(String::from_utf8(bounce(&BOUNCE)).unwrap(), expect.replace('\n', "\r\n"));
}

#[test]
fn a_notification_reads_back() {
    let delivered = BouncedRecipient {
        final_recipient: "bob@example.org",
        original_recipient: "",
        action: Action::Delivered,
        status: "2.1.5",
        ..FAILED
    };
    let full = mail(FULL);
    let recipients = [FAILED, delivered];
    let raw =
        bounce(&Bounce { recipients: &recipients, returned: Returned::Full(&full), ..BOUNCE });
    let view = MailView::new(raw.into());
    let status = delivery_status(&view).unwrap();
    assert_eq!((&*status.envelope_id, &*status.reporting_mta), ("QQ314159", "gw.example.net"));
    assert_eq!(status.recipients.len(), 2);
    assert_eq!(status.recipients[0].final_recipient, "+33612345678");
    assert_eq!(status.recipients[0].original_recipient, "0612345678@sms.example.net");
    assert_eq!(status.recipients[0].diagnostic, FAILED.diagnostic);
    assert_eq!(status.recipients[1].action, Action::Delivered);
    assert_eq!(
        view.part(3).unwrap(),
        full.slice(..full.len() - 2),
        "the original comes back whole"
    );
    assert!(view.is_auto_submitted());
    assert_eq!(delivery_status(&MailView::new(full)), None);
}

#[test]
fn our_own_bounce_inside_a_bounce_does_not_end_it() {
    let inner = bounce(&BOUNCE);
    let outer = bounce(&Bounce { returned: Returned::Full(&inner), ..BOUNCE });
    let view = MailView::new(outer.into());
    assert_eq!(view.parts().len(), 4);
    assert_eq!(view.header("Content-Type").unwrap().matches("=_wirepost_1_").count(), 1);
}

#[test]
fn international_addresses_use_the_global_types() {
    let recipient = BouncedRecipient { final_recipient: "jörg@example.org", ..FAILED };
    let raw = bounce(&Bounce {
        recipients: &[recipient],
        returned: Returned::Full("Subject: é\r\n\r\nx\r\n".as_bytes()),
        ..BOUNCE
    });
    let view = MailView::new(raw.into());
    let types: Vec<_> = view.parts().into_iter().map(|part| part.content_type).collect();
    assert_eq!(types[2..], ["message/global-delivery-status", "message/global"]);
    let status = delivery_status(&view).unwrap();
    assert_eq!(status.recipients[0].final_recipient, "jörg@example.org");
}

#[test]
fn a_notification_without_an_original_has_two_parts() {
    let delayed = BouncedRecipient {
        action: Action::Delayed,
        status: "4.4.7",
        will_retry_until: DATE,
        ..FAILED
    };
    let raw = bounce(&Bounce { recipients: &[delayed], returned: Returned::Nothing, ..BOUNCE });
    let view = MailView::new(Bytes::from(raw));
    assert_eq!(view.parts().len(), 3);
    assert_eq!(view.subject().as_deref(), Some("Delayed Mail (still being retried)"));
}

proptest! {
    #[test]
    fn what_is_composed_reads_back(text in "[ -~\näé日😀.=F]{0,400}", subject in "[ -~é日]{0,120}") {
        let composed = compose(&Compose { text: &text, subject: &subject, ..SMS });
        assert!(composed.is_ascii());
        assert!(composed.split(|&octet| octet == b'\n').all(|line| line.len() <= 998));
        let view = MailView::new(composed.clone().into());
        let expect = text.trim_end_matches('\n');
        prop_assert_eq!(view.text(), Some(expect));
        prop_assert_eq!(view.subject().unwrap_or_default(), subject.trim());
        let theirs = MessageParser::default().parse(&composed).unwrap();
        let theirs = theirs.body_text(0).unwrap_or_default().replace("\r\n", "\n");
        prop_assert_eq!(theirs.trim_end_matches('\n'), expect);
    }

    #[test]
    fn no_bounce_loses_its_frame(diagnostic in ".{0,900}", original in ".{0,200}", address in ".{0,60}") {
        let recipient = BouncedRecipient { diagnostic: &diagnostic, final_recipient: &address, ..FAILED };
        let raw = bounce(&Bounce { recipients: &[recipient], returned: Returned::Full(original.as_bytes()), ..BOUNCE });
        let view = MailView::new(raw.into());
        prop_assert_eq!(view.parts().len(), 4);
        prop_assert_eq!(delivery_status(&view).unwrap().recipients.len(), 1);
    }
}
