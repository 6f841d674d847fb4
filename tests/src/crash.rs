//! The router between two simulated peers, under load, killed and started again: what it has
//! acknowledged must arrive, and what arrives twice must have been under way at a kill.
//!
//! Everything is the real program, in processes of its own: the router, `sim smsc`, `sim relay`,
//! `load smpp`, `load smtp`. Nothing sleeps: a kill comes after so many more deliveries.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test, unless the environment names another.
const BINARY_VARIABLE: &str = "WIREPOST_BIN";
/// How long anything may take before the test says what it waited for.
const PATIENCE: Duration = Duration::from_secs(90);
/// What is still unanswered by the SMSC when the router dies, at most.
const SMSC_WINDOW: usize = 50;
/// Sessions of the mail load; each has one message unanswered when the router dies.
const SMTP_SESSIONS: usize = 8;
/// A delivery may be repeated if its mark was not synced at the kill: marks ride with the next
/// commit, which a busy disk holds up.
const UNSYNCED_MS: u64 = 3_000;

/// The program: from the environment, or beside this test program, built if need be.
///
/// # Errors
/// It is not there and cannot be built.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("the test has no folder")?;
    let path = profile.join("wirepost");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--workspace", "--bin", "wirepost"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let built = build.status().context("cannot run cargo")?;
    ensure!(built.success() && path.exists(), "{} is not built", path.display());
    Ok(path)
}

/// A process that does not outlive its handle.
#[derive(Debug)]
struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a thread reads from a process, and others wait for.
#[derive(Debug, Default)]
struct Watched<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Whether it came true in time.
    fn wait(&self, patience: Duration, mut until: impl FnMut(&mut T) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |state| !until(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// What a simulated peer was given: when each tag arrived.
#[derive(Debug, Default)]
struct Arrivals {
    address: Option<String>,
    times_ms: BTreeMap<String, Vec<u64>>,
    count: usize,
    newest_ms: u64,
}

/// Both peers.
#[derive(Debug, Default)]
struct Peers {
    smsc: Arrivals,
    relay: Arrivals,
}

/// What the router says on its standard error.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    ended: bool,
    last: Vec<String>,
}

/// The router while it runs.
#[derive(Debug)]
pub struct Router {
    process: Process,
    told: Arc<Watched<Told>>,
}

impl Router {
    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It does not in time.
    pub fn ended(mut self) -> Result<ExitStatus> {
        if !self.told.wait(PATIENCE, |told| told.ended) {
            bail!("the router did not end: {:#?}", self.told.lock().last);
        }
        Ok(self.process.child.wait()?)
    }
}

/// What a run found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// How often the router died.
    pub kills: usize,
    /// Messages that were acknowledged.
    pub acknowledged: usize,
    /// Messages that arrived.
    pub arrived: usize,
    /// Messages that arrived more than once.
    pub repeated: usize,
    /// Of those, the ones that no kill explains.
    pub unexplained: usize,
}

/// Two peers, a configuration between them, and a place for everything.
#[derive(Debug)]
pub struct Stand {
    place: TempDir,
    binary: PathBuf,
    mail_port: u16,
    esme_port: u16,
    peers: Arc<Watched<Peers>>,
    kills_ms: Vec<u64>,
    _smsc: Process,
    _relay: Process,
}

