//! The log tells what happened and not to whom.

use std::sync::{Arc, Mutex};

use smpp::Status;
use wirepost::config::{LogAddresses, LogConfig, LogFormat};
use wirepost::observe::log;
use wirepost_tests::mailer::mail;
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::{text, text_with_receipt};
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Answer, Relay, Smsc, World};

/// Numbers and mailboxes that no other test uses.
const NUMBER: &str = "33698765432";
const LOCAL: &str = "very.secret.person";

#[tokio::test]
async fn no_record_of_a_flow_has_a_full_number_or_mailbox() {
    let written = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&written);
    let sink: log::lines::Sink = Arc::new(move |line: &str| to.lock().unwrap().push_str(line));
    let everything = LogConfig {
        filter: "wirepost=trace,plugin=trace".into(),
        format: LogFormat::Json,
        addresses: LogAddresses::Hashed,
    };
    log::start_to(&everything, false, sink);
    let relay = Relay::start().await;
    let mut numbers = 0;
    let smsc = Smsc::start_with(move |_, _| {
        numbers += 1;
        Answer {
            status: if numbers == 1 { Status(0x58) } else { Status::ROK },
            ..Answer::default()
        }
    })
    .await;
    let plugins = "plugins:\n  - { name: trap, module: trap.wasm, on_error: retry }\n  \
                   - { name: stop-words, module: stop_words.wasm, config: { words: [lottery] } }\n";
    let folder = folder(&format!("{plugins}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), "trap.wasm", &module("trap.wasm"));
    install(folder.path(), "stop_words.wasm", &module("stop_words.wasm"));
    let world = World::start_in(folder).await;
    let mut mailer = world.mailer().await;
    let from = format!("{LOCAL}@example.org");
    let number = format!("+{NUMBER}@sms.test");
    for (to, words) in [
        (&*number, "hello"),
        ("bob@example.com", "hello"),
        (&number, "a lottery"),
        (&number, "a trap"),
        (&format!("{NUMBER}x@sms.test"), "no number"),
    ] {
        mailer.send(&from, &[to], &mail("x", words)).await;
    }
    let shop = world.shop().await;
    shop.submit(text_with_receipt(NUMBER, "hello")).await;
    shop.submit(text(NUMBER, "a lottery")).await;
    smsc.wait(2).await;
    relay.wait(1).await;
    drop(world.stop().await);
    let log = written.lock().unwrap().clone();
    for event in ["message.refused", "smtp.connect", "smpp.bind", "plugin.fault", "started"] {
        assert!(log.contains(&format!("\"event\":\"{event}\"")), "{event} is not in:\n{log}");
    }
    for secret in [NUMBER, LOCAL] {
        let told: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}
