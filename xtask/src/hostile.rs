//! Plugins and files that mean harm, for long: mutants through the loader of one process, then beside
//! clean traffic every misdeed of the suite, bad files by the dozen, and a plugin swapped twice a second
//! under full load. Nothing may fail or be lost, and who is clean may not wait twice as long.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::plugins;
use crate::process::{
    self, Service, build_host, cargo, http, output, pause, ports_are_free, root, wait_until,
};

const CLEAN: u16 = 2995;
const BAD: u16 = 2996;
const SINK: u16 = 2997;
const MAIL: u16 = 2998;
const RELAY: u16 = 2999;
const HTTP: u16 = 8245;
const UP_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
const SWAP_EVERY: Duration = Duration::from_millis(500);
const DELIVERED: &str = "wirepost_delivered_total{name=\"out\"}";
const UP: &str = "wirepost_target_up{name=\"out\"}";
const GENERATION: &str = "wirepost_generation";
/// Clean messages in a second, while something happens beside them.
const CLEAN_RATE: u64 = 200;
/// Bad messages in a second.
const BAD_RATE: u64 = 20;
/// Bad messages go elsewhere, so that what is clean can be counted.
const BAD_DEST: u64 = 33_700_000_000;
/// Waits below this are noise of the machine, not of a plugin.
const NOISE_MS: f64 = 10.0;
/// A slow row is measured again, so many times in all: what the misdeed itself causes shows each time.
const TRIES: usize = 3;
/// Header fields of a mail, and the name of the row with such mails.
const FIELDS: usize = 9_000;
const MAILS: &str = "do:headers, as a mail";
/// Mutants of one module that are dropped as files.
const DROPS: usize = 50;

/// The plugins that are named, and what the text asks of each. All run at the door `back` only.
const MISDEEDS: [(&str, &str); 20] = [
    ("trap", "trap"),
    ("spin", "spin"),
    ("hog", "hog"),
    ("rogue", "do:recurse"),
    ("rogue", "do:log-flood"),
    ("rogue", "do:panic-flood"),
    ("rogue", "do:log-fields"),
    ("rogue", "do:panic"),
    ("rogue", "do:abort"),
    ("rogue", "do:error"),
    ("rogue", "do:reason"),
    ("rogue", "do:headers"),
    ("rogue", "do:leak"),
    ("rogue", "do:fork-flood"),
    ("rogue", "do:keys"),
    ("rogue", "do:metrics"),
    ("rogue", "do:loop"),
    ("rogue", "do:eat"),
    ("rogue", "do:error-lines"),
    ("rogue", MAILS),
];

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    mutants: u64,
    /// Of each misdeed, of the bad files, and of the swaps.
    seconds: u64,
    swap_seconds: u64,
}

impl Size {
    /// Some quarters of an hour.
    pub(crate) const WHOLE: Self = Self { mutants: 10_000, seconds: 10, swap_seconds: 60 };
    /// Minutes, to see that it works.
    pub(crate) const SHORT: Self = Self { mutants: 300, seconds: 3, swap_seconds: 10 };
}

/// What it consists of, in this order.
const PARTS: [&str; 4] = ["mutants", "misdeeds", "drops", "swaps"];

/// Runs it, or the one part of it that is named, and prints what was seen.
///
/// # Errors
/// If there is no such part, a mutant ends the process, something clean is refused, lost or waits twice
/// as long, or the router ends.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let size = if words.contains(&"--short") { Size::SHORT } else { Size::WHOLE };
    let named: Vec<_> = words.iter().filter(|word| **word != "--short").collect();
    if let Some(word) = named.iter().find(|word| !PARTS.contains(word)) {
        bail!("there is no part `{word}`: {}", PARTS.join(", "));
    }
    let wanted = |part: &str| named.is_empty() || named.iter().any(|word| **word == part);
    let modules = plugins::build()?;
    if wanted("mutants") {
        mutants(&modules, size.mutants)?;
    }
    let stand = Stand::start(&modules)?;
    let slow = if wanted("misdeeds") { stand.misdeeds(size)? } else { Vec::new() };
    if wanted("drops") {
        stand.drops(size)?;
    }
    if wanted("swaps") {
        stand.swaps(size)?;
    }
    stand.goes_on()?;
    ensure!(slow.is_empty(), "clean messages waited twice as long beside: {}", slow.join(", "));
    Ok(())
}

