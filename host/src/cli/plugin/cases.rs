//! `wirepost plugin test`: the cases that an author put into the module, in the real engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use message::edit::Edited;
use serde::Deserialize;

use super::judge::{MessageArgs, message};
use super::world::{World, host_env, parse_answer};
use super::{ModuleArgs, config};
use crate::plugin::{Call, Fault, Host, Judgement, Module, Options, Stage, Verdict};

/// What `plugin test` is told.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The module.
    file: PathBuf,
    /// One JSON object a case instead of lines.
    #[arg(long)]
    json: bool,
}

/// One case, as `cases!` puts it into the module.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// A sentence.
    name: String,
    /// The plugin's configuration.
    #[serde(default)]
    config: serde_json::Value,
    /// The sender.
    #[serde(default = "sender")]
    from: String,
    /// The recipients.
    #[serde(default = "recipients")]
    to: Vec<String>,
    /// A subject makes it a mail.
    subject: Option<String>,
    /// The text.
    #[serde(default)]
    text: String,
    /// Targets that the plugin may route to.
    #[serde(default)]
    targets: Vec<String>,
    /// What look-ups say: `LOOKUP:KEY=TEXT`.
    #[serde(default)]
    answers: Vec<String>,
    /// What must come of it.
    expect: Expect,
}

/// What must come of a message; what is left out may be anything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// `next`, `accept`, `route`, `reject`, `defer`, `drop`, `hold`, or `fault`.
    verdict: String,
    /// A part of the reason.
    reason: Option<String>,
    /// The targets of a route.
    route: Option<Vec<String>>,
    /// The sender, the recipients and the text that the message is left with.
    from: Option<String>,
    to: Option<Vec<String>>,
    text: Option<String>,
    /// Notes.
    #[serde(default)]
    meta: BTreeMap<String, String>,
    /// How many forks were emitted.
    forks: Option<usize>,
}

fn sender() -> String {
    "SENDER".to_owned()
}

fn recipients() -> Vec<String> {
    vec!["+33612345678".to_owned()]
}

