//! Modules that were built with released SDKs load and behave as they did.

use std::sync::Arc;

use bytes::Bytes;

use super::{HOST, World, config, host_env, judge, mail, module, sms};
use crate::plugin::{Judgement, Plugin};

/// `stop_words.wasm` as SDK 0.1 built it, without its names.
const SDK_0_1: &[u8] = include_bytes!("../../../tests/fixtures/stop_words-0.1.wasm");

async fn load(octets: Bytes, env: &Arc<World>) -> Arc<Plugin> {
    let config = Arc::new(config("stop_words", r#"{"words":["lottery"]}"#));
    HOST.load(&config, octets, &host_env(env)).await.unwrap()
}

/// All of it but its time.
fn outcome(judgement: &Judgement) -> String {
    let Judgement { verdict, message, forks, kv, .. } = judgement;
    format!("{verdict:?} {message:?} {forks:?} {kv:?}")
}

#[tokio::test]
async fn a_module_of_sdk_0_1_behaves_as_one_of_today() {
    let (then, now) = (World::new(), World::new());
    let old = load(Bytes::from_static(SDK_0_1), &then).await;
    let new = load(module("stop_words"), &now).await;
    assert_eq!((&**old.name(), &**old.version()), ("stop_words", "0.1.0"));
    let raw = "Subject: Lottery\nFrom: a@example.org\n\nhello\n";
    let messages = [sms("win the LOTTERY"), sms("hello"), mail(raw), mail("Subject: x\n\ny\n")];
    let mut verdicts = Vec::new();
    for message in messages {
        let was = judge(&old, &message, &then).await.unwrap();
        let is = judge(&new, &message, &now).await.unwrap();
        assert_eq!(outcome(&was), outcome(&is), "{message:?}");
        verdicts.push(was.verdict.name());
    }
    assert_eq!(verdicts, ["reject", "next", "reject", "next"]);
    assert_eq!(then.lines(), now.lines());
}