fn mutants(modules: &Path, count: u64) -> Result<()> {
    let test =
        "plugin::tests::mutants::every_mutant_is_refused_or_runs_and_the_good_one_still_does";
    // Both packages: with one alone the dependencies are built once more, with other features.
    let mut command = cargo(&["test", "--package", "wirepost", "--package", "wirepost-tests"]);
    command
        .args(["--lib", "--", "--nocapture", test])
        .env("WIREPOST_MUTANTS", count.to_string())
        .env("WIREPOST_MUTANTS_SEED", std::process::id().to_string())
        .env("WIREPOST_PLUGINS", modules);
    process::run(&mut command)
}

/// What the generator says.
#[derive(Clone, Copy, Debug)]
struct Load {
    ok: u64,
    sent: u64,
    rate: f64,
    p50: f64,
    p99: f64,
}

/// A router between a generator and a sink.
struct Stand {
    // It ends before its sink does.
    router: std::cell::RefCell<Service>,
    _sinks: [Service; 2],
    wirepost: PathBuf,
    work: PathBuf,
}

impl Stand {
    fn start(modules: &Path) -> Result<Self> {
        let wirepost = build_host(true)?;
        ports_are_free(&[CLEAN, BAD, SINK, MAIL, RELAY, HTTP])?;
        let work = prepare(modules)?;
        let ours = |words: &str| {
            let mut command = Command::new(&wirepost);
            command.args(words.split(' ')).current_dir(&work);
            command
        };
        let sink = ours(&format!("sim smsc --quiet --listen 127.0.0.1:{SINK}"));
        let mut sink = Service::start("sink", &sink, &work)?;
        sink.wait_port(SINK, UP_WITHIN)?;
        let relay = ours(&format!("sim relay --quiet --listen 127.0.0.1:{RELAY}"));
        let mut relay = Service::start("relay", &relay, &work)?;
        relay.wait_port(RELAY, UP_WITHIN)?;
        let mut router = Service::start("router", &ours("run --config wirepost.yaml"), &work)?;
        router.wait_ready(HTTP, UP_WITHIN)?;
        wait_until(UP_WITHIN, || (metric(UP) == Some(1)).then_some(()))
            .with_context(|| format!("the sink is not bound to:\n{}", router.said()))?;
        Ok(Self { router: router.into(), _sinks: [sink, relay], wirepost, work })
    }

    fn generator(&self, port: u16, account: &str, more: &str) -> Command {
        let mut command = Command::new(&self.wirepost);
        let words = format!(
            "load smpp --json --target 127.0.0.1:{port} --system-id {account} --password test {more}"
        );
        command.args(words.split_whitespace()).current_dir(&self.work);
        command
    }

    /// Clean messages, each of which must be taken and must come out.
    fn clean(&self, more: &str) -> Result<Load> {
        let before = metric(DELIVERED).unwrap_or(0);
        let out = output(&mut self.generator(CLEAN, "clean", more))?;
        let load = figures(&String::from_utf8_lossy(&out.stdout))
            .with_context(|| String::from_utf8_lossy(&out.stderr).into_owned())?;
        ensure!(load.ok == load.sent, "{} of {} were taken", load.ok, load.sent);
        let out =
            wait_until(DRAINED_WITHIN, || (metric(DELIVERED)? >= before + load.ok).then_some(()));
        out.with_context(|| {
            format!("{:?} came out, not {}; {}", metric(DELIVERED), before + load.ok, self.said())
        })?;
        Ok(load)
    }

