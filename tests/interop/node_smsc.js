// An SMSC by node-smpp: takes submits, prints a line of JSON for each, sends receipts.
//
// Usage: node_smsc.js PORT SYSTEM_ID PASSWORD
//
// A phone whose number ends in 99 is never reached. A phone that gets `answer: TEXT` answers TEXT.
'use strict';
const smpp = require('smpp');

const [port, systemId, password] = process.argv.slice(2);
const say = (record) => process.stdout.write(JSON.stringify(record) + '\n');
let last = 1000;

function receipt(id, state) {
  const date = '2601010000';
  const [delivered, error] = state === 'DELIVRD' ? ['001', '000'] : ['000', '027'];
  return `id:${id} sub:001 dlvrd:${delivered} submit date:${date} done date:${date} stat:${state} err:${error} text:`;
}

function deliver(session, submit, esmClass, message, kind, id) {
  const { source_addr: from, source_addr_ton, source_addr_npi, destination_addr: to, dest_addr_ton, dest_addr_npi } = submit;
  const back = {
    source_addr: to, source_addr_ton: dest_addr_ton, source_addr_npi: dest_addr_npi,
    destination_addr: from, dest_addr_ton: source_addr_ton, dest_addr_npi: source_addr_npi,
    esm_class: esmClass, short_message: message,
  };
  setTimeout(() => session.deliver_sm(back, (resp) => say({ event: kind, id, status: resp.command_status })), 100);
}

function submit(session, pdu) {
  const id = String(++last);
  const { message, udh } = pdu.short_message;
  const [from, to] = [pdu.source_addr, pdu.destination_addr];
  const text = String(message);
  say({ event: 'message', id, from, to, text, coding: pdu.data_coding, part: Boolean(udh && udh.length) });
  session.send(pdu.response({ message_id: id }));
  if ((pdu.registered_delivery & 3) !== 0) {
    deliver(session, pdu, 4, receipt(id, to.endsWith('99') ? 'UNDELIV' : 'DELIVRD'), 'receipt-answer', id);
  }
  if (text.startsWith('answer: ')) deliver(session, pdu, 0, text.slice(8), 'mo-answer', id);
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
