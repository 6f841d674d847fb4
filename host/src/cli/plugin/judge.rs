//! `wirepost plugin run` and `bench`: one message through one module.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Args;
use message::mail::{Compose, compose};
use message::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Short, Timestamp, Wish,
};

use super::world::host_env;
use super::{ModuleArgs, load, report};
use crate::plugin::{Call, Fault, Stage};

/// The message to judge.
#[derive(Debug, Args)]
pub struct MessageArgs {
    /// The sender: a mailbox, a number or a name.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) from: String,
    /// A recipient; more by repeating it.
    #[arg(long, value_name = "ADDRESS", required = true)]
    pub(super) to: Vec<String>,
    /// A subject makes the text a mail.
    #[arg(long)]
    pub(super) subject: Option<String>,
    /// The text of a short message, or of a mail if there is a subject.
    #[arg(long, required_unless_present = "mail")]
    pub(super) text: Option<String>,
    /// A mail as it is on the wire (RFC 5322).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "subject"])]
    pub(super) mail: Option<PathBuf>,
    /// The account that sends it.
    #[arg(long, default_value = "")]
    pub(super) account: String,
}

/// What `plugin run` is told.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    module: ModuleArgs,
    #[command(flatten)]
    message: MessageArgs,
}

/// What `plugin bench` is told.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    module: ModuleArgs,
    #[command(flatten)]
    message: MessageArgs,
    /// Calls to measure.
    #[arg(long, default_value_t = 100_000)]
    calls: u32,
}

pub(super) async fn run(args: &RunArgs) -> Result<()> {
    let (plugin, world) = load(&args.module).await?;
    world.set_loud(true);
    let env = host_env(&world);
    let message = message(&args.message, env.now())?;
    let call = Call { message: &message, stage: Stage::Door, run: 1, env: &env };
    match plugin.judge(call).await {
        Ok(judgement) => {
            report::print(&message, &judgement);
            Ok(())
        }
        Err(Fault::Trap { reason, backtrace }) => {
            bail!("the plugin stopped: {reason}\n  in {backtrace}")
        }
        Err(fault) => bail!("{fault}"),
    }
}

pub(super) async fn bench(args: &BenchArgs) -> Result<()> {
    let (plugin, world) = load(&args.module).await?;
    let env = host_env(&world);
    let message = message(&args.message, env.now())?;
    let call = Call { message: &message, stage: Stage::Door, run: 1, env: &env };
    let started = env.monotonic();
    let mut took = Vec::new();
    for _ in 0..args.calls.max(1) {
        took.push(plugin.judge(call).await?.duration);
    }
    let all = env.monotonic().saturating_sub(started);
    took.sort_unstable();
    let at = |share: usize| took.get(took.len().saturating_sub(1) * share / 1000).copied();
    for (name, share) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999), ("max", 1000)] {
        println!("{name:<8} {:?}", at(share).unwrap_or_default());
    }
    println!("calls    {} in {all:?}", took.len());
    println!("instances {}", plugin.instances_made());
    Ok(())
}

pub(super) fn message(args: &MessageArgs, now: Timestamp) -> Result<Arc<Message>> {
    let (content, protocol) = match (&args.mail, &args.subject) {
        (Some(file), _) => {
            let raw = std::fs::read(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            (Content::Mail(Bytes::from(raw)), Protocol::Smtp)
        }
        (None, Some(subject)) => (Content::Mail(mail(args, subject, now)), Protocol::Smtp),
        (None, None) => {
            let text = args.text.as_deref().unwrap_or_default();
            (Content::Short(Short::from_text(text)), Protocol::Smpp)
        }
    };
    let origin = Origin {
        door: "command-line".into(),
        protocol,
        peer: "127.0.0.1:0".into(),
        account: args.account.as_str().into(),
        session: 1,
        helo: "localhost".into(),
        tls: false,
    };
    let to = args.to.iter().map(|to| Recipient::new(Address::guess(to), Wish::FAILURE));
    Ok(Arc::new(Message {
        id: MessageId::from_u64(1),
        parent: None,
        origin: Arc::new(origin),
        sender: Address::guess(&args.from),
        recipients: to.collect(),
        content,
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: now,
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    }))
}

fn mail(args: &MessageArgs, subject: &str, now: Timestamp) -> Bytes {
    let mail = Compose {
        from: &args.from,
        from_name: "",
        to: args.to.first().map_or("", String::as_str),
        subject,
        text: args.text.as_deref().unwrap_or_default(),
        date: &now.rfc5322(),
        message_id: "1@localhost",
        headers: &[],
    };
    compose(&mail).into()
}
