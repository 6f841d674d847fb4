//! What a plugin did to a message, for people.

use std::sync::Arc;

use message::edit::{CONVERT_TEXT, Edited};
use message::{Content, Message};

use crate::plugin::{Judgement, Reply, Verdict};

/// Prints the judgement: the verdict, then what differs from the message that came in, then the forks.
pub(super) fn print(original: &Arc<Message>, judgement: &Judgement) {
    println!("verdict  {}", verdict(&judgement.verdict));
    match &judgement.message {
        Some(edited) => differences("", original, edited),
        None => println!("message  unchanged"),
    }
    for (number, fork) in judgement.forks.iter().enumerate() {
        println!("fork {}   {} ({:?})", number + 1, verdict(&fork.verdict), fork.answers);
        differences("  ", original, &fork.message);
    }
    for write in &judgement.kv {
        let what = if write.entry.is_some() { "set" } else { "deleted" };
        println!("key      {} {what}", write.key.escape_debug());
    }
    println!("time     {:?}", judgement.duration);
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Next | Verdict::Accept => verdict.name().to_owned(),
        Verdict::Route(targets) => format!("route to {}", targets.join(", ")),
        Verdict::Reject(answer) => format!("reject{}", reply(answer)),
        Verdict::Defer(answer, None) => format!("defer{}", reply(answer)),
        Verdict::Defer(answer, Some(wait)) => format!("defer for {wait:?}{}", reply(answer)),
        Verdict::Drop(why) => format!("drop: {why}"),
        Verdict::Hold(why) => format!("hold: {why}"),
        Verdict::Wait(what) => format!("wait for {what}"),
    }
}

fn reply(reply: &Reply) -> String {
    let mut text = String::new();
    if let Some(code) = reply.smtp_code {
        text.push_str(&format!(" {code}"));
    }
    if let Some(enhanced) = &reply.enhanced {
        text.push_str(&format!(" {enhanced}"));
    }
    if let Some(status) = reply.smpp_status {
        text.push_str(&format!(" command_status {status:#010x}"));
    }
    format!("{text}: {}", reply.text)
}

fn differences(indent: &str, old: &Arc<Message>, new: &Arc<Message>) {
    let line = |sign: char, what: &str, value: &str| {
        println!("{indent}{sign} {}: {}", what.escape_debug(), value.escape_debug());
    };
    let changed = |what: &str, old: &str, new: &str| {
        if old != new {
            line('-', what, old);
            line('+', what, new);
        }
    };
    changed("from", &old.sender.value, &new.sender.value);
    let to = |message: &Message| {
        let names: Vec<&str> = message.recipients.iter().map(|to| &*to.address.value).collect();
        names.join(", ")
    };
    changed("to", &to(old), &to(new));
    let (before, after) = (Edited::new(Arc::clone(old)), Edited::new(Arc::clone(new)));
    if let (Some(before), Some(after)) = (before.view(), after.view()) {
        let fields = |view: &message::mail::MailView| -> Vec<String> {
            view.headers().map(|(name, value)| format!("{name}: {value}")).collect()
        };
        let (old, new) = (fields(before), fields(after));
        old.iter()
            .filter(|field| !new.contains(field))
            .for_each(|field| line('-', "header", field));
        new.iter()
            .filter(|field| !old.contains(field))
            .for_each(|field| line('+', "header", field));
    }
    changed("text", before.text().unwrap_or_default(), after.text().unwrap_or_default());
    // This one is shown as the field that it is.
    for (key, value) in new.meta.iter().filter(|(key, _)| ***key != *CONVERT_TEXT) {
        if old.meta.get(key) != Some(value) {
            line('+', &format!("note {key}"), value);
        }
    }
    for (key, value) in old.meta.iter().filter(|(key, _)| !new.meta.contains_key(*key)) {
        line('-', &format!("note {key}"), value);
    }
    let (old_fields, new_fields) = (before.fields(""), after.fields(""));
    for (key, value) in new_fields.iter().filter(|field| !old_fields.contains(field)) {
        line('+', key, &format!("{value:?}"));
    }
    let size = |content: &Content| content.size_bytes();
    if size(&old.content) != size(&new.content) {
        println!("{indent}  size: {} -> {} octets", size(&old.content), size(&new.content));
    }
}
