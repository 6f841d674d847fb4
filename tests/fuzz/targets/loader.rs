//! The octets of a plugin, up to where they would be compiled: damaged ones are refused with one line,
//! whatever the damage, and what is accepted is read the same way again.
//!
//! It takes the files that do so, and not the host: the engine, which compiles, would have to be built
//! a second time. Panics of the parsers below us are answers, as long as nobody sees more of them.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use plugin::module::Module;
use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

#[path = "../../../host/src/plugin"]
#[expect(dead_code, unreachable_pub, reason = "the host uses more of them")]
mod plugin {
    pub mod fault;
    mod features;
    mod foreign;
    pub mod module;
    mod words;
}

/// Crates whose panics the loader catches.
const CAUGHT: [&str; 3] = ["/wasmparser-", "/wit-component-", "/wit-parser-"];
/// Characters of a refusal: it is one record of the log.
const REFUSAL_CHARS_MAX: usize = 4096;

/// A module with our interface in which every function traps: the door to what only a plugin reaches.
static PLUGIN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut resolve = Resolve::default();
    let wit = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk/wit"));
    let (package, _) = resolve.push_dir(wit).expect("the interface is well formed");
    let world = resolve.select_world(&[package], Some("plugin")).expect("it has our world");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the types of our world can be written");
    module
});

fuzz_target!(
    init: {
        pass_over_caught_panics();
        let whole = Module::read(&Bytes::from_static(&PLUGIN), None).expect("our interface loads");
        assert!(whole.was_core && !whole.exports.is_empty());
    },
    |octets: &[u8]| {
        let Some((&how, rest)) = octets.split_first() else { return };
        match how {
            0 => check(&Bytes::copy_from_slice(octets)),
            how if how & 1 == 0 => check(&Bytes::copy_from_slice(rest)),
            _ => check(&edited(&PLUGIN, rest)),
        }
    }
);

/// The octets with changes: each takes a place, what to do there, and an octet.
fn edited(octets: &[u8], changes: &[u8]) -> Bytes {
    let mut octets = octets.to_vec();
    for change in changes.chunks_exact(4) {
        let &[high, low, what, octet] = change else { break };
        let at = usize::from(u16::from_be_bytes([high, low])) % octets.len().max(1);
        match what % 4 {
            0 if octets.is_empty() => {}
            0 => octets[at] = octet,
            1 => octets.insert(at, octet),
            2 => drop(octets.drain(at..(at + usize::from(octet)).min(octets.len()))),
            _ => {
                let end = (at + usize::from(octet)).min(octets.len());
                octets.extend_from_within(at..end);
            }
        }
    }
    octets.into()
}

fn check(octets: &Bytes) {
    match Module::read(octets, None) {
        Ok(module) => {
            assert_eq!(module.size_bytes, octets.len());
            let again = Module::read(octets, Some(&module.sha256)).expect("the same octets again");
            assert_eq!(
                (again.imports, again.exports),
                (module.imports.clone(), module.exports.clone())
            );
            let none: &[Arc<str>] = &[];
            if let Err(refusal) = module.check_imports(Some(none)) {
                check_refusal(&refusal);
            }
        }
        Err(refusal) => check_refusal(&refusal),
    }
}

fn check_refusal(refusal: &plugin::fault::LoadError) {
    let text = refusal.to_string();
    assert_eq!(text.lines().count(), 1, "{text:?}");
    assert!(text.chars().count() <= REFUSAL_CHARS_MAX, "{} characters", text.chars().count());
    assert!(!refusal.reason.is_empty() && !refusal.remedy.is_empty());
}

/// libFuzzer's hook ends the process at any panic, caught or not. Those that escape end it all the same.
fn pass_over_caught_panics() {
    let fatal = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(std::panic::Location::file).unwrap_or_default();
        if !CAUGHT.iter().any(|part| place.contains(part)) {
            fatal(panic);
        }
    }));
}
