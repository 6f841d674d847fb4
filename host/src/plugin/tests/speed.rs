//! How long a call takes. It prints; it asserts nothing that a busy machine could break.

use std::time::Instant;

use super::{World, judge, load, sms};

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn a_call_on_a_used_instance() {
    let world = World::new();
    for (name, json, text) in [
        ("trap", "{}", "hello"),
        (
            "stop_words",
            r#"{"words":["lottery","casino","viagra","winner","prize"]}"#,
            "see you at eight, and bring the book along",
        ),
        ("prefix_route", r#"{"prefixes":{"+33":"smsc-b","+336":"relay"}}"#, "hello"),
    ] {
        let plugin = load(name, json, &world).await;
        let message = sms(text);
        let mut took = Vec::with_capacity(5000);
        for _ in 0..5000 {
            let started = Instant::now();
            judge(&plugin, &message, &world).await.unwrap();
            took.push(started.elapsed());
        }
        took.sort_unstable();
        println!("{name}: p50 {:?} p99 {:?} p99.9 {:?}", took[2500], took[4950], took[4995]);
        assert_eq!(plugin.instances_made(), 1);
    }
}
