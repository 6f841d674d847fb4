//! What one call of a plugin may cost the host, asked without an engine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use message::{
    Address, Content, Message as Model, MessageId, Origin, Protocol, Recipient, Timestamp, Wish,
};
use wasmtime::component::Resource;

use super::super::bindings::wirepost::plugin::message_api::HostMessage;
use super::super::bindings::wirepost::plugin::metrics;
use super::super::env::{HostEnv, KvFound, LogLevel, LogLine, Metric, TargetState};
use super::super::fault::Fault;
use super::super::judgement::{Call, Stage};
use super::super::kv::PluginKv;
use super::super::session::{Context, Session, Shared};
use super::{Error, Handle};
use crate::config::{Grants, OnError, PluginConfig, PluginLimits};

const MIB: usize = 1 << 20;
/// Processor time of a call.
const TICKS: u32 = 50;

/// No tables, no targets, a clock that stands; it keeps the names of metrics.
#[derive(Debug, Default)]
pub(super) struct Still(Mutex<Vec<String>>);

impl HostEnv for Still {
    fn kv_find<'a>(&'a self, _plugin: &'a str, _key: &'a str) -> BoxFuture<'a, KvFound> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn lookup(&self, _table: &str, _key: &str) -> Option<Arc<str>> {
        None
    }

    fn lookup_prefix(&self, _table: &str, _key: &str) -> Option<(String, Arc<str>)> {
        None
    }

    fn lookup_ip(&self, _table: &str, _address: IpAddr) -> Option<Arc<str>> {
        None
    }

    fn target(&self, _name: &str) -> Option<TargetState> {
        None
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(1000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> u64 {
        4
    }

    fn log_enabled(&self, _level: LogLevel) -> bool {
        false
    }

    fn log(&self, _line: LogLine<'_>) {}

    fn metric(&self, _plugin: &str, name: &str, _metric: Metric) {
        self.0.lock().unwrap().push(name.to_owned());
    }
}

pub(super) fn shared() -> Arc<Shared> {
    let config = PluginConfig {
        name: "test".into(),
        module: "test.wasm".into(),
        on: None,
        config_json: "null".into(),
        on_error: OnError::Retry,
        grants: Grants { fork: 32, ..Grants::default() },
        limits: PluginLimits {
            time: Duration::from_millis(200),
            cpu: Duration::from_millis(50),
            memory_bytes: 16 << 20,
            instances: 1,
            keys: 100_000,
            keys_bytes: 64 << 20,
            log_lines: 200,
        },
        sha256: None,
    };
    Arc::new(Shared::new(Arc::new(config), Arc::default()))
}

pub(super) fn mail(body: usize) -> Arc<Model> {
    let mut raw = b"From: a@example.org\r\nSubject: Test\r\n\r\n".to_vec();
    raw.extend(
        b"All work and no play makes no sense, they say in the town of Lodz.\r\n"
            .repeat(1 + body / 68),
    );
    let empty: Arc<str> = "".into();
    let origin = Origin {
        door: "door".into(),
        protocol: Protocol::Smtp,
        peer: "127.0.0.1:1".into(),
        account: Arc::clone(&empty),
        session: 1,
        helo: empty,
        tls: false,
    };
    Arc::new(Model {
        id: MessageId::from_u64(1),
        parent: None,
        origin: Arc::new(origin),
        sender: Address::mailbox("a@example.org"),
        recipients: vec![Recipient::new(Address::mailbox("b@example.org"), Wish::FAILURE)],
        content: Content::Mail(Bytes::from(raw)),
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::new(),
        received: Timestamp::from_ms(1000),
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    })
}

/// A call about this message, with the handle of it.
pub(super) fn begin(message: &Arc<Model>) -> (Context, u32) {
    let mut context = Context::new(16 << 20);
    let origin = begin_another(&mut context, message);
    (context, origin)
}

/// One more call of the same instance.
fn begin_another(context: &mut Context, message: &Arc<Model>) -> u32 {
    let env: Arc<dyn HostEnv> = Arc::new(Still::default());
    begin_in(context, message, &env)
}

fn begin_in(context: &mut Context, message: &Arc<Model>, env: &Arc<dyn HostEnv>) -> u32 {
    let call = Call { message, stage: Stage::Queue, run: 1, env };
    let keys: Arc<PluginKv> = Arc::default();
    context.give_ticks(TICKS);
    context.begin(Session::new(&shared(), &call, &keys))
}

pub(super) fn handle(rep: u32) -> Resource<Handle> {
    Resource::new_borrow(rep)
}

#[test]
fn forks_of_a_large_mail_are_copied_four_times_at_most() {
    let (mut context, origin) = begin(&mail(8 * MIB));
    let mut copied = 0;
    for _ in 0..32 {
        let fork = context.fork(handle(origin), 0).unwrap();
        match context.add_header(handle(fork.rep()), "X-Copy".to_owned(), "1".to_owned()) {
            Ok(()) => copied += 1,
            Err(error) => assert_eq!(error, Error::TooLarge),
        }
    }
    assert_eq!(copied, 4);
}

#[test]
fn a_mail_is_charged_at_its_first_copy_only() {
    let (mut context, origin) = begin(&mail(8 * MIB));
    for n in 0..100 {
        context.set_header(handle(origin), "X-Count".to_owned(), n.to_string()).unwrap();
    }
    assert!(context.session.take().unwrap().finish().is_ok());
}

#[test]
fn texts_are_counted_when_they_are_written_and_not_when_the_call_is_over() {
    let (mut context, origin) = begin(&mail(1));
    let text = "y".repeat(200_000);
    let written =
        (0..100).take_while(|_| context.set_text(handle(origin), text.clone()).is_ok()).count();
    assert_eq!(written, 5);
    // The call goes on, and what was refused was not done.
    assert!(context.session.take().unwrap().finish().is_ok());
}

#[test]
fn a_header_does_not_grow_without_end() {
    let (mut context, origin) = begin(&mail(MIB));
    let value = "v".repeat(1000);
    let added = (0..1000)
        .take_while(|_| {
            context.add_header(handle(origin), "X-More".to_owned(), value.clone()).is_ok()
        })
        .count();
    assert!((100..=130).contains(&added), "{added}");
    assert_eq!(
        context.remove_header(handle(origin), "X-More".to_owned()),
        Ok(u32::try_from(added).unwrap())
    );
}

#[test]
fn notes_and_fields_are_counted() {
    let (mut context, origin) = begin(&mail(1));
    let note = Some("n".repeat(4000));
    let written = (0..1000)
        .take_while(|n| context.set_meta(handle(origin), (n % 8).to_string(), note.clone()).is_ok())
        .count();
    assert!((200..300).contains(&written), "{written}");
}

/// A mail whose only other part is so many octets, encoded.
fn with_attachment(octets: usize) -> Arc<Model> {
    let head = "Subject: Test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain\r\n\r\nText\r\n\
        --b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let line = "QUJD".repeat(19) + "\r\n";
    let raw = [head, &line.repeat(1 + octets / 57), "--b--\r\n"].concat();
    let mut message = Arc::unwrap_or_clone(mail(1));
    message.content = Content::Mail(Bytes::from(raw));
    Arc::new(message)
}

#[test]
fn a_part_is_decoded_once_however_many_pages_it_is_read_in() {
    let (mut context, origin) = begin(&with_attachment(8 * MIB));
    for page in 0..100 {
        let octets = context.read_part(handle(origin), 2, page * 1024, 1024).unwrap();
        assert_eq!(octets.len(), 1024);
    }
    // 8 MiB were decoded, and a mail of a third more was looked through.
    assert_eq!(context.ticks_left(), TICKS - 10);
    context.set_text(handle(origin), "Other".to_owned()).unwrap();
    let octets = context.read_part(handle(origin), 1, 0, 100).unwrap();
    assert_eq!(octets, b"Other");
}

#[track_caller]
fn check_work(size: usize, ask: impl FnOnce(&mut Context, u32), expect: u32) {
    let (mut context, origin) = begin(&mail(size));
    ask(&mut context, origin);
    assert_eq!(TICKS - context.ticks_left(), expect);
}

#[test]
fn work_of_the_host_is_processor_time_of_the_plugin() {
    let sha = |context: &mut Context, origin| {
        context.sha256(handle(origin), None).unwrap();
    };
    check_work(1, sha, 0);
    check_work(8 * MIB, sha, 8);
    check_work(100 * MIB, sha, TICKS);
    let copy = |context: &mut Context, origin| {
        context.set_header(handle(origin), "X-New".to_owned(), "1".to_owned()).unwrap();
    };
    check_work(8 * MIB, copy, 2);
    let find = |context: &mut Context, origin| {
        let needles = vec!["absent".to_owned(); 256];
        assert_eq!(context.find(handle(origin), needles, true), [0_u32; 0]);
    };
    // 256 KiB of text for each needle.
    check_work(MIB, find, 1 + 15);
}

#[track_caller]
fn check_needles(needles: Vec<String>, refused: bool) {
    let (mut context, origin) = begin(&mail(1));
    assert_eq!(context.find(handle(origin), needles, true), [0_u32; 0]);
    assert_eq!(context.session.take().unwrap().finish().is_err(), refused);
}

#[test]
fn a_search_that_was_not_made_is_a_fault() {
    check_needles(vec!["absent".to_owned(); 256], false);
    check_needles(vec!["absent".to_owned(); 257], true);
    check_needles(vec!["x".repeat(17 << 10)], true);
}

#[test]
fn a_handle_kept_from_an_earlier_call_names_nothing() {
    let (mut context, first) = begin(&mail(1));
    let fork = context.fork(handle(first), 0).unwrap().rep();
    assert!(context.end().unwrap().finish().is_ok());
    for stale in [first, fork] {
        let origin = begin_another(&mut context, &mail(1));
        assert!(origin > fork);
        assert_eq!(context.text(handle(stale)), None);
        let fault = context.end().unwrap().finish().unwrap_err();
        assert!(matches!(fault, Fault::Trap { .. }), "{fault}");
    }
    // To let go of it is no fault.
    begin_another(&mut context, &mail(1));
    context.drop(Resource::new_own(fork)).unwrap();
    assert!(context.end().unwrap().finish().is_ok());
}

#[test]
fn a_plugin_has_so_many_metrics_and_no_more() {
    let env = Arc::new(Still::default());
    let mut context = Context::new(16 << 20);
    let seen: Arc<dyn HostEnv> = Arc::<Still>::clone(&env);
    begin_in(&mut context, &mail(1), &seen);
    for _ in 0..2 {
        for n in 0..100 {
            metrics::Host::add(&mut context, format!("of_sender_{n}"), 1);
        }
    }
    assert_eq!(env.0.lock().unwrap().len(), 2 * 64);
}
