//! Plugins that do what they should not, beside clean messages: each misdeed costs the message that asked
//! for it, and nobody else anything.

use std::sync::Arc;

use smpp::{Sm, Status};
use wirepost_tests::mailer::mail;
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::{number, text};
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Esme, Relay, Smsc, Traffic, World};

use End::{Held, Passes, Refused};

/// What comes of the message.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Its plugin faulted.
    Held,
    /// A limit took away what was too much.
    Passes,
    /// The plugin wanted that, and the peer was told.
    Refused,
}

/// The plugin that does it, what asks it to, and what comes of that.
const MISDEEDS: [(&str, &str, End); 27] = [
    ("trap", "trap", Held),
    ("spin", "spin", Held),
    ("hog", "hog", Held),
    ("liar", "unknown-verdict", Held),
    ("liar", "route nowhere", Held),
    ("liar", "no-route", Held),
    ("liar", "reply", Refused),
    ("liar", "edit-and-fail", Held),
    ("liar", "source", Held),
    ("liar", "recipient +33600000000", Held),
    ("liar", "forks", Held),
    ("liar", "fork-lie", Held),
    ("liar", "flood", Passes),
    ("rogue", "do:recurse", Held),
    ("rogue", "do:log-flood", Passes),
    ("rogue", "do:panic-flood", Passes),
    ("rogue", "do:log-fields", Passes),
    ("rogue", "do:panic", Held),
    ("rogue", "do:abort", Held),
    ("rogue", "do:error", Held),
    ("rogue", "do:error-lines", Held),
    ("rogue", "do:reason", Refused),
    ("rogue", "do:leak", Held),
    ("rogue", "do:fork-flood", Held),
    ("rogue", "do:keys", Held),
    ("rogue", "do:loop", Held),
    ("rogue", "do:eat", Held),
];
/// Octets of a reason that an operator is shown, and the words around it.
const REASON_BYTES_MAX: usize = 8 << 10;

/// All of them run at the door of the one who asks for misdeeds, and at that of clean messages; but
/// `hog` takes time for any message.
async fn world(modules: &[&str]) -> (World, Relay, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    // Time enough for clean messages on a busy machine; little for those that never end.
    let limits = "on_error: hold, limits: { time: 20s, cpu: 1s, memory: 32MiB }";
    let lines = modules.iter().map(|name| {
        let more = match *name {
            "rogue" => ", grants: { fork: 32 }",
            "hog" => ", on: back",
            _ => "",
        };
        format!("  - {{ name: {name}, module: {name}.wasm, {limits}{more} }}\n")
    });
    let account = "  shop: { smpp: { system_id: shop, password: secret } }\n";
    let door = "  esmes: { smpp: { bind: \"127.0.0.1:0\" } }\n";
    let config = config(relay.address, smsc.address, ROUTES)
        .replace(door, &format!("{door}{}", door.replace("esmes", "back")))
        .replace(account, &format!("{account}{}", account.replace("shop", "bad")));
    let folder = folder(&format!("plugins:\n{}{config}", lines.collect::<String>()));
    for name in modules {
        let file = format!("{name}.wasm");
        install(folder.path(), &file, &module(&file));
    }
    (World::start_in(folder).await, relay, smsc)
}

/// A message from a sender of its own: faults of one are not to count against the next.
fn bad(words: &str, sender: usize) -> Sm {
    let source = number(&format!("4479{sender:08}"));
    Sm { source, ..text("33612345678", words) }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misdeed_costs_its_own_message_and_nobody_else_anything() {
    let (world, _relay, smsc) = world(&["trap", "spin", "hog", "liar", "rogue"]).await;
    let shop = Arc::new(world.shop().await);
    let rogue = Esme::bind(world.address("back"), "bad", "secret").await;
    let traffic = Traffic::start(&shop);
    let mut passed = 0;
    for (sender, (plugin, words, end)) in MISDEEDS.into_iter().enumerate() {
        let (status, id) = rogue.submit(bad(words, sender)).await;
        match end {
            Refused => assert_ne!(status, Status::ROK, "{words}"),
            Passes => {
                assert_eq!(status, Status::ROK, "{words}");
                passed += 1;
            }
            Held => {
                assert_eq!(status, Status::ROK, "{words}");
                let why = until(&format!("{words} is held"), || {
                    let all = world.app().router.list(None, 1000).unwrap();
                    let mut held = all.into_iter().filter(|shown| shown.state == "held");
                    held.find(|shown| shown.message == id).map(|shown| shown.why.to_string())
                })
                .await;
                assert!(why.contains(plugin), "{words}: {why}");
                assert!(why.len() <= REASON_BYTES_MAX, "{words}: {} octets", why.len());
                assert_eq!(why.lines().count(), 1, "{words}: {why}");
            }
        }
        traffic.goes_on().await;
    }
    let sent = traffic.stop().await;
    until("nothing that waits but what is held", || {
        let all = world.app().router.list(None, 10_000).unwrap();
        all.iter().all(|shown| shown.state == "held").then_some(())
    })
    .await;
    let all = world.app().router.list(None, 10_000).unwrap();
    let held = MISDEEDS.iter().filter(|(_, _, end)| matches!(end, Held)).count();
    let clean: Vec<_> = all.iter().filter(|shown| &*shown.account == "shop").collect();
    assert!(clean.is_empty(), "{clean:?}");
    assert_eq!((all.len(), smsc.taken().len()), (held, sent + passed));
    assert!(!shop.is_gone() && !rogue.is_gone());
}

/// A stranger's mail may have as many fields as fit; a plugin that reads them again and again has its
/// own budget for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_with_thousands_of_fields_costs_its_own_plugin_call() {
    let (world, relay, smsc) = world(&["rogue"]).await;
    let shop = Arc::new(world.shop().await);
    let traffic = Traffic::start(&shop);
    let fields: String = (0..9000).map(|n| format!("X-F{n}: {n:080}\r\n")).collect();
    let mut mailer = world.mailer().await;
    let wide = [fields.as_bytes(), &mail("x", "do:headers")].concat();
    let reply = mailer.send("a@example.org", &["bob@example.com"], &wide).await;
    assert!(reply.starts_with("250"), "{reply}");
    traffic.goes_on().await;
    until("the mail is held", || {
        let all = world.app().router.list(None, 10_000).unwrap();
        all.iter().any(|shown| shown.state == "held").then_some(())
    })
    .await;
    let sent = traffic.stop().await;
    until("all clean messages", || (smsc.taken().len() >= sent).then_some(())).await;
    assert_eq!((smsc.taken().len(), relay.mails().len()), (sent, 0));
}

/// The names that the table above uses are those of the folder.
#[test]
fn every_plugin_that_misbehaves_is_in_the_table() {
    // These ask, write down and fork as tests tell them to; they mean no harm.
    const HELPFUL: [&str; 4] = ["asker", "clerk", "forker", "scribe"];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = MISDEEDS.iter().any(|(plugin, _, _)| *plugin == name);
        let is_plugin = entry.path().join("src").is_dir();
        assert!(!is_plugin || known || HELPFUL.contains(&name.as_str()), "{name}");
    }
}
