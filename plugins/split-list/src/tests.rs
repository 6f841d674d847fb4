//! Who gets what.

use serde_json::json;
use wirepost_sdk::prelude::*;
use wirepost_sdk::testing::{Harness, sms};

use super::SplitList;

fn harness(each: &str) -> Harness<SplitList> {
    let config = json!({"lists": {"9000": ["+33611111111", "+33622222222"]}, "each": each});
    Harness::new(config).unwrap()
}

#[test]
fn a_list_becomes_its_members() {
    let outcome = harness("recipient").process(&sms("SHOP", "9000", "hi")).unwrap();
    assert_eq!(outcome.message.recipients(), ["+33611111111", "+33622222222"]);
    assert_eq!((outcome.verdict, outcome.forks.len()), (next(), 0));
}

#[test]
fn others_stay_and_nobody_is_told_twice() {
    let message = sms("SHOP", "", "hi").to(["+33611111111", "9000"]);
    let outcome = harness("recipient").process(&message).unwrap();
    assert_eq!(outcome.message.recipients(), ["+33611111111", "+33622222222"]);
}

#[test]
fn each_member_may_have_a_message_of_its_own() {
    let outcome = harness("message").process(&sms("SHOP", "9000", "hi")).unwrap();
    assert!(matches!(outcome.verdict, Verdict::Drop(_)));
    let to: Vec<_> = outcome.forks.iter().flat_map(|fork| fork.message.recipients()).collect();
    assert_eq!(to, ["+33611111111", "+33622222222"]);
    assert!(outcome.forks.iter().all(|fork| fork.answers == Answers::Share && fork.verdict == next()));
}

#[test]
fn what_is_no_list_passes() {
    let outcome = harness("message").process(&sms("SHOP", "+33699999999", "hi")).unwrap();
    assert_eq!(outcome.verdict, next());
    assert!(!outcome.message.is_changed());
}

#[test]
fn an_empty_list_is_refused() {
    assert!(Harness::<SplitList>::new(json!({"lists": {"9000": []}})).is_err());
}
