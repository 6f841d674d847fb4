//! Delivery reports (RFC 3464) as other mail systems write them, and read again.

/// A report about one recipient.
#[must_use]
pub fn report(recipient: &str, action: &str, status: &str) -> Vec<u8> {
    let text = format!(
        "From: MAILER-DAEMON@mx.example.org\n\
         To: whom@it.concerns\n\
         Subject: Delivery report\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0000\n\
         Message-ID: <{action}@mx.example.org>\n\
         Auto-Submitted: auto-replied\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"=_b\"\n\
         \n\
         --=_b\n\
         \n\
         This is the mail system at mx.example.org.\n\
         --=_b\n\
         Content-Type: message/delivery-status\n\
         \n\
         Reporting-MTA: dns; mx.example.org\n\
         \n\
         Final-Recipient: rfc822; {recipient}\n\
         Action: {action}\n\
         Status: {status}\n\
         Diagnostic-Code: smtp; 550 {status} as it is\n\
         \n\
         --=_b\n\
         Content-Type: text/rfc822-headers\n\
         \n\
         Subject: SMS from 33700\n\
         --=_b--\n"
    );
    text.replace('\n', "\r\n").into_bytes()
}