impl Stand {
    /// Starts the peers and writes the configuration.
    ///
    /// # Errors
    /// A process cannot be started or does not say where it listens.
    pub fn new() -> Result<Self> {
        let (place, binary) = (tempfile::tempdir()?, binary()?);
        let peers = Arc::new(Watched::<Peers>::default());
        let sim = |what: &str, more: &[&str]| {
            let mut command = Command::new(&binary);
            command.args(["sim", what, "--listen", "127.0.0.1:0"]).args(more);
            Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))
        };
        let mut smsc = sim("smsc", &["--no-receipts"])?;
        let mut relay = sim("relay", &["--header", "X-Wirepost-Load"])?;
        read_peer(&mut smsc, &peers, |peers| &mut peers.smsc)?;
        read_peer(&mut relay, &peers, |peers| &mut peers.relay)?;
        let listening =
            |peers: &mut Peers| peers.smsc.address.is_some() && peers.relay.address.is_some();
        ensure!(peers.wait(PATIENCE, listening), "the simulated peers do not listen");
        let (mail_port, esme_port) = (free_port()?, free_port()?);
        let stand = Self {
            place,
            binary,
            mail_port,
            esme_port,
            peers,
            kills_ms: Vec::new(),
            _smsc: smsc,
            _relay: relay,
        };
        stand.configure()?;
        Ok(stand)
    }

    fn configure(&self) -> Result<()> {
        let port = |address: &Option<String>| {
            let port = address.as_deref().and_then(|address| address.rsplit_once(':'));
            port.map(|(_, port)| port.to_owned()).context("a peer did not say its port")
        };
        let (smsc, relay) = {
            let peers = self.peers.lock();
            (port(&peers.smsc.address)?, port(&peers.relay.address)?)
        };
        let (mail, esme, place) = (self.mail_port, self.esme_port, self.place.path().display());
        let yaml = format!(
            r#"
node: {{ hostname: gw.example.net }}
spool: {{ path: "{place}/spool" }}
journal: {{ path: "{place}/journal" }}
admin: {{ socket: "{place}/admin.sock" }}
listeners:
  mail:  {{ smtp: {{ bind: "127.0.0.1:{mail}", allow: ["127.0.0.0/8"] }} }}
  esmes: {{ smpp: {{ bind: "127.0.0.1:{esme}" }} }}
accounts:
  load: {{ smpp: {{ system_id: load, password: secret }} }}
connectors:
  smsc:  {{ smpp: {{ host: 127.0.0.1, port: {smsc}, system_id: wp, password: wp, window: {SMSC_WINDOW} }} }}
  relay: {{ smtp: {{ host: 127.0.0.1, port: {relay}, tls: none }} }}
bounces: {{ via: relay, from: "postmaster@gw.example.net" }}
routes:
  - {{ name: sms, when: {{ to: {{ glob: "+*" }} }}, to: smsc }}
  - {{ name: mail, when: {{ to: {{ domain: example.org }} }}, to: relay }}
"#
        );
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.yaml())?;
        Ok(file.write_all(yaml.as_bytes())?)
    }

    /// Starts the router and waits until it listens; `around` runs it, such as strace.
    ///
    /// # Errors
    /// It ends or does not say that it has started.
    pub fn router(&self, around: &[&str]) -> Result<Router> {
        let mut words = around.iter().map(Path::new).chain([self.binary.as_path()]);
        let mut command = Command::new(words.next().context("nothing to run")?);
        command.args(words).arg("run").arg("--config").arg(self.yaml());
        command.env("NO_COLOR", "1").env("WIREPOST_LOG", "info");
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let told = Arc::new(Watched::<Told>::default());
        let err = process.child.stderr.take().context("standard error is piped")?;
        listen(err, Arc::clone(&told), |told, line| match line {
            Some(line) => {
                told.started |= line.contains("\"started\"");
                told.last.push(line);
                if told.last.len() > 20 {
                    told.last.remove(0);
                }
            }
            None => told.ended = true,
        });
        if !told.wait(PATIENCE, |told| told.started || told.ended) || told.lock().ended {
            bail!("the router did not start: {:#?}", told.lock().last);
        }
        Ok(Router { process, told })
    }

    /// Starts both loads; they connect again when the router dies and end when all is answered.
    ///
    /// # Errors
    /// A process cannot be started.
    pub fn load(&self, sms: usize, mails: usize) -> Result<Load> {
        let start = |what: &str, target: u16, count: usize, more: &[&str]| {
            let mut command = Command::new(&self.binary);
            command.args(["load", what, "--reconnect", "--count", &count.to_string()]);
            command.args(["--target", &format!("127.0.0.1:{target}"), "--ack-log"]);
            command.arg(self.acks(what)).args(more);
            Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
        };
        let sessions = SMTP_SESSIONS.to_string();
        let smpp = ["--system-id", "load", "--password", "secret", "--binds", "2"];
        let smpp = [&smpp[..], &["--window", "40", "--rate", "1500"]].concat();
        Ok(Load {
            smpp: start("smpp", self.esme_port, sms, &smpp)?,
            smtp: start(
                "smtp",
                self.mail_port,
                mails,
                &["--sessions", &sessions, "--rate", "400/s"],
            )?,
        })
    }

    /// Waits for so many more deliveries, or until no more come for a while, and kills the router.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill_after(&mut self, deliveries: usize, mut router: Router) -> Result<()> {
        let goal = self.delivered() + deliveries;
        // Less may be left to deliver: then it is killed while nothing happens.
        let patience = Duration::from_secs(3);
        self.peers.wait(patience, |peers| peers.smsc.count + peers.relay.count >= goal);
        ensure!(router.process.child.try_wait()?.is_none(), "the router had ended");
        router.process.child.kill()?;
        router.process.child.wait()?;
        self.died();
        Ok(())
    }

    /// Notes that the router died about now.
    pub fn died(&mut self) {
        let peers = self.peers.lock();
        self.kills_ms.push(peers.smsc.newest_ms.max(peers.relay.newest_ms));
    }

    /// Audits the running router: its books must balance, and no id may be missing.
    ///
    /// # Errors
    /// They do not: with what `wirepost audit` says.
    pub fn audit(&self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("audit").arg("--config").arg(self.yaml());
        audited(&mut command)
    }

    /// Kills the router and audits what it left.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub fn audit_the_dead(&self, router: Router) -> Result<()> {
        drop(router);
        let mut command = Command::new(&self.binary);
        let place = self.place.path();
        command.arg("audit").arg("--spool").arg(place.join("spool"));
        audited(command.arg("--journal").arg(place.join("journal")))
    }

    /// Waits until everything that was acknowledged has arrived, and counts.
    ///
    /// # Errors
    /// Something acknowledged did not arrive: its tags are named.
    pub fn settle(&self, load: Load) -> Result<Toll> {
        for mut process in [load.smpp, load.smtp] {
            let status = process.child.wait()?;
            ensure!(status.success(), "a load ended with {status}");
        }
        let acknowledged = [self.acknowledged("smpp")?, self.acknowledged("smtp")?];
        let count = acknowledged.iter().map(Vec::len).sum();
        let [mut sms, mut mails] = acknowledged;
        let arrived = self.peers.wait(PATIENCE, |peers| {
            sms.retain(|tag| !peers.smsc.times_ms.contains_key(tag));
            mails.retain(|tag| !peers.relay.times_ms.contains_key(tag));
            sms.is_empty() && mails.is_empty()
        });
        if !arrived {
            bail!(
                "lost: {} SMS {:?}, {} mails {:?}",
                sms.len(),
                sms.first(),
                mails.len(),
                mails.first()
            );
        }
        Ok(self.toll(count))
    }

    fn toll(&self, acknowledged: usize) -> Toll {
        let kills = self.kills_ms.len();
        let peers = self.peers.lock();
        let mut toll = Toll { kills, acknowledged, ..Toll::default() };
        // A mail that was taken without its answer getting out is offered again by the client.
        let mut offered_again = kills * SMTP_SESSIONS;
        for (arrivals, again) in [(&peers.smsc, &mut 0), (&peers.relay, &mut offered_again)] {
            toll.arrived += arrivals.times_ms.len();
            for times_ms in arrivals.times_ms.values() {
                let [first, .., last] = times_ms.as_slice() else { continue };
                toll.repeated += 1;
                let around =
                    |kill: &u64| *first + UNSYNCED_MS >= *kill && first <= kill && last >= kill;
                if self.kills_ms.iter().any(around) {
                    continue;
                }
                match again.checked_sub(1) {
                    Some(left) => *again = left,
                    None => toll.unexplained += 1,
                }
            }
        }
        toll
    }

    /// How many deliveries the peers have seen.
    #[must_use]
    pub fn delivered(&self) -> usize {
        let peers = self.peers.lock();
        peers.smsc.count + peers.relay.count
    }

    fn acknowledged(&self, what: &str) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.acks(what)).context("no acknowledgements")?;
        Ok(text.lines().filter_map(first_word).collect())
    }

    fn acks(&self, what: &str) -> PathBuf {
        self.place.path().join(format!("{what}.acks"))
    }

    fn yaml(&self) -> PathBuf {
        self.place.path().join("wirepost.yaml")
    }
}

