// An SMSC by node-smpp: takes submits, prints a line of JSON for each, sends receipts.
//
// Usage: node_smsc.js PORT SYSTEM_ID PASSWORD
'use strict';
const smpp = require('smpp');

const [port, systemId, password] = process.argv.slice(2);
const say = (record) => process.stdout.write(JSON.stringify(record) + '\n');
let last = 1000;

function receipt(id) {
  const date = '2601010000';
  return `id:${id} sub:001 dlvrd:001 submit date:${date} done date:${date} stat:DELIVRD err:000 text:`;
}

function submit(session, pdu) {
  const id = String(++last);
  const { message, udh } = pdu.short_message;
  const to = pdu.destination_addr;
  say({ event: 'message', id, to, text: String(message), part: Boolean(udh && udh.length) });
  session.send(pdu.response({ message_id: id }));
  if ((pdu.registered_delivery & 3) === 0) return;
  const deliver = { source_addr: to, destination_addr: pdu.source_addr, esm_class: 4, short_message: receipt(id) };
  setTimeout(() => session.deliver_sm(deliver, (resp) => say({ event: 'receipt-answer', id, status: resp.command_status })), 100);
}

const server = smpp.createServer((session) => {
  session.on('error', (error) => say({ event: 'error', error: String(error) }));
  session.on('bind_transceiver', (pdu) => {
    const right = pdu.system_id === systemId && pdu.password === password;
    say({ event: 'bind', right });
    session.send(pdu.response({ system_id: 'node', command_status: right ? 0 : smpp.ESME_RINVPASWD }));
  });
  session.on('submit_sm', (pdu) => submit(session, pdu));
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => { session.send(pdu.response()); session.close(); });
});
server.listen(Number(port), '127.0.0.1');