pub(super) async fn run(args: &TestArgs) -> Result<()> {
    let octets = super::read(&args.file)?;
    let module = Module::read(&octets, None)?;
    let Some(text) = &module.cases else {
        bail!("{} has no cases in it; `cases!` of the SDK puts them there", args.file.display());
    };
    let cases: Vec<Case> = serde_json::from_slice(text).context("its cases cannot be read")?;
    let host = Host::start(Options::default())?;
    let mut failed = 0_usize;
    for case in &cases {
        let wrong = check(&host, args, &octets, case).await?;
        failed += usize::from(!wrong.is_empty());
        if args.json {
            let ok = wrong.is_empty();
            println!("{}", serde_json::json!({ "name": case.name, "ok": ok, "wrong": wrong }));
        } else {
            println!("{} {}", if wrong.is_empty() { "ok    " } else { "FAILED" }, case.name);
            for line in wrong {
                println!("       {line}");
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} cases failed", cases.len());
    }
    Ok(())
}

/// What is not as expected, a line each.
async fn check(
    host: &Host,
    args: &TestArgs,
    octets: &bytes::Bytes,
    case: &Case,
) -> Result<Vec<String>> {
    let answers = case.answers.iter().map(|answer| parse_answer(answer)).collect::<Result<_>>()?;
    let world = Arc::new(World::new(&case.targets, answers));
    let env = host_env(&world);
    let module = ModuleArgs {
        file: args.file.clone(),
        config: case.config.to_string(),
        targets: case.targets.clone(),
        answers: Vec::new(),
    };
    let plugin = match host.load(&Arc::new(config(&module)?), octets.clone(), &env).await {
        Ok(plugin) => plugin,
        Err(error) => return Ok(vec![format!("it is not loaded: {error}")]),
    };
    let message = message(
        &MessageArgs {
            from: case.from.clone(),
            to: case.to.clone(),
            subject: case.subject.clone(),
            text: Some(case.text.clone()),
            mail: None,
            account: String::new(),
        },
        env.now(),
    )?;
    let call = Call { message: &message, stage: Stage::Door, run: 1, env: &env };
    let mut wrong = Wrong::default();
    match plugin.judge(call).await {
        Ok(judgement) => {
            let edited = judgement.message.as_ref().unwrap_or(&message);
            let edited = Edited::new(Arc::clone(edited));
            compare(&mut wrong, &case.expect, &judgement, &edited);
        }
        Err(fault) => {
            wrong.differs("verdict", &case.expect.verdict, "fault");
            wrong.lacks("reason", case.expect.reason.as_deref(), &words(&fault));
        }
    }
    Ok(wrong.lines)
}

fn compare(wrong: &mut Wrong, expect: &Expect, judgement: &Judgement, edited: &Edited) {
    wrong.differs("verdict", &expect.verdict, judgement.verdict.name());
    let (reason, route) = match &judgement.verdict {
        Verdict::Reject(reply) | Verdict::Defer(reply, _) => (&*reply.text, ""),
        Verdict::Drop(why) | Verdict::Hold(why) | Verdict::Wait(why) => (&**why, ""),
        Verdict::Route(targets) => ("", &*targets.join(", ")),
        Verdict::Next | Verdict::Accept => ("", ""),
    };
    wrong.lacks("reason", expect.reason.as_deref(), reason);
    let join = |list: &Vec<String>| list.join(", ");
    wrong.may_differ("route", expect.route.as_ref().map(join), route);
    let message = edited.message();
    let to: Vec<&str> = message.recipients.iter().map(|to| &*to.address.value).collect();
    wrong.may_differ("from", expect.from.clone(), &message.sender.value);
    wrong.may_differ("to", expect.to.as_ref().map(join), &to.join(", "));
    wrong.may_differ("text", expect.text.clone(), edited.text().unwrap_or_default());
    wrong.may_differ(
        "forks",
        expect.forks.map(|count| count.to_string()),
        &judgement.forks.len().to_string(),
    );
    for (key, value) in &expect.meta {
        wrong.differs(&format!("note {key}"), value, edited.note(key).unwrap_or_default());
    }
}

fn words(fault: &Fault) -> String {
    fault.to_string()
}

#[derive(Default)]
struct Wrong {
    lines: Vec<String>,
}

impl Wrong {
    fn differs(&mut self, what: &str, expect: &str, found: &str) {
        if expect != found {
            self.lines.push(format!("{what}: {found:?}, expected {expect:?}"));
        }
    }

    fn may_differ(&mut self, what: &str, expect: Option<String>, found: &str) {
        if let Some(expect) = expect {
            self.differs(what, &expect, found);
        }
    }

    fn lacks(&mut self, what: &str, expect: Option<&str>, found: &str) {
        if let Some(part) = expect
            && !found.contains(part)
        {
            self.lines.push(format!("{what}: {found:?} has no {part:?} in it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> PathBuf {
        let folder = std::env::var_os("WIREPOST_PLUGINS").map(PathBuf::from);
        let usual = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins"));
        folder.unwrap_or_else(usual).join(name)
    }

    /// The module with these cases in it: a custom section more (WebAssembly core §5.5.3).
    fn with_cases(name: &str, cases: &str) -> (tempfile::TempDir, PathBuf) {
        let leb = |mut number: usize| {
            let mut octets = Vec::new();
            loop {
                let low = u8::try_from(number & 0x7f).unwrap();
                number >>= 7;
                octets.push(if number == 0 { low } else { low | 0x80 });
                if number == 0 {
                    return octets;
                }
            }
        };
        let title = b"wirepost:cases";
        let mut section = leb(title.len());
        section.extend_from_slice(title);
        section.extend_from_slice(cases.as_bytes());
        let mut octets = std::fs::read(module(name)).unwrap();
        octets.push(0);
        octets.extend(leb(section.len()));
        octets.extend(section);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, octets).unwrap();
        (folder, file)
    }

    #[tokio::test]
    async fn the_cases_of_a_module_pass_or_say_what_is_wrong() {
        let cases = r#"[
            { "name": "right", "text": "hello", "expect": { "verdict": "next", "meta": { "trap": "passed" } } },
            { "name": "a fault is one", "text": "a trap", "expect": { "verdict": "fault", "reason": "asked to" } }
        ]"#;
        let (_folder, file) = with_cases("trap.wasm", cases);
        run(&TestArgs { file: file.clone(), json: false }).await.unwrap();
        let wrong = cases.replace("\"next\"", "\"drop\"").replace("passed", "failed");
        let (_folder, file) = with_cases("trap.wasm", &wrong);
        let error = run(&TestArgs { file, json: true }).await.unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 cases failed");
    }

    #[tokio::test]
    async fn a_look_up_of_a_case_is_answered() {
        let cases = r#"[{ "name": "asks", "text": "ask hlr a b", "answers": ["hlr:a=20801"],
            "expect": { "verdict": "next", "text": "hlr: 20801, NotFound" } }]"#;
        let (_folder, file) = with_cases("asker.wasm", cases);
        run(&TestArgs { file, json: false }).await.unwrap();
    }

    #[tokio::test]
    async fn a_plugin_that_comes_with_wirepost_passes_its_own_cases() {
        run(&TestArgs { file: module("stop_words.wasm"), json: false }).await.unwrap();
        let error = run(&TestArgs { file: module("liar.wasm"), json: false }).await.unwrap_err();
        assert!(error.to_string().contains("has no cases"), "{error}");
    }
}
