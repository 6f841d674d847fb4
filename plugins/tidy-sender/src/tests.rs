//! What is tidied, and what stays as it came.

use serde_json::json;
use wirepost_sdk::prelude::*;
use wirepost_sdk::testing::{Harness, binary, mail, sms};

use super::TidySender;

fn harness() -> Harness<TidySender> {
    let config = json!({
        "senders": {"acme ltd": "ACME", "Acme": "ACME"},
        "headers": {"X-Tidied": "yes"},
        "replace": [{"find": "&amp;", "with": "&"}],
    });
    Harness::new(config).unwrap()
}

#[test]
fn spellings_become_one_sender() {
    for spelling in ["Acme Ltd", "acme", "ACME LTD "] {
        let outcome = harness().process(&sms(spelling, "+33612345678", "hi")).unwrap();
        assert_eq!(outcome.message.source(), "ACME", "{spelling}");
        assert_eq!(outcome.verdict, next());
    }
}

#[test]
fn what_is_tidy_is_not_touched() {
    let outcome = harness().process(&sms("ACME", "+33612345678", "hi")).unwrap();
    assert!(!outcome.message.is_changed());
}

#[test]
fn mail_gets_its_header_and_text() {
    let raw = "From: a@example.org\nTo: b@example.org\nSubject: x\n\nfish &amp; chips\n";
    let outcome = harness().process(&mail(raw)).unwrap();
    assert_eq!(outcome.message.header("X-Tidied").as_deref(), Some("yes"));
    assert_eq!(outcome.message.text(), "fish & chips");
    assert_eq!(outcome.message.header("Subject").as_deref(), Some("x"));
}

#[test]
fn octets_are_left_alone() {
    let outcome = harness().process(&binary("ACME", "33700", b"&amp;", 4, 0)).unwrap();
    assert!(!outcome.message.is_changed());
}

#[test]
fn an_empty_search_is_refused() {
    assert!(Harness::<TidySender>::new(json!({"replace": [{"find": "", "with": "x"}]})).is_err());
}