    /// Each misdeed beside clean traffic; those beside which it was twice as slow as without.
    fn misdeeds(&self, size: Size) -> Result<Vec<&'static str>> {
        let shape = format!("--binds 2 --rate {CLEAN_RATE} --count {}", CLEAN_RATE * size.seconds);
        // The first messages of a process pay for what later ones find ready.
        self.clean(&shape)?;
        let mut quiet = self.clean(&shape)?;
        let mut slow = Vec::new();
        for (index, (_, words)) in MISDEEDS.iter().enumerate() {
            let mut row = self.row(size, words, index, &shape, quiet)?;
            for again in 1..TRIES {
                // Something else may have run on this machine.
                if row.is_slow() {
                    let sender = index + again * MISDEEDS.len();
                    row = self.row(size, words, sender, &shape, row.after)?;
                }
            }
            println!("{words:<21} {row}");
            slow.extend(row.is_slow().then_some(*words));
            quiet = row.after;
        }
        self.goes_on()?;
        Ok(slow)
    }

    /// A misdeed between two quiet times: what the machine does by itself changes from minute to minute.
    fn row(
        &self,
        size: Size,
        words: &str,
        sender: usize,
        shape: &str,
        before: Load,
    ) -> Result<Row> {
        let beside = self.beside(size, words, sender, shape)?;
        Ok(Row { before, beside, after: self.clean(shape)? })
    }

    /// A sender of its own for each, so that faults before do not spare it.
    fn beside(&self, size: Size, words: &str, sender: usize, shape: &str) -> Result<Load> {
        if words == MAILS {
            let over = AtomicBool::new(false);
            return thread::scope(|scope| {
                let mails = scope.spawn(|| mail_until(&over, sender));
                let load = self.clean(shape);
                over.store(true, Ordering::Relaxed);
                mails.join().map_err(|_panic| anyhow!("the sender of mails panicked"))??;
                load
            });
        }
        let count = BAD_RATE * (size.seconds + 2);
        let mut bad = self.generator(
            BAD,
            "bad",
            &format!(
                "--binds 1 --rate {BAD_RATE} --count {count} --from BAD{sender} --dest {BAD_DEST}"
            ),
        );
        bad.args(["--words", words]);
        let _bad = Service::start("bad", &bad, &self.work)?;
        self.clean(shape)
    }

    /// Bad files while clean messages go.
    fn drops(&self, size: Size) -> Result<()> {
        let folder = self.work.join("plugins");
        let whole = fs::read(folder.join("scribe.wasm"))?;
        for number in 0..DROPS {
            let at = (number * 7919 + 9) % whole.len();
            let mut octets = whole.clone();
            match number % 3 {
                0 => octets.truncate(at),
                1 => drop(octets.drain(at..(at + 5).min(whole.len()))),
                _ => octets.iter_mut().skip(at).take(3).for_each(|octet| *octet ^= 0x55),
            }
            replace(&folder.join(format!("bad-{number:02}.wasm")), &octets)?;
        }
        let seconds = size.seconds * 2;
        let load = self.clean(&format!("--rate {CLEAN_RATE} --count {}", CLEAN_RATE * seconds))?;
        for number in 0..DROPS {
            fs::remove_file(folder.join(format!("bad-{number:02}.wasm")))?;
        }
        println!(
            "{DROPS} bad files dropped: 0 of {} clean messages failed or lost, p99 {:.2} ms",
            load.sent, load.p99
        );
        self.goes_on()
    }

    /// A plugin of other bytes twice a second, while messages go as fast as they can.
    fn swaps(&self, size: Size) -> Result<()> {
        let probe = self.clean("--count 20000")?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
        let rate = probe.rate as u64;
        let before = metric(GENERATION).unwrap_or(0);
        let (over, module) = (AtomicBool::new(false), self.work.join("plugins/scribe.wasm"));
        let (load, swaps) = thread::scope(|scope| -> Result<(Load, u64)> {
            let swapper = scope.spawn(|| swap_until(&over, &module));
            let load = self.clean(&format!("--count {}", rate * size.swap_seconds));
            over.store(true, Ordering::Relaxed);
            let swaps = swapper.join().map_err(|_panic| anyhow!("the swapper panicked"))??;
            Ok((load?, swaps))
        })?;
        let loaded = metric(GENERATION).unwrap_or(0).saturating_sub(before);
        println!(
            "{swaps} files swapped in every {SWAP_EVERY:?} under full load ({:.0}/s), {loaded} \
             generations: 0 of {} messages failed or lost, p99 {:.2} ms",
            load.rate, load.sent, load.p99
        );
        ensure!(loaded > 0, "no plugin was loaded");
        self.goes_on()
    }

    fn goes_on(&self) -> Result<()> {
        ensure!(!self.router.borrow_mut().ended(), "the router ended:\n{}", self.said());
        Ok(())
    }

    fn said(&self) -> String {
        let said = self.router.borrow().said();
        let lines: Vec<_> = said.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Clean traffic before, beside and after a misdeed.
#[derive(Clone, Copy, Debug)]
struct Row {
    before: Load,
    beside: Load,
    after: Load,
}

impl Row {
    /// The quieter of the two times around it.
    fn quiet(&self) -> f64 {
        self.before.p99.min(self.after.p99)
    }

    fn is_slow(&self) -> bool {
        self.beside.p99 > NOISE_MS && self.beside.p99 > self.quiet() * 2.0
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Load { p50, p99, .. } = self.beside;
        let factor = p99 / self.quiet().max(f64::MIN_POSITIVE);
        let quiet = (self.before.p99, self.after.p99);
        write!(
            f,
            "clean p50 {p50:.2} ms, p99 {p99:.2} ms, {factor:.1} x; quiet p99 {:.2} before, {:.2} after",
            quiet.0, quiet.1
        )
    }
}

/// The last line of JSON of a generator.
fn figures(said: &str) -> Result<Load> {
    let last = said.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = last.with_context(|| format!("load said no figures: {said}"))?;
    let latency = last.get("latency_ms").context("no latencies")?;
    let whole = |name: &str| last.get(name).and_then(Value::as_u64).context("a figure is missing");
    let number = |from: &Value, name: &str| {
        from.get(name).and_then(Value::as_f64).with_context(|| format!("no {name} in {last}"))
    };
    Ok(Load {
        ok: whole("ok")?,
        sent: whole("sent")?,
        rate: number(&last, "rate")?,
        p50: number(latency, "p50")?,
        p99: number(latency, "p99")?,
    })
}

/// Mails of many header fields, as often as other bad messages.
fn mail_until(over: &AtomicBool, sender: usize) -> Result<()> {
    let fields: String = (0..FIELDS).map(|number| format!("X-{number}: v\r\n")).collect();
    let mail = format!("{fields}Subject: do:headers\r\n\r\ndo:headers\r\n.\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", MAIL))?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    let mut answered = |words: &str| -> Result<()> {
        stream.write_all(words.as_bytes())?;
        // The last line of an answer has a blank behind its code.
        loop {
            let line = answers.next().context("the router closed the connection")??;
            ensure!(!line.starts_with('5'), "the router said {line}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    };
    answered("")?;
    answered("EHLO bad.test\r\n")?;
    while !over.load(Ordering::Relaxed) {
        answered(&format!("MAIL FROM:<bad{sender}@bad.test>\r\n"))?;
        answered("RCPT TO:<somebody@bad.test>\r\n")?;
        answered("DATA\r\n")?;
        answered(&mail)?;
        pause(Duration::from_secs(1) / u32::try_from(BAD_RATE)?);
    }
    Ok(())
}

/// How many it put there.
fn swap_until(over: &AtomicBool, module: &Path) -> Result<u64> {
    let bytes = fs::read(module).with_context(|| format!("read {}", module.display()))?;
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        // A custom section that says nothing to anybody.
        let mark = [&[0, 13, 4][..], b"swap", &number.to_be_bytes()].concat();
        replace(module, &[bytes.as_slice(), &mark].concat())?;
        pause(SWAP_EVERY);
    }
    Ok(number)
}

/// The way a deployment does it: a new file, then a rename.
fn replace(file: &Path, octets: &[u8]) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, octets)?;
    Ok(fs::rename(new, file)?)
}

