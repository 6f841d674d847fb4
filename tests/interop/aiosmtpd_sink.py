"""A mail server by aiosmtpd that takes everything and prints a line of JSON for each mail.

Usage: aiosmtpd_sink.py PORT
"""

import email
import email.policy
import json
import sys
import threading

from aiosmtpd.controller import Controller


class Sink:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        record = {
            "event": "message",
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "subject": str(mail["subject"]),
            "received": len(mail.get_all("received", [])),
            "text": mail.get_content(),
        }
        print(json.dumps(record), flush=True)
        return "250 taken"


controller = Controller(Sink(), hostname="127.0.0.1", port=int(sys.argv[1]), enable_SMTPUTF8=True)
controller.start()
threading.Event().wait()
