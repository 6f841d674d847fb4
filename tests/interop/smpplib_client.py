"""Binds by smpplib, submits short messages and a long one, and waits for the receipt of each.

Usage: smpplib_client.py PORT SYSTEM_ID PASSWORD [TO TEXT]
"""

import re
import sys
import time

import smpplib.client
import smpplib.consts
import smpplib.gsm

WAIT_S = 40
LONG = "long " + "0123456789" * 35

port, system_id, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
to, texts = "33612345678", ["hello 1", "hello 2", "prix 5 €", "привет", LONG]
if len(sys.argv) > 4:
    to, texts = sys.argv[4], [sys.argv[5]]
answered, receipted = [], {}


def text(octets):
    return octets.decode("ascii").rstrip("\0")


def on_receipt(pdu):
    if pdu.esm_class & 0x3C == 0x04:
        body = text(pdu.short_message or b"")
        found = re.search(r"id:(\S+)", body)
        stat = re.search(r"stat:(\S+)", body)
        ident = text(pdu.receipted_message_id) if pdu.receipted_message_id else found.group(1)
        receipted[ident] = stat.group(1) if stat else pdu.message_state
    return 0


client = smpplib.client.Client("127.0.0.1", port, timeout=2, allow_unknown_opt_params=True)
client.set_message_sent_handler(lambda pdu: answered.append(text(pdu.message_id)))
client.set_message_received_handler(on_receipt)
client.connect()
client.bind_transceiver(system_id=system_id, password=password)

submitted = 0
for message in texts:
    parts, coding, flag = smpplib.gsm.make_parts(message)
    for part in parts:
        client.send_message(
            source_addr_ton=smpplib.consts.SMPP_TON_INTL,
            source_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
            source_addr="33701",
            dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
            dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
            destination_addr=to,
            short_message=part,
            data_coding=coding,
            esm_class=flag,
            registered_delivery=True,
        )
        submitted += 1

until = time.monotonic() + WAIT_S
while time.monotonic() < until and not (len(answered) == submitted and set(answered) <= set(receipted)):
    client.read_once()

print(f"submitted {submitted}, answered {answered}, receipts {receipted}")
assert len(answered) == submitted, "not every submit was answered"
assert len(set(answered)) == submitted, "two submits got the same id"
assert set(answered) == set(receipted), "receipts and answers name different ids"
assert all(stat == "DELIVRD" for stat in receipted.values()), "not everything was delivered"
client.unbind()
client.disconnect()
