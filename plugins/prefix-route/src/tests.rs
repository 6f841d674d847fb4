//! Which way a message goes.

use serde_json::json;
use wirepost_sdk::prelude::*;
use wirepost_sdk::testing::{Harness, sms};

use super::PrefixRoute;

fn harness(skip_down: bool) -> Harness<PrefixRoute> {
    let config = json!({
        "keywords": {"stop": "opt-out"},
        "prefixes": {"+33": ["fr-a", "fr-b"], "+336": "fr-mobile", "+44": "uk"},
        "skip_down": skip_down,
    });
    Harness::new(config).unwrap()
}

#[track_caller]
fn check(to: &[&str], text: &str, expect: Verdict) {
    let message = sms("SHOP", "", text).to(to.iter().copied());
    assert_eq!(harness(false).process(&message).unwrap().verdict, expect);
}

#[test]
fn the_longest_prefix_wins() {
    check(&["+33612345678"], "hi", route("fr-mobile"));
    check(&["+33112345678"], "hi", route_any(["fr-a", "fr-b"]));
    check(&["+4915112345"], "hi", next());
}

#[test]
fn a_keyword_goes_first() {
    check(&["+33612345678"], "STOP please", route("opt-out"));
    check(&["+33612345678"], "please stop", route("fr-mobile"));
}

#[test]
fn recipients_that_differ_are_left_to_the_tables() {
    check(&["+33612345678", "+447700900123"], "hi", next());
    check(&["+447700900123", "+447700900124"], "hi", route("uk"));
}

#[test]
fn targets_that_are_down_are_skipped_unless_all_are() {
    let mut harness = harness(true);
    harness.set_target("fr-a", false);
    harness.set_target("fr-b", true);
    let message = sms("SHOP", "+33112345678", "hi");
    assert_eq!(harness.process(&message).unwrap().verdict, route("fr-b"));
    harness.set_target("fr-b", false);
    assert_eq!(harness.process(&message).unwrap().verdict, route_any(["fr-a", "fr-b"]));
}

#[test]
fn a_configuration_that_routes_nothing_is_refused() {
    assert!(Harness::<PrefixRoute>::new(json!({})).is_err());
    assert!(Harness::<PrefixRoute>::new(json!({"prefixes": {"+33": []}})).is_err());
}
