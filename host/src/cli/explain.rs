//! `wirepost explain`: where a message would go by the routes, and why.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use message::text::Alphabet;
use message::{Address, Message, Timestamp};
use serde_json::{Value, json};

use crate::config::{CheckOptions, Config, Name, TestMessage, load};
use crate::loops;
use crate::platform::clock::Clock;
use crate::route::{Explanation, MessageFacts, RouteDecision, RouteTable};

use super::check::{EXIT_CONFIG, print_findings};
use super::specimen::specimen;

/// Exit code for a message that no route takes (sysexits `EX_UNAVAILABLE`).
const EXIT_NO_ROUTE: u8 = 69;

/// Says where a message would go by the routes, and why. Plugins are not run.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "wirepost.yaml")]
    pub config: PathBuf,
    /// The listener or connector that the message comes in by.
    #[arg(long)]
    pub door: String,
    /// The account that sends it.
    #[arg(long)]
    pub account: Option<String>,
    /// The sender.
    #[arg(long, default_value = "test@localhost")]
    pub from: String,
    /// A recipient; may be given several times.
    #[arg(long, required = true)]
    pub to: Vec<String>,
    /// The subject of a mail.
    #[arg(long)]
    pub subject: Option<String>,
    /// The text.
    #[arg(long, default_value = "")]
    pub text: String,
    /// It is a fork that a plugin made of a message from this sender.
    #[arg(long, value_name = "SENDER")]
    pub fork_of: Option<String>,
    /// Print one JSON object per recipient.
    #[arg(long)]
    pub json: bool,
}

