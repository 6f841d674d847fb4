//! `wirepost test`: the messages in a configuration, through real plugins and routes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tempfile::TempDir;
use wirepost::cli::test::{TestArgs, run};
use wirepost::config::{CheckOptions, load};
use wirepost::platform::clock::Clock;
use wirepost::rehearsal::{Rehearsal, Verdict};
use wirepost_tests::plugins::{install, module};
use wirepost_tests::world::folder;

async fn verdicts(folder: &TempDir) -> Vec<Verdict> {
    let loaded = load(&folder.path().join("wirepost.yaml"), CheckOptions { environment: false });
    let config = Arc::new(loaded.config.unwrap());
    let rehearsal = Rehearsal::open(Arc::clone(&config), Clock::system()).await.unwrap();
    let mut verdicts = Vec::new();
    for case in &config.tests {
        verdicts.push(rehearsal.run(case).await);
    }
    verdicts
}

fn quickstart() -> TempDir {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart/wirepost.yaml");
    let folder = folder(&fs::read_to_string(path).unwrap());
    install(folder.path(), "stop_words.wasm", &module("stop_words.wasm"));
    folder
}

async fn exit(file: PathBuf, name: Option<&str>) -> ExitCode {
    run(TestArgs { file, json: true, name: name.map(str::to_owned) }).await
}

#[tokio::test]
async fn the_tests_of_the_quickstart_are_met() {
    let folder = quickstart();
    let verdicts = verdicts(&folder).await;
    assert!(verdicts.len() >= 5);
    for verdict in &verdicts {
        assert!(verdict.ok, "{verdict:#?}");
    }
    let file = folder.path().join("wirepost.yaml");
    assert_eq!(exit(file, None).await, ExitCode::SUCCESS);
}

const CASES: &str = r#"
listeners:
  mail: { smtp: { bind: "127.0.0.1:0", allow: ["127.0.0.0/8"] } }
  esmes: { smpp: { bind: "127.0.0.1:0" } }
domains: { sms.test: { phone: FR } }
bounces: { via: relay, from: postmaster@gw.test }
accounts:
  shop: { smpp: { system_id: shop, password: { env: NOT_SET } }, from: [SHOP] }
connectors:
  smsc: { smpp: { host: 127.0.0.1, system_id: w, password: { env: NOT_SET } } }
  relay: { smtp: { host: 127.0.0.1, tls: none } }
routes:
  - { name: odd, when: { to: { exact: "+33611111111" } }, to: { hold: "odd number" } }
  - { name: gone, when: { to: { exact: "+33622222222" } }, to: { drop: silent } }
  - { name: no, when: { to: { exact: "+33633333333" } }, to: { reject: { text: "never" } } }
  - { name: numbers, when: { to: { kind: phone } }, to: smsc, convert: { text: "{text}", parts: 3 } }
tests:
  - { name: two parts, send: { door: mail, to: "0612345678@sms.test", text: LONG }, expect: { route: numbers, parts: 2, to: "+33612345678" } }
  - { name: held, send: { door: esmes, to: "+33611111111" }, expect: { outcome: held } }
  - { name: dropped, send: { door: esmes, to: "+33622222222" }, expect: { outcome: dropped } }
  - { name: rejected, send: { door: esmes, to: "+33633333333" }, expect: { outcome: rejected } }
  - { name: no route, send: { door: mail, to: bob@example.org }, expect: { outcome: no-route } }
  - { name: no number, send: { door: mail, to: bob@sms.test }, expect: { outcome: rejected } }
  - { name: not its sender, send: { door: esmes, account: shop, from: OTHER, to: "+33612345678" }, expect: { outcome: rejected } }
  - { name: its sender, send: { door: esmes, account: shop, from: SHOP, to: "+33612345678", text: hi }, expect: { target: smsc, from: SHOP, text: hi, parts: 1 } }
  - { name: one of two, send: { door: mail, to: ["0612345678@sms.test", "0611111111@sms.test"], text: x }, expect: { target: smsc } }
  - { name: this one fails, send: { door: mail, to: "0612345678@sms.test", text: x }, expect: { target: relay, text: y } }
"#;

#[tokio::test]
async fn every_outcome_can_be_expected_and_a_failure_names_its_place() {
    let folder = folder(&CASES.replace("LONG", &"a".repeat(200)));
    let verdicts = verdicts(&folder).await;
    let (last, met) = verdicts.split_last().unwrap();
    for verdict in met {
        assert!(verdict.ok, "{verdict:#?}");
    }
    let differences: Vec<_> = last
        .differences
        .iter()
        .map(|it| (it.what, it.expected.as_str(), it.got.as_str()))
        .collect();
    assert_eq!(differences, [("target", "relay", "smsc"), ("text", "y", "x")]);
    assert_eq!(&*last.place, "wirepost.yaml:27:5");
    let file = || folder.path().join("wirepost.yaml");
    assert_eq!(exit(file(), None).await, ExitCode::from(1));
    assert_eq!(exit(file(), Some("held")).await, ExitCode::SUCCESS);
    assert_eq!(exit(file(), Some("nothing like it")).await, ExitCode::from(66));
    assert_eq!(exit(folder.path().join("none.yaml"), None).await, ExitCode::from(78));
}

#[tokio::test]
async fn a_fault_of_a_plugin_shows_as_what_the_peer_would_see() {
    let config = CASES.replace("LONG", "a");
    let (rest, _) = config.split_once("tests:").unwrap();
    let tests = "plugins: [{ name: trap, module: trap.wasm, on_error: retry }]\ntests:\n  - { name: later, \
                 send: { door: mail, to: \"0612345678@sms.test\", text: a trap }, expect: { outcome: undecided } }\n";
    let folder = folder(&format!("{rest}{tests}"));
    install(folder.path(), "trap.wasm", &module("trap.wasm"));
    let verdicts = verdicts(&folder).await;
    assert!(verdicts[0].ok, "{verdicts:#?}");
    assert!(verdicts[0].became[0].why.as_ref().unwrap().contains("trap"), "{verdicts:#?}");
}
