//! More than the router can carry: a flood at ten times the rate of its target beside a small account,
//! slow and dead targets, receipts for everything, links that are cut, peers that connect and go, and
//! thousands of connections that say nothing. Memory stays bounded, the small account is served,
//! nothing stands still, and what was acknowledged arrives.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{Service, build_host, http, output, ports_are_free, root, wait_until};

const SMTP: u16 = 2735;
const SMPP: u16 = 2985;
const HTTP: u16 = 8235;
const GOOD: u16 = 2986;
const SLOW: u16 = 2987;
/// Nobody listens here.
const DEAD: u16 = 2988;
const UP_WITHIN: Duration = Duration::from_secs(60);
/// Time for the backlog to come out after the flood.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);
/// Time for the last message of the small account to arrive, while the flood still waits.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// What the good target takes in a second.
const RATE: u64 = 1000;
/// Resident memory of the router, at most.
const MEMORY_MAX: u64 = 600 * 1_048_576;
/// Connections that one process holds; most systems let it have 1024 files.
const HELD_EACH: u64 = 500;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    seconds: u64,
    deferred: u64,
    idle: u64,
}

impl Size {
    /// Minutes of it.
    pub(crate) const WHOLE: Self = Self { seconds: 120, deferred: 100_000, idle: 10_000 };
    /// A minute, to see that it works.
    pub(crate) const SHORT: Self = Self { seconds: 15, deferred: 20_000, idle: 1_000 };
}

/// Runs it and prints what was seen.
///
/// # Errors
/// If something is lost, stands still, is starved or grows; or if something does not start.
pub(crate) fn run(size: Size) -> Result<()> {
    let wirepost = build_host(true)?;
    ports_are_free(&[SMTP, SMPP, HTTP, GOOD, SLOW, DEAD])?;
    let work = prepare()?;
    let stand = Stand { wirepost, work };
    let good = stand.sink("good-1", GOOD, "")?;
    let _slow = stand.sink("slow", SLOW, "--response-delay 1s --no-receipts")?;
    let mut router = stand.router()?;
    router.wait_ready(HTTP, UP_WITHIN)?;
    wait_until(UP_WITHIN, || (of("wirepost_target_up", "good") == Some(1)).then_some(()))
        .with_context(|| format!("the good target is not up:\n{}", router.said()))?;
    println!("deferred: {} for a target that is down", size.deferred);
    stand.load_to_end("dead", "flood", &format!("--dest 33620000000 --count {}", size.deferred))?;
    let held = stand.hold(size.idle)?;
    println!("idle connections: {}", size.idle);
    let (mut seen, _good) = stand.overload(size, &mut router, good)?;
    drop(held);
    let drained = wait_until(DRAINED_WITHIN, || {
        seen.look();
        (of("wirepost_queue_deliveries", "good") == Some(0)).then_some(())
    });
    drained.with_context(|| format!("the backlog does not come out: {:?}", queued()))?;
    let lost = stand.lost(&["flood", "alarm"])?;
    println!(
        "memory: {} MiB at most; queue of the good target: {} at most; deferred at the end: {:?}",
        seen.memory_max / 1_048_576,
        seen.queued_max,
        of("wirepost_queue_deliveries", "dead"),
    );
    println!("acknowledged: {}, lost: {}", lost.acknowledged, lost.tags.len());
    ensure!(seen.stalled.is_empty(), "these stood still: {:?}", seen.stalled);
    ensure!(seen.memory_max <= MEMORY_MAX, "the router took {} octets", seen.memory_max);
    ensure!(lost.tags.is_empty(), "lost: {:?}", lost.tags.iter().take(5).collect::<Vec<_>>());
    ensure!(!router.ended(), "the router ended:\n{}", router.said());
    Ok(())
}

/// What was seen while it ran.
#[derive(Debug, Default)]
struct Seen {
    memory_max: u64,
    queued_max: u64,
    stalled: BTreeSet<String>,
}

impl Seen {
    fn look(&mut self) {
        let Some(metrics) = http(HTTP, "/metrics") else { return };
        for line in metrics.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let value: u64 =
                value.split('.').next().and_then(|value| value.parse().ok()).unwrap_or(0);
            if name == "wirepost_memory_bytes" {
                self.memory_max = self.memory_max.max(value);
            } else if name == "wirepost_queue_deliveries{name=\"good\"}" {
                self.queued_max = self.queued_max.max(value);
            } else if name.starts_with("wirepost_stalled{") && value > 0 {
                self.stalled.insert(name.to_owned());
            }
        }
    }
}

