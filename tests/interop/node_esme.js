// An ESME by node-smpp: binds, submits, waits for a receipt and for the answer of the phone, unbinds.
//
// Usage: node_esme.js PORT SYSTEM_ID PASSWORD
'use strict';
const assert = require('assert');
const smpp = require('smpp');

const [port, systemId, password] = process.argv.slice(2);
const FROM = { source_addr: '33800', source_addr_ton: 3, source_addr_npi: 0 };
const TO = { destination_addr: '33612345678', dest_addr_ton: 1, dest_addr_npi: 1 };
const deadline = setTimeout(() => { console.error('it took too long; delivered so far:', delivered); process.exit(1); }, 40000);

const delivered = [];
let look = () => {};

const open = () => new Promise((resolve, reject) => {
  const session = smpp.connect({ url: `smpp://127.0.0.1:${port}` }, () => resolve(session));
  session.on('error', reject);
});
const call = (session, command, options) => new Promise((resolve) => session[command](options, resolve));
const arrival = (wanted) => new Promise((resolve) => {
  look = () => { const found = delivered.find(wanted); if (found) resolve(found); };
  look();
});

async function main() {
  const stranger = await open();
  const refused = await call(stranger, 'bind_transceiver', { system_id: systemId, password: 'wrong' });
  assert.notEqual(refused.command_status, 0, 'a wrong password binds');
  stranger.destroy();

  const session = await open();
  session.on('deliver_sm', (pdu) => {
    delivered.push({ receipt: (pdu.esm_class & 0x3c) === 4, id: pdu.receipted_message_id,
      from: pdu.source_addr, to: pdu.destination_addr, text: String(pdu.short_message.message) });
    session.send(pdu.response());
    look();
  });
  const bound = await call(session, 'bind_transceiver', { system_id: systemId, password });
  assert.equal(bound.command_status, 0, 'the bind');
  assert.equal((await call(session, 'enquire_link', {})).command_status, 0, 'enquire_link');

  const submit = async (to, text) => {
    const resp = await call(session, 'submit_sm', { ...FROM, ...TO, ...to, short_message: text, registered_delivery: 1 });
    assert.equal(resp.command_status, 0, `submit_sm of ${text}`);
    return resp.message_id;
  };
  const good = await submit({}, 'answer: et voilà');
  const bad = await submit({ destination_addr: '33612345699' }, 'nobody is there');
  for (const [id, state, from] of [[good, 'DELIVRD', '33612345678'], [bad, 'UNDELIV', '33612345699']]) {
    const receipt = await arrival((sm) => sm.receipt && sm.id === id);
    assert.match(receipt.text, new RegExp(`^id:${id} .*stat:${state} `));
    assert.deepEqual([receipt.from, receipt.to], [from, '33800']);
  }
  const answer = await arrival((sm) => !sm.receipt);
  assert.deepEqual(answer, { receipt: false, id: undefined, from: '33612345678', to: '33800', text: 'et voilà' });

  const query = await call(session, 'query_sm', { message_id: good, source_addr: '33800' });
  console.log(JSON.stringify({ event: 'query', status: query.command_status, state: query.message_state }));
  assert.equal((await call(session, 'enquire_link', {})).command_status, 0, 'the session lives');
  assert.equal((await call(session, 'unbind', {})).command_status, 0, 'unbind');
  await new Promise((resolve) => { session.on('close', resolve); session.close(); });
  console.log(JSON.stringify({ event: 'done', good, bad, delivered: delivered.length }));
  clearTimeout(deadline);
}

main().catch((error) => { console.error(String(error)); process.exit(1); });