/// One sample of the router's metrics, without its fraction.
fn metric(name: &str) -> Option<u64> {
    let all = http(HTTP, "/metrics")?;
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.split('.').next()?.trim().parse().ok()
}

fn prepare(modules: &Path) -> Result<PathBuf> {
    let work = root().join("target/hostile");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let plugins = work.join("plugins");
    fs::create_dir_all(&plugins)?;
    fs::set_permissions(&plugins, fs::Permissions::from_mode(0o700))?;
    for name in ["trap", "spin", "hog", "rogue", "scribe"] {
        let file = format!("{name}.wasm");
        let octets = fs::read(modules.join(&file)).with_context(|| format!("read {file}"))?;
        replace(&plugins.join(&file), &octets)?;
    }
    for (name, text) in
        [("secret", "test".to_owned()), ("wirepost.yaml", configuration(&spool_folder()?))]
    {
        let path = work.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(work)
}

/// In memory where the system has such a file system: the time that a disk takes to sync changes from
/// second to second, and no plugin is to blame for it.
fn spool_folder() -> Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        return Ok(PathBuf::from("spool"));
    }
    let spool = memory.join("wirepost-hostile");
    if spool.exists() {
        fs::remove_dir_all(&spool)?;
    }
    Ok(spool)
}

fn configuration(spool: &Path) -> String {
    let named = ["trap", "spin", "hog", "rogue"].map(|name| {
        let more = "on: [back, mail], grants: { fork: 32 }, limits: { memory: 32MiB }";
        format!("    - {{ name: {name}, module: {name}.wasm, {more} }}\n")
    });
    let connector = |name: &str| {
        format!(
            "  {name}: {{ smpp: {{ host: 127.0.0.1, port: {SINK}, system_id: wp, password: {{ file: secret }}, binds: 2, window: 100 }}, queue_max: 2000000 }}\n"
        )
    };
    format!(
        "log: {{ filter: error, format: json }}
spool: {{ path: {} }}
admin: {{ http: \"127.0.0.1:{HTTP}\", socket: wirepost.sock }}
listeners:
  front: {{ smpp: {{ bind: \"127.0.0.1:{CLEAN}\" }} }}
  back:  {{ smpp: {{ bind: \"127.0.0.1:{BAD}\" }} }}
  mail:  {{ smtp: {{ bind: \"127.0.0.1:{MAIL}\", hostname: gw.test, allow: [\"127.0.0.0/8\"] }} }}
accounts:
  clean: {{ smpp: {{ system_id: clean, password: {{ file: secret }} }} }}
  bad:   {{ smpp: {{ system_id: bad, password: {{ file: secret }} }} }}
bounces: {{ via: relay, from: postmaster@gw.test }}
connectors:
  relay: {{ smtp: {{ host: 127.0.0.1, port: {RELAY}, tls: none }} }}
{}{}routes:
  - {{ name: mail, when: {{ door: mail }}, to: relay }}
  - {{ name: bad, when: {{ to: {{ prefix: \"+337\" }} }}, to: aside }}
  - {{ name: clean, to: out }}
plugins:
  auto: true
  list:
{}",
        spool.display(),
        connector("out"),
        connector("aside"),
        named.concat()
    )
}
