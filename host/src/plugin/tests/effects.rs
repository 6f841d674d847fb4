//! What each plugin that comes with Wirepost does to a message, and what the host's functions answer.

use std::sync::Arc;

use super::{World, judge, load, mail, module, note_of, sms, text_of, try_load};
use crate::plugin::{Answers, LoadStep, Module, Verdict};

#[tokio::test]
async fn stop_words_rejects_with_the_authors_codes() {
    let world = World::new();
    let plugin = load("stop_words", r#"{"words":["lottery"]}"#, &world).await;
    let judgement = judge(&plugin, &sms("win the LOTTERY"), &world).await.unwrap();
    let Verdict::Reject(reply) = &judgement.verdict else { panic!("{:?}", judgement.verdict) };
    assert_eq!((reply.smtp_code, reply.enhanced.as_deref()), (Some(550), Some("5.7.1")));
    assert!(judgement.message.is_none() && judgement.forks.is_empty());
    assert_eq!(world.lines(), ["metric stop_words.hits Add(1)"]);
    let judgement = judge(&plugin, &sms("hello"), &world).await.unwrap();
    assert_eq!(judgement.verdict, Verdict::Next);
    let raw = "Subject: Lottery\nFrom: a@example.org\n\nhello\n";
    let judgement = judge(&plugin, &mail(raw), &world).await.unwrap();
    assert_eq!(judgement.verdict.name(), "reject");
}

#[tokio::test]
async fn tidy_sender_rewrites_sender_header_and_text() {
    let world = World::new();
    let json = r#"{"senders":{"acme ltd":"ACME"},"headers":{"X-Tidied":"yes"},"replace":[{"find":"&amp;","with":"&"}]}"#;
    let plugin = load("tidy_sender", json, &world).await;
    let judgement = judge(&plugin, &sms("fish &amp; chips"), &world).await.unwrap();
    assert_eq!(text_of(&judgement), "fish & chips");
    assert_eq!(&*judgement.message.unwrap().sender.value, "ACME");
    let judgement = judge(&plugin, &mail("Subject: x\n\nhello\n"), &world).await.unwrap();
    let edited = judgement.message.unwrap();
    let message::Content::Mail(raw) = &edited.content else { panic!("no mail") };
    assert_eq!(&**raw, b"Subject: x\r\nX-Tidied: yes\r\n\r\nhello\r\n");
}

#[tokio::test]
async fn split_list_forks_for_each_member() {
    let world = World::new();
    let json = r#"{"lists":{"+33612345678":["+33611111111","+33622222222"]},"each":"message"}"#;
    let plugin = load("split_list", json, &world).await;
    let judgement = judge(&plugin, &sms("hi"), &world).await.unwrap();
    assert_eq!(judgement.verdict.name(), "drop");
    let to = |fork: &crate::plugin::Fork| fork.message.recipients[0].address.value.to_string();
    let recipients: Vec<_> = judgement.forks.iter().map(to).collect();
    assert_eq!(recipients, ["+33611111111", "+33622222222"]);
    assert!(judgement.forks.iter().all(|fork| fork.answers == Answers::Share));
}

#[tokio::test]
async fn prefix_route_names_targets_that_are_up() {
    let world = World::new();
    let json = r#"{"prefixes":{"+33":["smsc-a","smsc-b"]},"skip_down":true}"#;
    let plugin = load("prefix_route", json, &world).await;
    let judgement = judge(&plugin, &sms("hi"), &world).await.unwrap();
    assert_eq!(judgement.verdict, Verdict::Route(vec!["smsc-b".into()]));
}

#[tokio::test]
async fn every_function_of_the_host_answers() {
    let world = World::new();
    let plugin = load("scribe", "{}", &world).await;
    for (text, answer) in [
        ("fork +33700000000 hello", "1"),
        ("text bye", "bye"),
        ("replace +33612345678 +33700000000", "+33700000000"),
        ("lookup names k", "v"),
        ("lookup names x", ""),
        ("sha", "32"),
        ("clock", "true"),
        ("find FIND", "1"),
        ("add n", "1"),
        ("add n", "2"),
        ("set a b", "b"),
        ("get a", ""),
    ] {
        let judgement = judge(&plugin, &sms(text), &world).await.unwrap();
        assert_eq!(note_of(&judgement, "answer").as_deref(), Some(answer), "{text}");
    }
    let judgement = judge(&plugin, &mail("Subject: x\n\nheader X-A b\n"), &world).await.unwrap();
    assert_eq!(note_of(&judgement, "answer").as_deref(), Some("b"));
}

#[tokio::test]
async fn a_bad_configuration_is_refused_in_the_plugins_words() {
    let world = World::new();
    let error = try_load(super::config("stop_words", r#"{"words":[]}"#), &world).await.unwrap_err();
    assert_eq!(error.step, LoadStep::Init);
    assert!(error.reason.contains("needs at least one word"), "{error}");
    let error = try_load(super::config("stop_words", "{}"), &world).await.unwrap_err();
    assert!(error.reason.contains("missing field `words`"), "{error}");
}

#[tokio::test]
async fn a_pin_admits_only_its_bytes() {
    let world = World::new();
    let read = Module::read(&module("trap"), None).unwrap();
    let pinned =
        |sha256| super::PluginConfig { sha256: Some(sha256), ..super::config("trap", "{}") };
    assert!(try_load(pinned(read.sha256), &world).await.is_ok());
    let error = try_load(pinned([0; 32]), &world).await.unwrap_err();
    assert_eq!(error.step, LoadStep::Pin);
}

#[tokio::test]
async fn an_import_that_was_not_granted_is_refused_before_it_runs() {
    let world = World::new();
    let mut config = super::config("scribe", "{}");
    config.grants.imports = Some(vec!["log".into(), "clock".into()]);
    let error = try_load(config, &world).await.unwrap_err();
    assert_eq!(error.step, LoadStep::Imports);
    assert!(error.remedy.contains("grants: imports"), "{error}");
}

#[test]
fn a_module_tells_what_it_is() {
    let module = Module::read(&module("stop_words"), None).unwrap();
    let manifest = module.manifest.unwrap();
    assert_eq!((&*manifest.name, &*manifest.version), ("stop-words", "0.1.0"));
    assert!(module.was_core);
    assert!(module.exports.iter().any(|name| name == "wirepost:plugin/on-message@0.9.0"));
    assert!(module.imports.iter().all(|name| name.starts_with("wirepost:plugin/")));
}

#[tokio::test]
async fn a_ready_made_component_is_accepted() {
    let world = World::new();
    let component = Module::read(&module("trap"), None).unwrap().component;
    let again = Module::read(&component, None).unwrap();
    assert!(!again.was_core);
    assert_eq!(again.manifest.unwrap().name, "trap");
    let config = Arc::new(super::config("trap", "{}"));
    let plugin = super::HOST.load(&config, component, &super::host_env(&world)).await.unwrap();
    assert!(judge(&plugin, &sms("hi"), &world).await.is_ok());
}
