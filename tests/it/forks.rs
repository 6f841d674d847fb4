//! What plugins make of messages beside them: answers to their senders, copies, the text of an SMS.

use std::sync::Arc;

use bytes::Bytes;
use smpp::Sm;
use wirepost::config::{CheckOptions, load};
use wirepost::platform::clock::Clock;
use wirepost::rehearsal::Rehearsal;
use wirepost_tests::mailer::mail;
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::{number, text};
use wirepost_tests::wait::until;
use wirepost_tests::world::{base, connectors, folder};
use wirepost_tests::{Relay, Smsc, World};

/// The plugin that answers what its name is.
const CLERK: &str = "plugins:\n  - { name: clerk, module: clerk.wasm, grants: { source: true, fork: 8, \
                     recipients: [{ prefix: '+' }, { domain: example.org }] } }\n";
/// What comes from the SMSC goes to the application, what a plugin makes goes where its address leads.
const ROUTES: &str = "routes:
  - { name: app, when: { door: smsc, fork: false }, to: shop }
  - { name: numbers, when: { to: { kind: phone } }, to: smsc, convert: { text: \"{subject}: {text}\" } }
  - { name: mails, when: { to: { kind: mailbox } }, to: relay }
";

async fn stage(more: &str) -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let connectors = connectors(relay.address, smsc.address);
    let journal = "journal: { path: journal }\n";
    let folder = folder(&format!("{}{journal}{CLERK}{connectors}{ROUTES}{more}", base()));
    install(folder.path(), "clerk.wasm", &module("clerk.wasm"));
    let world = World::start_in(folder).await;
    world.wait_target("smsc", true).await;
    (world, relay, smsc)
}

/// A message of a subscriber to the short code.
fn from_subscriber(words: &str) -> Sm {
    Sm {
        source: number("33612345678"),
        destination: text("", "").source,
        short_message: Bytes::copy_from_slice(words.as_bytes()),
        ..Sm::default()
    }
}

#[tokio::test]
async fn an_answer_to_the_sender_leaves_by_the_one_smsc_and_nothing_else_does() {
    let (world, _relay, smsc) = stage("").await;
    let shop = world.shop().await;
    smsc.deliver(from_subscriber("answer Bye"));
    let answer = smsc.wait(1).await.remove(0);
    assert_eq!(answer.short_message, "Bye");
    assert_eq!(answer.destination, number("33612345678"));
    assert_eq!(answer.source.addr.to_string(), "33700");
    smsc.deliver(from_subscriber("copy +33699999999 Psst"));
    until("both at the application", || (shop.delivered().len() == 2).then_some(())).await;
    world.wait_empty().await;
    assert_eq!(smsc.taken().len(), 1, "a copy for somebody else does not go back");
    shop.submit(text("33612345678", "copy +33699999999 Psst")).await;
    smsc.wait(3).await;
}

#[tokio::test]
async fn an_answer_to_a_mail_leaves_by_the_relay() {
    let (world, relay, _smsc) = stage("").await;
    let mut mailer = world.mailer().await;
    let question = mail("Question", "answer Soon");
    let reply = mailer.send("alice@example.org", &["desk@example.org"], &question).await;
    assert!(reply.starts_with("250"), "{reply}");
    let mails = relay.wait(2).await;
    let answer = mails.iter().find(|mail| mail.recipients == ["alice@example.org"]).unwrap();
    assert_eq!(answer.sender, "desk@example.org");
    assert!(answer.text().contains("Soon"), "{}", answer.text());
}

const CASES: &str = "tests:
  - name: what the plugin says is what is sent
    send: { door: mail, to: \"0612345678@sms.test\", subject: Disk, text: convert db1 is full }
    expect: { target: smsc, text: db1 is full, parts: 1 }
  - name: the route says it where the plugin does not
    send: { door: mail, to: \"0612345678@sms.test\", subject: Disk, text: db1 is full }
    expect: { target: smsc, text: \"Disk: db1 is full\" }
  - name: the sender is answered by the way that it came
    send: { door: smsc, from: \"+33612345678\", to: \"33700\", text: answer Bye }
    expect: { target: smsc, route: numbers, to: \"+33612345678\", from: \"33700\", text: Bye }
  - name: nobody else is
    send: { door: smsc, from: \"+33612345678\", to: \"33700\", text: copy +33699999999 Psst }
    expect: { outcome: dropped }
";

#[tokio::test]
async fn a_rehearsal_and_the_router_send_the_same() {
    let (world, _relay, smsc) = stage(CASES).await;
    let loaded = load(&world.config(), CheckOptions { environment: false });
    let config = Arc::new(loaded.config.unwrap());
    let rehearsal = Rehearsal::open(Arc::clone(&config), Clock::system()).await.unwrap();
    for case in &config.tests {
        let verdict = rehearsal.run(case).await;
        assert!(verdict.ok, "{verdict:#?}");
    }
    let mut mailer = world.mailer().await;
    for words in ["convert db1 is full", "db1 is full"] {
        let reply =
            mailer.send("a@example.org", &["0612345678@sms.test"], &mail("Disk", words)).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let sent = smsc.wait(2).await;
    let mut texts: Vec<_> = sent.iter().map(|sm| sm.short_message.clone()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["Disk: db1 is full", "db1 is full"]);
}