/// What was acknowledged and did not arrive.
struct Lost {
    acknowledged: usize,
    tags: BTreeSet<String>,
}

/// The programs and their folder.
struct Stand {
    wirepost: PathBuf,
    work: PathBuf,
}

impl Stand {
    fn ours(&self, words: &str) -> Command {
        let mut command = Command::new(&self.wirepost);
        command.args(words.split_whitespace()).current_dir(&self.work);
        command
    }

    /// With as many open files as the system lets it have.
    fn router(&self) -> Result<Service> {
        let mut command = Command::new("sh");
        let script = "ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" run --config wirepost.yaml";
        command.args(["-c", script]).arg(&self.wirepost).current_dir(&self.work);
        Service::start("router", &command, &self.work)
    }

    fn sink(&self, name: &str, port: u16, more: &str) -> Result<Service> {
        let command = self.ours(&format!("sim smsc --listen 127.0.0.1:{port} {more}"));
        let mut sink = Service::start(name, &command, &self.work)?;
        sink.wait_port(port, UP_WITHIN)?;
        Ok(sink)
    }

    fn load(&self, name: &str, account: &str, more: &str) -> Command {
        let acks = self.work.join(format!("{name}.acks"));
        let mut command = self.ours(&format!(
            "load smpp --json --reconnect --target 127.0.0.1:{SMPP} --system-id {account} --password test {more}"
        ));
        command.arg("--ack-log").arg(acks);
        command
    }

    fn load_to_end(&self, name: &str, account: &str, more: &str) -> Result<Value> {
        let out = output(&mut self.load(name, account, more))?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(out.status.success(), "load: {said}{}", String::from_utf8_lossy(&out.stderr));
        let last = said.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        last.with_context(|| format!("load said no figures: {said}"))
    }

    /// Processes that hold connections to the mail listener open.
    fn hold(&self, count: u64) -> Result<Vec<Service>> {
        let me = std::env::current_exe()?;
        let mut held = Vec::new();
        for number in 0..count / HELD_EACH {
            let mut command = Command::new(&me);
            command.args(["hold", &SMTP.to_string(), &HELD_EACH.to_string()]);
            held.push(Service::start(&format!("held-{number}"), &command, &self.work)?);
        }
        for service in &held {
            let all = wait_until(UP_WITHIN, || service.said().contains("held").then_some(()));
            all.with_context(|| format!("connections are not taken: {}", service.said()))?;
        }
        Ok(held)
    }

    /// The flood and all that goes with it.
    fn overload(&self, size: Size, router: &mut Service, good: Service) -> Result<(Seen, Service)> {
        let (flooded, alarms) = (RATE * 10 * size.seconds, 10 * size.seconds);
        let flood = self.load(
            "flood",
            "flood",
            &format!(
                "--receipts --binds 4 --rate {} --count {flooded} --receipt-wait 1s",
                RATE * 10
            ),
        );
        let mut flood = Service::start("flood", &flood, &self.work)?;
        let alarm = self.load("alarm", "alarm", &format!("--binds 1 --rate 10 --count {alarms}"));
        let mut alarm = Service::start("alarm", &alarm, &self.work)?;
        let slow = self.load("slow", "flood", "--dest 33610000000 --count 2000 --rate 200");
        let _slow = Service::start("slow-load", &slow, &self.work)?;
        let mut seen = Seen::default();
        let (mut first, mut second) = (Some(good), None);
        let mut storms: u64 = 0;
        let within = Duration::from_secs(size.seconds * 20);
        let over = wait_until(within, || {
            seen.look();
            // Peers that connect and go.
            for _ in 0..20 {
                let address = SocketAddr::from(([127, 0, 0, 1], SMPP));
                storms += u64::from(TcpStream::connect(address).is_ok());
            }
            if router.ended() {
                return Some(false);
            }
            if first.is_some() && of("wirepost_delivered_total", "good") > Some(RATE * 3) {
                // Every link of the target is cut with a full window.
                first = None;
                second = self.sink("good-2", GOOD, "").ok();
            }
            (flood.ended() && alarm.ended()).then_some(true)
        });
        if over != Some(true) {
            bail!("it did not come to its end; the router said:\n{}", router.said());
        }
        println!("flood: {}", flood.said().trim());
        println!("alarm: {}", alarm.said().trim());
        println!("connections that came and went: {storms}");
        let waiting = of("wirepost_queue_deliveries", "good");
        let served =
            wait_until(SERVED_WITHIN, || self.lost(&["alarm"]).ok()?.tags.is_empty().then_some(()));
        ensure!(
            served.is_some(),
            "the small account waits for the flood, of which {waiting:?} wait"
        );
        println!("the small account was served while {waiting:?} of the flood waited");
        let sink = second.context("the target was never cut: the flood was too small")?;
        Ok((seen, sink))
    }