/// Both loads while they run.
#[derive(Debug)]
pub struct Load {
    smpp: Process,
    smtp: Process,
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed other than 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1)).unwrap_or(0)
    }
}

fn audited(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot run the audit")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn first_word(text: &str) -> Option<String> {
    text.split_whitespace().next().map(str::to_owned)
}

fn read_peer(
    process: &mut Process,
    peers: &Arc<Watched<Peers>>,
    which: fn(&mut Peers) -> &mut Arrivals,
) -> Result<()> {
    let out = process.child.stdout.take().context("standard output is piped")?;
    listen(out, Arc::clone(peers), move |peers, line| {
        let Some(record) = line.and_then(|line| serde_json::from_str::<Value>(&line).ok()) else {
            return;
        };
        note(which(peers), &record);
    });
    Ok(())
}

/// Takes one line of a simulated peer.
fn note(arrivals: &mut Arrivals, record: &Value) {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str);
    match text("/event") {
        Some("listening") => arrivals.address = text("/address").map(str::to_owned),
        Some("message") => {
            let tag =
                text("/headers/X-Wirepost-Load").or_else(|| text("/text")).and_then(first_word);
            let time_ms = record.get("time_ms").and_then(Value::as_u64).unwrap_or(0);
            arrivals.times_ms.entry(tag.unwrap_or_default()).or_default().push(time_ms);
            arrivals.count += 1;
            arrivals.newest_ms = arrivals.newest_ms.max(time_ms);
        }
        _ => {}
    }
}

/// Reads lines on a thread of its own until they end, which it tells as `None`.
fn listen<T: Send + 'static>(
    from: impl Read + Send + 'static,
    watched: Arc<Watched<T>>,
    take: impl Fn(&mut T, Option<String>) + Send + 'static,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(std::io::Result::ok) {
            watched.change(|state| take(state, Some(line)));
        }
        watched.change(|state| take(state, None));
    });
}
