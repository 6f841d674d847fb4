"""Sends one mail by Python's smtplib: lines that begin with dots, eight-bit text, and odd header fields.

Usage: smtplib_client.py PORT SUBJECT RECIPIENT[=NOTIFY]...

Prints the SHA-256 of the message as it was sent, with CRLF and without the dots of DATA.
"""

import hashlib
import json
import smtplib
import sys
from email.header import Header

port, subject, *recipients = sys.argv[1:]
MAIL = [
    f"Subject: {Header(subject, 'utf-8').encode()}",
    "From: alice@client.test",
    "To: somebody@client.test",
    "Date: Mon, 05 Jan 2026 10:00:00 +0100",
    "Message-ID: <one@client.test>",
    "X-Folded: one",
    "\t two ",
    "x-folded: again",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 8bit",
    "",
    ".",
    "..two",
    ".one ünï",
    " \ttrailing \t ",
    "",
    "",
    "long " + "x" * 900,
    "last",
    "",
]
octets = "\r\n".join(MAIL).encode()

with smtplib.SMTP("127.0.0.1", int(port), timeout=20) as client:
    client.ehlo("client.test")
    for extension in ("size", "8bitmime", "pipelining", "dsn", "enhancedstatuscodes"):
        assert client.has_extn(extension), f"{extension} is not offered"
    code, reply = client.mail("alice@client.test", ["BODY=8BITMIME", "ENVID=" + subject.encode().hex(), "RET=HDRS"])
    assert code == 250, reply
    for recipient in recipients:
        address, _, notify = recipient.partition("=")
        wishes = [f"NOTIFY={notify}", f"ORCPT=rfc822;{address}"] if notify else []
        code, reply = client.rcpt(address, wishes)
        assert code == 250, reply
    code, reply = client.data(octets)
    assert code == 250, reply

print(json.dumps({"digest": hashlib.sha256(octets).hexdigest(), "envid": subject.encode().hex(), "reply": reply.decode()}))