    /// Compares acknowledgements with arrivals.
    fn lost(&self, names: &[&str]) -> Result<Lost> {
        let mut tags = BTreeSet::new();
        for name in names {
            let text = fs::read_to_string(self.work.join(format!("{name}.acks")))?;
            let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
            tags.extend(text.lines().filter_map(first));
        }
        let acknowledged = tags.len();
        for sink in ["good-1", "good-2"] {
            let log = fs::read_to_string(self.work.join(format!("{sink}.log"))).unwrap_or_default();
            for line in log.lines() {
                let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
                let text = record.get("text").and_then(Value::as_str).unwrap_or_default();
                if let Some(tag) = text.split_whitespace().next() {
                    tags.remove(tag);
                }
            }
        }
        Ok(Lost { acknowledged, tags })
    }
}

/// Holds connections to a port of the loopback address open until it is ended.
///
/// # Errors
/// If one is refused.
pub(crate) fn hold(port: &str, count: &str) -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    let mut held = Vec::new();
    for _ in 0..count.parse::<u64>()? {
        held.push(TcpStream::connect(address)?);
    }
    println!("{} held", held.len());
    // Whoever started us ends us.
    wait_until(Duration::from_secs(86_400), || None::<()>);
    drop(held);
    Ok(())
}

fn of(metric: &str, name: &str) -> Option<u64> {
    let wanted = format!("{metric}{{name=\"{name}\"}} ");
    let all = http(HTTP, "/metrics")?;
    let line = all.lines().find_map(|line| line.strip_prefix(&wanted))?;
    line.split('.').next()?.trim().parse().ok()
}

fn queued() -> Vec<String> {
    let all = http(HTTP, "/metrics").unwrap_or_default();
    let wanted = |line: &&str| line.starts_with("wirepost_queue_");
    all.lines().filter(wanted).map(str::to_owned).collect()
}

fn prepare() -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let work = root().join("target/overload");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let write = |name: &str, text: &str| -> Result<()> {
        let path: &Path = &work.join(name);
        fs::write(path, text)?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
    };
    write("secret", "test")?;
    write("wirepost.yaml", &configuration())?;
    Ok(work)
}

fn configuration() -> String {
    let smsc = |port: u16, more: &str| {
        format!(
            "{{ smpp: {{ host: 127.0.0.1, port: {port}, system_id: wp, password: {{ file: secret }}, reconnect: {{ min: 200ms, max: 1s }}, {more} }}, queue_max: 200000 }}"
        )
    };
    format!(
        "log: {{ filter: warn, format: json }}
admin: {{ http: \"127.0.0.1:{HTTP}\", socket: wirepost.sock }}
node: {{ stall_after: 20s }}
listeners:
  mail:  {{ smtp: {{ bind: \"127.0.0.1:{SMTP}\", allow: [\"127.0.0.0/8\"], max_connections: 20000, max_connections_per_ip: 20000 }} }}
  esmes: {{ smpp: {{ bind: \"127.0.0.1:{SMPP}\", max_connections_per_ip: 1000 }} }}
bounces: {{ via: bounce, from: \"postmaster@overload.test\" }}
accounts:
  flood: {{ smpp: {{ system_id: flood, password: {{ file: secret }} }} }}
  alarm: {{ smpp: {{ system_id: alarm, password: {{ file: secret }} }} }}
connectors:
  good: {}
  slow: {}
  dead: {}
  bounce: {{ smtp: {{ host: 127.0.0.1, port: {DEAD}, tls: none }} }}
routes:
  - {{ name: slow, when: {{ to: {{ prefix: \"+3361\" }} }}, to: slow }}
  - {{ name: dead, when: {{ to: {{ prefix: \"+3362\" }} }}, to: dead }}
  - {{ name: good, to: good }}
",
        smsc(GOOD, &format!("binds: 2, window: 100, rate: {RATE}/s")),
        smsc(SLOW, "window: 10"),
        smsc(DEAD, "window: 10"),
    )
}
