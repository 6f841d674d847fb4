//! What the engine cannot run is refused before it gets there.

use std::path::Path;
use std::process::{Command, Output};

use wirepost_tests::crash::binary;
use wirepost_tests::hostile::{with_function, with_subtypes};
use wirepost_tests::plugins::{install, module};
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc, World};

const WORDS: &str =
    "plugins:\n  - { name: words, module: stop_words.wasm, config: { words: [lottery] } }\n";
const LIST: &str = "docs/PLUGINS.md lists those that a plugin may use";

fn check(bytes: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.wasm");
    std::fs::write(&file, bytes).unwrap();
    plugin_check(&file)
}

fn plugin_check(file: &Path) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(["plugin", "check"]).arg(file).output().unwrap()
}

#[test]
fn a_module_that_made_the_engine_abort_is_refused_with_reason_and_remedy() {
    let output = check(&with_subtypes(&module("stop_words.wasm")));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(70), "{:?}: {said}", output.status);
    for part in ["the proposal `gc`", "(at validate)", LIST] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A container or an `ulimit` may leave little address space: that is nobody's mistake.
#[test]
fn a_system_without_memory_is_not_called_a_mistake_of_the_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("good.wasm");
    std::fs::write(&file, module("stop_words.wasm")).unwrap();
    let limited = "ulimit -v 1500000; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(binary().unwrap()).args(["plugin", "check"]).arg(&file);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("its author"), "{:?}: {said}", output.status);
    assert!(output.status.code().is_some(), "{:?}: {said}", output.status);
}

#[tokio::test]
async fn a_reload_refuses_such_a_module_and_the_process_goes_on() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let folder = folder(&format!("{WORDS}{}", config(relay.address, smsc.address, ROUTES)));
    let good = module("stop_words.wasm");
    install(folder.path(), "stop_words.wasm", &good);
    let world = World::start_in(folder).await;
    let before = world.app().reload.plugins();
    install(world.folder.path(), "stop_words.wasm", &with_subtypes(&good));
    let report =
        until("the refusal", || world.app().reload.last().filter(|report| !report.ok)).await;
    let lines = report.lines.join("\n");
    assert!(lines.contains("stop_words.wasm") && lines.contains(LIST), "{lines}");
    assert_eq!(world.app().reload.plugins(), before);
}

/// One instruction or type of each proposal that is off; none of them is called.
#[test]
fn every_proposal_that_nobody_needs_is_refused_by_its_name() {
    let off: [(&str, &[u8]); 8] = [
        ("tail-call", &[0x12, 0]),
        ("threads", &[0xFE, 0x03, 0]),
        ("relaxed-simd", &[0xFD, 0x80, 0x02]),
        ("exceptions", &[0x1F, 0x40, 0, 0x0B]),
        ("gc", &[0xFB, 0x1C]),
        ("function-references", &[0xD4]),
        ("wide-arithmetic", &[0xFC, 0x13]),
        ("legacy-exceptions", &[0x06, 0x40, 0x0B]),
    ];
    let good = module("stop_words.wasm");
    for (name, code) in off {
        let octets = with_function(&good, 0, code).into();
        let error = wirepost::plugin::Module::read(&octets, None).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")), "{name}: {error}");
    }
}
