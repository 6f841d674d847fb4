//! What is refused, and what is spared.

use serde_json::json;
use wirepost_sdk::prelude::*;
use wirepost_sdk::testing::{Harness, mail, sms};

use super::StopWords;

#[track_caller]
fn check(config: serde_json::Value, text: &str, stopped: bool) {
    let mut harness = Harness::<StopWords>::new(config).unwrap();
    let outcome = harness.process(&sms("SHOP", "+33612345678", text)).unwrap();
    assert_eq!(outcome.verdict != next(), stopped, "{text}: {:?}", outcome.verdict);
    assert!(!outcome.message.is_changed());
    assert_eq!(harness.counter("hits"), u64::from(stopped));
}

#[test]
fn words_are_found_in_any_case_and_whole() {
    check(json!({"words": ["Lottery"]}), "win the LOTTERY!", true);
    check(json!({"words": ["ass"]}), "see you in class", false);
    check(json!({"words": ["ass"], "whole_word": false}), "see you in class", true);
    check(json!({"words": ["Été"]}), "un été, enfin", true);
    check(json!({"words": ["lottery"]}), "", false);
}

#[test]
fn the_subject_counts() {
    let mut harness = Harness::<StopWords>::new(json!({"words": ["lottery"]})).unwrap();
    let raw = "From: a@example.org\nTo: b@example.org\nSubject: Your lottery\n\nhello\n";
    let outcome = harness.process(&mail(raw)).unwrap();
    assert_eq!(outcome.verdict, reject("message content is not allowed here").smtp(550, "5.7.1"));
}

#[test]
fn the_action_is_the_operators() {
    let config = json!({"words": ["x"], "action": "hold"});
    let mut harness = Harness::<StopWords>::new(config).unwrap();
    let outcome = harness.process(&sms("A1", "33700", "x")).unwrap();
    assert_eq!(outcome.verdict, hold("contains the stop word `x`"));
}

#[test]
fn a_configuration_that_filters_nothing_is_refused() {
    for config in [json!({}), json!({"words": []}), json!({"words": [" "]}), json!({"words": ["x"], "wrods": []})] {
        assert!(Harness::<StopWords>::new(&config).is_err(), "{config}");
    }
}