/// Explains and prints; 0 if every recipient has a route, 69 if not, 78 if the configuration is
/// wrong.
#[must_use]
pub fn run(args: &ExplainArgs) -> ExitCode {
    let loaded = load(&args.config, CheckOptions { environment: false });
    let Some(config) = loaded.config else {
        print_findings(&loaded.findings);
        return ExitCode::from(EXIT_CONFIG);
    };
    match explain(&config, args, Clock::system().now()) {
        Ok((text, true)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok((text, false)) => {
            print!("{text}");
            ExitCode::from(EXIT_NO_ROUTE)
        }
        Err(problem) => {
            println!("{problem}");
            ExitCode::from(EXIT_NO_ROUTE)
        }
    }
}

/// What to print, and whether every recipient has a route.
fn explain(config: &Config, args: &ExplainArgs, now: Timestamp) -> Result<(String, bool), String> {
    let wanted = TestMessage {
        door: args.door.as_str().into(),
        account: args.account.as_deref().map(Arc::from),
        from: args.from.as_str().into(),
        to: args.to.iter().map(|to| to.as_str().into()).collect(),
        subject: args.subject.as_deref().map(Arc::from),
        headers: std::collections::BTreeMap::new(),
        text: args.text.as_str().into(),
    };
    let mut message = Arc::new(specimen(config, &wanted, now)?);
    if let Some(sender) = &args.fork_of {
        loops::fork_of(&Address::guess(sender), &mut message);
    }
    let table = RouteTable::compile(config);
    let mut text = String::new();
    let mut all_have_one = true;
    for recipient in &message.recipients {
        let facts = MessageFacts::new(&message, &recipient.address, now, Alphabet::Gsm)
            .fork(args.fork_of.is_some());
        let mut explanation = table.explain(&facts);
        let back = turn_away(&mut explanation.decision, &message, &recipient.address);
        all_have_one &= explanation.decision != RouteDecision::NoRoute;
        let to = recipient.address.to_string();
        let original = recipient.original.as_deref();
        if args.json {
            text.push_str(&format!("{}\n", as_json(&to, original, &explanation, &back)));
        } else {
            write_human(&mut text, &to, original, (&explanation, &back))
                .map_err(|e| e.to_string())?;
        }
    }
    Ok((text, all_have_one))
}

/// Takes out the targets that would send the message back to where it came from, and names them.
fn turn_away(decision: &mut RouteDecision, message: &Message, to: &Address) -> Vec<Name> {
    let RouteDecision::Targets { targets, .. } = decision else { return Vec::new() };
    let goes_back = |name: &Name| loops::Way::of(message, to, name) == loops::Way::Back;
    let (back, kept): (Vec<Name>, Vec<Name>) = targets.iter().cloned().partition(goes_back);
    *targets = kept.into();
    if targets.is_empty() {
        *decision = RouteDecision::NoRoute;
    }
    back
}

fn write_human(
    text: &mut String,
    to: &str,
    original: Option<&str>,
    (explanation, back): (&Explanation, &[Name]),
) -> std::fmt::Result {
    match original {
        Some(original) => writeln!(text, "{original} is {to}")?,
        None => writeln!(text, "{to}")?,
    }
    if explanation.skipped > 0 {
        writeln!(text, "  {} route(s) are not for such a recipient", explanation.skipped)?;
    }
    for step in &explanation.steps {
        let (name, place) = (&step.route.name, &step.route.place);
        if step.takes {
            writeln!(text, "  {name} ({place}) takes it")?;
        } else {
            writeln!(text, "  {name} ({place}) does not: {}", step.because)?;
        }
    }
    for name in back {
        writeln!(text, "  not back to {name}, where it came from")?;
    }
    writeln!(text, "  => {}", spell(&explanation.decision))
}

fn spell(decision: &RouteDecision) -> String {
    match decision {
        RouteDecision::Targets { targets, .. } => targets.join(", then "),
        RouteDecision::Drop { answer, .. } => format!("dropped ({answer:?})").to_lowercase(),
        RouteDecision::Reject { reply, .. } => {
            let (code, enhanced, text) = (reply.smtp_code, &reply.enhanced, &reply.text);
            format!("refused: {code} {enhanced} {text} / {:#010x}", reply.smpp_status)
        }
        RouteDecision::Hold { reason, .. } => format!("held: {reason}"),
        RouteDecision::NoRoute => "no route takes it; it is refused".to_owned(),
    }
}

fn as_json(to: &str, original: Option<&str>, explanation: &Explanation, back: &[Name]) -> Value {
    let steps: Vec<Value> = explanation
        .steps
        .iter()
        .map(|step| {
            json!({
                "route": &*step.route.name,
                "place": &*step.route.place,
                "takes": step.takes,
                "because": step.because,
            })
        })
        .collect();
    let targets = match &explanation.decision {
        RouteDecision::Targets { targets, .. } => targets.iter().map(|name| &**name).collect(),
        _ => Vec::new(),
    };
    json!({
        "to": to,
        "original": original,
        "route": explanation.decision.route().map(|route| &*route.name),
        "targets": targets,
        "not_back_to": back.iter().map(|name| &**name).collect::<Vec<_>>(),
        "decision": spell(&explanation.decision),
        "skipped": explanation.skipped,
        "steps": steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    const CONFIG: &str = "
listeners: { mail: { smtp: { bind: '127.0.0.1:2525', allow: 127.0.0.1 } } }
domains: { sms.example.net: { phone: FR } }
bounces: { via: relay, from: postmaster@example.net }
connectors:
  relay: { smtp: { host: 127.0.0.1 } }
  smsc: { smpp: { host: 127.0.0.1, system_id: w, password: { env: W } } }
routes:
  - { name: german, when: { to: { prefix: '+49' } }, to: relay }
  - { name: urgent, when: { to: { prefix: '+33' }, subject: { prefix: urgent } }, to: { hold: ask } }
  - { name: french, when: { to: { prefix: '+33' } }, to: { failover: [smsc, relay] } }
";

    #[track_caller]
    fn check(to: &str, subject: &str, expect: Result<(&str, bool), &str>) {
        let args = ExplainArgs {
            config: "w.yaml".into(),
            door: "mail".to_owned(),
            account: None,
            from: "a@example.org".to_owned(),
            to: vec![to.to_owned()],
            subject: Some(subject.to_owned()),
            text: String::new(),
            fork_of: None,
            json: false,
        };
        check_args(&args, expect);
    }

    #[track_caller]
    fn check_args(args: &ExplainArgs, expect: Result<(&str, bool), &str>) {
        let loaded = load_text("w.yaml".as_ref(), CONFIG, CheckOptions { environment: false });
        let found = explain(&loaded.config.unwrap(), args, Timestamp::from_ms(1_795_425_725_123));
        let found = found.as_ref().map(|(text, all)| (text.as_str(), *all)).map_err(String::as_str);
        assert_eq!(found, expect);
    }

    #[test]
    fn the_way_to_a_target_is_told() {
        let expect = "0612345678@sms.example.net is +33612345678\n  \
                      1 route(s) are not for such a recipient\n  \
                      urgent (w.yaml:10) does not: subject: prefix urgent does not hold\n  \
                      french (w.yaml:11) takes it\n  \
                      => smsc, then relay\n";
        check("0612345678@sms.example.net", "Hi", Ok((expect, true)));
    }

    #[test]
    fn what_no_route_takes_is_told() {
        let expect = "bob@example.org\n  3 route(s) are not for such a recipient\n  \
                      => no route takes it; it is refused\n";
        check("bob@example.org", "Hi", Ok((expect, false)));
        let problem = "bob@sms.example.net is refused when it is named: \
                       'b' does not belong in a phone number";
        check("bob@sms.example.net", "Hi", Err(problem));
    }

    #[test]
    fn nothing_goes_back_but_a_fork_that_answers_the_sender() {
        let args = |fork_of: Option<&str>| ExplainArgs {
            config: "w.yaml".into(),
            door: "smsc".to_owned(),
            account: None,
            from: "33700".to_owned(),
            to: vec!["+33612345678".to_owned()],
            subject: None,
            text: "Bye".to_owned(),
            fork_of: fork_of.map(str::to_owned),
            json: false,
        };
        let way = "+33612345678\n  1 route(s) are not for such a recipient\n  \
                   urgent (w.yaml:10) does not: subject: prefix urgent does not hold\n  \
                   french (w.yaml:11) takes it\n";
        let turned = format!("{way}  not back to smsc, where it came from\n  => relay\n");
        check_args(&args(None), Ok((&turned, true)));
        check_args(&args(Some("+33612345679")), Ok((&turned, true)));
        let answers = format!("{way}  => smsc, then relay\n");
        check_args(&args(Some("33612345678")), Ok((&answers, true)));
    }
}
