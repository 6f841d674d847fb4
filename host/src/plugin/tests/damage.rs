//! Octets that are no plugin: an answer, never a panic.

use bytes::Bytes;

use super::{World, config, host_env, module};
use crate::plugin::{LoadStep, MODULE_BYTES_MAX, Module};

#[track_caller]
fn check(octets: &Bytes, step: LoadStep, part: &str) {
    let error = Module::read(octets, None).unwrap_err();
    assert_eq!(error.step, step, "{error}");
    assert!(error.to_string().contains(part), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "one log record is one line: {error}");
}

#[test]
fn what_is_no_module_is_told_apart() {
    check(&Bytes::new(), LoadStep::Validate, "copy the file again");
    check(&Bytes::from_static(b"#!/bin/sh\n"), LoadStep::Validate, "not a WebAssembly module");
    check(&Bytes::from_static(b"\0asm\x01\0\0\0"), LoadStep::Componentize, "not a Wirepost plugin");
    check(&Bytes::from(vec![0; MODULE_BYTES_MAX + 1]), LoadStep::Read, "octets");
}

#[test]
fn every_truncation_is_refused() {
    let whole = module("trap");
    for length in (0..whole.len()).step_by(whole.len() / 400) {
        assert!(Module::read(&whole.slice(..length), None).is_err(), "{length} octets");
    }
}

/// Some flips leave a module that is still good; none may do more than that.
#[test]
fn a_flipped_bit_never_panics() {
    let whole = module("trap");
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..300 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state >> 20).unwrap() % whole.len();
        let mut octets = whole.to_vec();
        octets[at] ^= 1 << (state >> 8 & 7);
        // What matters is that it comes back.
        drop(Module::read(&octets.into(), None));
    }
}

/// What the module says about its types is read by recursion; a name that is another may lead it round.
#[test]
fn a_flipped_bit_in_a_name_never_panics() {
    for name in ["trap", "asker"] {
        let whole = module(name);
        let word = b"wirepost:plugin";
        let places = whole.windows(word.len()).enumerate().filter(|(_, octets)| octets == word);
        let mut tried = 0;
        for (place, _) in places {
            for at in [place + 3, place + 12, place + word.len() + 2] {
                let mut octets = whole.to_vec();
                octets[at] ^= 1;
                tried += 1;
                drop(Module::read(&octets.into(), None));
            }
        }
        assert!(tried > 50, "{name}: {tried}");
    }
}

/// Modules that pass the reading go all the way, budgets included.
#[tokio::test]
async fn a_module_with_flipped_bits_is_run_or_refused() {
    let world = World::new();
    let whole = module("trap");
    let mut config = config("trap", "{}");
    config.limits.cpu = std::time::Duration::from_millis(100);
    let config = std::sync::Arc::new(config);
    let mut tried = 0;
    for step in 1..40_usize {
        let at = (whole.len() / 2 + step * 1009) % whole.len();
        let mut octets = whole.to_vec();
        octets[at] ^= 0x10;
        tried += 1;
        drop(super::HOST.load(&config, octets.into(), &host_env(&world)).await);
    }
    assert_eq!(tried, 39);
}

/// A record of the interface with another type of field is no mistake of the plugin's code.
#[tokio::test]
async fn types_that_are_not_those_of_the_interface_are_refused_where_it_is_linked() {
    let mut octets = module("stop_words").to_vec();
    // Component model binary format: a label with its length, then the type; 0x7b is u16, 0x79 u32.
    let (field, wide) = (b"\x09smtp-code\x7b", 0x79);
    let places = octets.windows(field.len()).enumerate().filter(|(_, found)| found == field);
    let places: Vec<usize> = places.map(|(at, _)| at + field.len() - 1).collect();
    assert!(!places.is_empty());
    for at in places {
        octets[at] = wide;
    }
    let config = std::sync::Arc::new(config("stop_words", r#"{"words":["lottery"]}"#));
    let error = super::HOST.load(&config, octets.into(), &host_env(&World::new())).await;
    let error = error.unwrap_err();
    assert_eq!(error.step, LoadStep::Link, "{error}");
    let text = error.to_string();
    assert!(text.contains("u32") && text.contains("wirepost-sdk of this host's version"), "{text}");
}
