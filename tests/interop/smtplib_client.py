"""Sends one mail by Python's smtplib: lines that begin with dots, and eight-bit text.

Usage: smtplib_client.py PORT RECIPIENT
"""

import smtplib
import sys
from email.message import EmailMessage

mail = EmailMessage()
mail["From"] = "alice@client.test"
mail["To"] = sys.argv[2]
mail["Subject"] = "Grüße from smtplib"
mail.set_content(".\n..two\n.one ünï\nlast\n", cte="8bit")

with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=20) as client:
    client.ehlo("client.test")
    for extension in ("size", "8bitmime", "pipelining", "dsn", "enhancedstatuscodes"):
        assert client.has_extn(extension), f"{extension} is not offered"
    client.send_message(mail, mail_options=["BODY=8BITMIME"], rcpt_options=["NOTIFY=FAILURE"])
