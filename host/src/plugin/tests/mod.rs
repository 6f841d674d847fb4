//! Real modules in the real engine. `cargo xtask plugins` builds them.

mod damage;
mod effects;
mod faults;
mod released;
mod keys;
mod mutants;
mod room;
mod speed;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use message::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Short, Timestamp, Wish,
};

use tokio::sync::Semaphore;

use super::{
    Call, Fault, Host, HostEnv, Judgement, KvFound, KvWrite, LoadError, LogLevel, LogLine, Metric,
    Options, Plugin, Stage, TargetState,
};
use crate::config::{AddressPattern, Grants, OnError, PluginConfig, PluginLimits};

/// One engine for all tests, as in production.
static HOST: LazyLock<Host> = LazyLock::new(|| Host::start(Options::default()).unwrap());

/// The octets of a built module.
fn module(name: &str) -> Bytes {
    let folder = std::env::var_os("WIREPOST_PLUGINS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(octets) => octets.into(),
        Err(error) => panic!("{}: {error}; build it with `cargo xtask plugins`", path.display()),
    }
}

/// Everything granted, limits that a busy test machine keeps.
fn config(name: &str, json: &str) -> PluginConfig {
    let targets = ["smsc-a", "smsc-b", "relay", "nowhere"].map(Arc::from);
    PluginConfig {
        name: name.into(),
        module: format!("{name}.wasm").into(),
        on: None,
        config_json: json.into(),
        on_error: OnError::Retry,
        grants: Grants {
            recipients: vec![AddressPattern::Prefix("+".into())],
            source: true,
            fork: 32,
            targets: targets.into(),
            imports: None,
        },
        limits: PluginLimits {
            time: Duration::from_secs(20),
            cpu: Duration::from_secs(10),
            memory_bytes: 32 << 20,
            instances: 8,
            keys: 100_000,
            keys_bytes: 64 << 20,
            log_lines: 200,
        },
        sha256: None,
    }
}

async fn try_load(config: PluginConfig, env: &Arc<World>) -> Result<Arc<Plugin>, LoadError> {
    let octets = module(&config.module.replace(".wasm", ""));
    HOST.load(&Arc::new(config), octets, &host_env(env)).await
}

async fn load(name: &str, json: &str, env: &Arc<World>) -> Arc<Plugin> {
    try_load(config(name, json), env).await.unwrap()
}

async fn judge(
    plugin: &Plugin,
    message: &Arc<Message>,
    env: &Arc<World>,
) -> Result<Judgement, Fault> {
    let env = host_env(env);
    plugin.judge(Call { message, stage: Stage::Door, run: 1, env: &env }).await
}

/// What the judgement says the message's text is.
fn text_of(judgement: &Judgement) -> String {
    let edited = judgement.message.as_ref().unwrap();
    message::edit::Edited::new(Arc::clone(edited)).text().unwrap().to_owned()
}

fn note_of(judgement: &Judgement, key: &str) -> Option<String> {
    Some(judgement.message.as_ref()?.meta.get(key)?.to_string())
}

fn sms(text: &str) -> Arc<Message> {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    message(
        id,
        Protocol::Smpp,
        Address::alphanumeric("Acme Ltd"),
        Content::Short(Short::from_text(text)),
    )
}

fn mail(raw: &str) -> Arc<Message> {
    let content = Content::Mail(Bytes::from(raw.replace('\n', "\r\n")));
    message(7, Protocol::Smtp, Address::mailbox("a@example.org"), content)
}

fn message(id: u64, protocol: Protocol, sender: Address, content: Content) -> Arc<Message> {
    let origin = Origin {
        door: "door".into(),
        protocol,
        peer: "192.0.2.1:4000".into(),
        account: "shop".into(),
        session: 1,
        helo: "peer".into(),
        tls: false,
    };
    Arc::new(Message {
        id: MessageId::from_u64(id),
        parent: None,
        origin: Arc::new(origin),
        sender,
        recipients: vec![Recipient::new(Address::phone("+33612345678"), Wish::FINAL)],
        content,
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

fn host_env(world: &Arc<World>) -> Arc<dyn HostEnv> {
    let env: Arc<dyn HostEnv> = Arc::<World>::clone(world);
    env
}

/// The host around the plugins of one test; time stands still unless the test moves it.
#[derive(Debug, Default)]
struct World {
    store: Mutex<BTreeMap<(String, String), Bytes>>,
    lines: Mutex<Vec<String>>,
    now_ms: AtomicU64,
    /// While it is closed, keys are not read.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What a commit does.
    fn commit(&self, writes: &[KvWrite]) {
        let mut store = self.store.lock().unwrap();
        for write in writes {
            let key = (write.plugin.to_string(), write.key.to_string());
            match &write.entry {
                Some(entry) => store.insert(key, entry.clone()),
                None => store.remove(&key),
            };
        }
    }

    /// Reads of keys wait from now on.
    fn close(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    fn open(&self, gate: &Semaphore) {
        *self.gate.lock().unwrap() = None;
        gate.close();
    }

    fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl HostEnv for World {
    fn kv_find<'a>(&'a self, plugin: &'a str, key: &'a str) -> BoxFuture<'a, KvFound> {
        let key = (plugin.to_owned(), key.to_owned());
        let gate = self.gate.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(gate) = gate {
                // It is closed when it opens.
                assert!(gate.acquire().await.is_err());
            }
            Ok(self.store.lock().unwrap().get(&key).cloned())
        })
    }

    fn lookup(&self, table: &str, key: &str) -> Option<Arc<str>> {
        (table == "names" && key == "k").then(|| "v".into())
    }

    fn lookup_prefix(&self, _table: &str, _key: &str) -> Option<(String, Arc<str>)> {
        None
    }

    fn lookup_ip(&self, _table: &str, _address: IpAddr) -> Option<Arc<str>> {
        None
    }

    fn target(&self, name: &str) -> Option<TargetState> {
        let known = matches!(name, "smsc-a" | "smsc-b" | "relay" | "secret");
        known.then_some(TargetState { up: name != "smsc-a", queued: 0, per_second: 0.0 })
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(1_000_000 + self.now_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        4
    }

    fn log_enabled(&self, _level: LogLevel) -> bool {
        true
    }

    fn log(&self, line: LogLine<'_>) {
        self.lines.lock().unwrap().push(format!("{} {}", line.level.name(), line.text));
    }

    fn metric(&self, plugin: &str, name: &str, metric: Metric) {
        self.lines.lock().unwrap().push(format!("metric {plugin}.{name} {metric:?}"));
    }
}
