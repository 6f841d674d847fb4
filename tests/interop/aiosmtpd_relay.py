"""A mail server by aiosmtpd that fails as recipients ask for, and prints a line of JSON for each mail.

Usage: aiosmtpd_relay.py PORT [dsn]

A recipient whose mailbox begins with `gone` is refused with 550, one with `later` is told to come
again once, and a message for one with `spam` is refused after its last octet. With `dsn` the server
offers the extension DSN and prints the wishes that it was told.
"""

import email
import email.policy
import hashlib
import json
import re
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

WISHES = {"mail": ("RET", "ENVID"), "rcpt": ("NOTIFY", "ORCPT")}


class Relay(SMTP):
    """aiosmtpd knows no parameters of DSN: they are noted and taken away before it looks."""

    def note(self, kind, arg):
        noted = {}
        for name in WISHES[kind]:
            found = re.search(rf" {name}=(\S+)", arg or "", re.IGNORECASE)
            if found and "dsn" in sys.argv:
                noted[name.lower()] = found.group(1)
                arg = arg.replace(found.group(0), "")
        return noted, arg

    async def smtp_MAIL(self, arg):
        noted, arg = self.note("mail", arg)
        await super().smtp_MAIL(arg)
        self.envelope.noted = noted

    async def smtp_RCPT(self, arg):
        noted, arg = self.note("rcpt", arg)
        before = len(self.envelope.rcpt_tos)
        await super().smtp_RCPT(arg)
        if len(self.envelope.rcpt_tos) > before:
            self.envelope.rcpt_options.append(noted)


class Handler:
    def __init__(self):
        self.came = set()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return responses[:-1] + ["250-DSN"] * ("dsn" in sys.argv) + responses[-1:]

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone"):
            return "550 5.1.1 nobody of that name"
        if address.startswith("later") and address not in self.came:
            self.came.add(address)
            print(json.dumps({"event": "deferred", "address": address}), flush=True)
            return "451 4.7.1 come again"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        if any(address.startswith("spam") for address in envelope.rcpt_tos):
            return "554 5.6.0 not this"
        print(json.dumps(record(envelope)), flush=True)
        return "250 2.0.0 taken"


def record(envelope):
    octets = envelope.original_content
    mail = email.message_from_bytes(octets, policy=email.policy.default)
    text = mail.get_body(("plain",))
    pairs = zip(envelope.rcpt_tos, envelope.rcpt_options)
    return {
        "event": "message",
        "sender": (envelope.mail_from or "").replace("<>", ""),
        "recipients": [{"address": address, **noted} for address, noted in pairs],
        "subject": str(mail["subject"]),
        "received": len(mail.get_all("received", [])),
        "by": [re.search(r"\bby (\S+)", str(field)).group(1) for field in mail.get_all("received", [])],
        "digest": hashlib.sha256(without_trace(octets)).hexdigest(),
        "text": text.get_content() if text else "",
        "report": report(mail),
        **envelope.noted,
    }


def without_trace(octets):
    """The message without the fields that servers on its way put before it."""
    return re.sub(rb"\A(?:(?:Received|Return-Path):[^\n]*\n(?:[ \t][^\n]*\n)*)+", b"", octets)


def report(mail):
    """The fields of a delivery report (RFC 3464): of the message, then of each recipient."""
    if mail.get_content_type() != "multipart/report":
        return None
    for part in mail.walk():
        if part.get_content_type() == "message/delivery-status":
            blocks = [{name.lower(): str(value) for name, value in block.items()} for block in part.get_payload()]
            return [block for block in blocks if block]
    return []


class Listening(Controller):
    def factory(self):
        return Relay(self.handler, enable_SMTPUTF8=True, hostname="relay.test", timeout=60)


Listening(Handler(), hostname="127.0.0.1", port=int(sys.argv[1])).start()
threading.Event().wait()
