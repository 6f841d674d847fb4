//! The test that every plugin passes before it sees traffic: two messages of our own, whose edits,
//! keys, metrics and log lines count for nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use message::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Short, Timestamp, Wish,
};

use super::env::{HostEnv, KvFound, LogLevel, LogLine, TargetState};
use super::fault::{Fault, LoadError, LoadStep};
use super::judgement::{Call, Stage};
use super::kv::PluginKv;
use super::loaded::Plugin;

const MAIL: &[u8] = b"From: <self-test@example.org>\r\nTo: <self-test@example.com>\r\n\
Subject: Self-test\r\nDate: Wed, 1 Jan 2025 00:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\n\
This message tests a plugin.\r\n";

/// Refuses a plugin that cannot be trusted with any message. An error of its own is no reason: it may
/// rightly not like these.
pub(super) async fn run(plugin: &Plugin, env: &Arc<dyn HostEnv>) -> Result<(), LoadError> {
    let quiet: Arc<dyn HostEnv> = Arc::new(Quiet(Arc::clone(env)));
    let keys = Arc::new(PluginKv::default());
    for message in [sms(), mail()] {
        let call = Call { message: &message, stage: Stage::Queue, run: 1, env: &quiet };
        match plugin.judge_with(&call, &keys).await {
            Ok(_) | Err(Fault::Error(_) | Fault::Denied(_)) => {}
            Err(busy @ Fault::Busy(_)) => {
                return Err(LoadError::new(
                    LoadStep::SelfTest,
                    format!("it was not tried: {busy}"),
                    "nothing is wrong with it: reload again when the router has room",
                ));
            }
            Err(fault) => {
                return Err(LoadError::new(
                    LoadStep::SelfTest,
                    format!("it does not judge a harmless message: {fault}"),
                    "try it with `wirepost plugin run`; its author has to correct it",
                ));
            }
        }
    }
    Ok(())
}

fn sms() -> Arc<Message> {
    let content = Content::Short(Short::from_text("This message tests a plugin."));
    let from = Address::alphanumeric("SelfTest");
    message(Protocol::Smpp, from, Address::phone("+447700900123"), content)
}

fn mail() -> Arc<Message> {
    let content = Content::Mail(Bytes::from_static(MAIL));
    let from = Address::mailbox("self-test@example.org");
    message(Protocol::Smtp, from, Address::mailbox("self-test@example.com"), content)
}

fn message(protocol: Protocol, from: Address, to: Address, content: Content) -> Arc<Message> {
    let origin = Origin {
        door: "self-test".into(),
        protocol,
        peer: "127.0.0.1:0".into(),
        account: "".into(),
        session: 0,
        helo: "".into(),
        tls: false,
    };
    Arc::new(Message {
        id: MessageId::from_u64(0),
        parent: None,
        origin: Arc::new(origin),
        sender: from,
        recipients: vec![Recipient::new(to, Wish::NOTHING)],
        content,
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: Timestamp::from_ms(1_735_689_600_000),
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    })
}

/// The real tables, targets and clocks; nothing is written anywhere.
#[derive(Debug)]
struct Quiet(Arc<dyn HostEnv>);

impl HostEnv for Quiet {
    fn kv_find<'a>(&'a self, _plugin: &'a str, _key: &'a str) -> BoxFuture<'a, KvFound> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn lookup(&self, table: &str, key: &str) -> Option<Arc<str>> {
        self.0.lookup(table, key)
    }

    fn lookup_prefix(&self, table: &str, key: &str) -> Option<(String, Arc<str>)> {
        self.0.lookup_prefix(table, key)
    }

    fn lookup_ip(&self, table: &str, address: IpAddr) -> Option<Arc<str>> {
        self.0.lookup_ip(table, address)
    }

    fn knows_lookup(&self, name: &str) -> bool {
        self.0.knows_lookup(name)
    }

    fn target(&self, name: &str) -> Option<TargetState> {
        self.0.target(name)
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    fn log_enabled(&self, _level: LogLevel) -> bool {
        false
    }

    fn log(&self, _line: LogLine<'_>) {}
}
