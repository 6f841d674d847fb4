//! Mail read, edited, turned into text and written, against the RFCs and against mail-parser.

mod edits;
mod reading;
mod writing;

use bytes::Bytes;

use super::MailView;

/// A mail with CRLF line ends.
fn mail(text: &str) -> Bytes {
    Bytes::from(text.replace('\n', "\r\n"))
}

fn view(text: &str) -> MailView {
    MailView::new(mail(text))
}

/// A newsletter with an alternative, an inline image and an attachment.
const FULL: &str = "\
Received: from a by b; Mon, 23 Nov 2026 09:22:05 +0000
Received: from c by a;
\tMon, 23 Nov 2026 09:22:04 +0000
From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>
to: \"Doe, Jane\" <jane@example.net>, bob@example.net
X-Odd :  spaced
Subject: =?utf-8?B?R3LDvMOf?= =?utf-8?B?ZQ==?= from
 home
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=\"outer\"

preamble
--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Caf=E9 au=
 lait
--=20
Joerg
--inner
Content-Type: text/html; charset=utf-8

<p>Caf&eacute; au lait</p>
--inner--
--outer
Content-Type: application/pdf; name=\"a.pdf\"
Content-Disposition: attachment; filename=\"price list.pdf\"
Content-Transfer-Encoding: base64

SGVsbG8s
IHdvcmxk
--outer--
epilogue
";
