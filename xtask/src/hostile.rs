//! Plugins and files that mean harm, for long: mutants through the loader of one process, then beside
//! clean traffic every misdeed of the suite, bad files by the dozen, and a plugin swapped twice a second
//! under full load. Nothing may fail or be lost, and who is clean may not wait twice as long.

use std::fs;
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
/// Mutants of one module that are dropped as files.
const DROPS: usize = 50;

/// The plugins that are named, and what the text asks of each. All run at the door `back` only.
const MISDEEDS: [(&str, &str); 17] = [
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

/// Runs it and prints what was seen.
///
/// # Errors
/// If a mutant ends the process, something clean is refused, lost or waits twice as long, or the router
/// ends.
pub(crate) fn run(size: Size) -> Result<()> {
    let modules = plugins::build()?;
    mutants(&modules, size.mutants)?;
    let stand = Stand::start(&modules)?;
    let slow = stand.misdeeds(size)?;
    stand.drops(size)?;
    stand.swaps(size)?;
    stand.goes_on()?;
    ensure!(slow.is_empty(), "clean messages waited twice as long beside: {}", slow.join(", "));
    Ok(())
}

fn mutants(modules: &Path, count: u64) -> Result<()> {
    let test =
        "plugin::tests::mutants::every_mutant_is_refused_or_runs_and_the_good_one_still_does";
    let mut command = cargo(&["test", "--package", "wirepost", "--lib", "--", "--nocapture", test]);
    command
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
    _sink: Service,
    wirepost: PathBuf,
    work: PathBuf,
}

impl Stand {
    fn start(modules: &Path) -> Result<Self> {
        let wirepost = build_host(true)?;
        ports_are_free(&[CLEAN, BAD, SINK, HTTP])?;
        let work = prepare(modules)?;
        let ours = |words: &str| {
            let mut command = Command::new(&wirepost);
            command.args(words.split(' ')).current_dir(&work);
            command
        };
        let sink = ours(&format!("sim smsc --quiet --listen 127.0.0.1:{SINK}"));
        let mut sink = Service::start("sink", &sink, &work)?;
        sink.wait_port(SINK, UP_WITHIN)?;
        let mut router = Service::start("router", &ours("run --config wirepost.yaml"), &work)?;
        router.wait_ready(HTTP, UP_WITHIN)?;
        wait_until(UP_WITHIN, || (metric(UP) == Some(1)).then_some(()))
            .with_context(|| format!("the sink is not bound to:\n{}", router.said()))?;
        Ok(Self { router: router.into(), _sink: sink, wirepost, work })
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

    /// Each misdeed beside clean traffic; those beside which it was twice as slow.
    fn misdeeds(&self, size: Size) -> Result<Vec<&'static str>> {
        let shape = format!("--binds 2 --rate {CLEAN_RATE} --count {}", CLEAN_RATE * size.seconds);
        // The first messages of a process pay for what later ones find ready.
        self.clean(&shape)?;
        let mut alone = Vec::new();
        for _ in 0..3 {
            alone.push(self.clean(&shape)?);
        }
        alone.sort_by(|a, b| a.p99.total_cmp(&b.p99));
        let [_, alone, _] = alone.as_slice() else { bail!("three loads ran") };
        println!("{:<16} clean p50 {:.2} ms, p99 {:.2} ms", "alone", alone.p50, alone.p99);
        let mut slow = Vec::new();
        for (index, (_, words)) in MISDEEDS.iter().enumerate() {
            let mut beside = self.beside(size, words, index, &shape)?;
            if is_slow(beside, alone) {
                // Once more: something else may have run on this machine.
                beside = self.beside(size, words, index + MISDEEDS.len(), &shape)?;
            }
            let factor = beside.p99 / alone.p99.max(f64::MIN_POSITIVE);
            println!(
                "{words:<16} clean p50 {:.2} ms, p99 {:.2} ms, {factor:.1} x",
                beside.p50, beside.p99
            );
            slow.extend(is_slow(beside, alone).then_some(*words));
        }
        self.goes_on()?;
        Ok(slow)
    }

    /// A sender of its own for each, so that faults before do not spare it.
    fn beside(&self, size: Size, words: &str, sender: usize, shape: &str) -> Result<Load> {
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

fn is_slow(beside: Load, alone: &Load) -> bool {
    beside.p99 > NOISE_MS && beside.p99 > alone.p99 * 2.0
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
    for (name, text) in [("secret", "test".to_owned()), ("wirepost.yaml", configuration())] {
        let path = work.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(work)
}

fn configuration() -> String {
    let named = ["trap", "spin", "hog", "rogue"].map(|name| {
        let more = "on: back, grants: { fork: 32 }, limits: { memory: 32MiB }";
        format!("    - {{ name: {name}, module: {name}.wasm, {more} }}\n")
    });
    let connector = |name: &str| {
        format!(
            "  {name}: {{ smpp: {{ host: 127.0.0.1, port: {SINK}, system_id: wp, password: {{ file: secret }}, binds: 2, window: 100 }}, queue_max: 2000000 }}\n"
        )
    };
    format!(
        "log: {{ filter: error, format: json }}
admin: {{ http: \"127.0.0.1:{HTTP}\", socket: wirepost.sock }}
listeners:
  front: {{ smpp: {{ bind: \"127.0.0.1:{CLEAN}\" }} }}
  back:  {{ smpp: {{ bind: \"127.0.0.1:{BAD}\" }} }}
accounts:
  clean: {{ smpp: {{ system_id: clean, password: {{ file: secret }} }} }}
  bad:   {{ smpp: {{ system_id: bad, password: {{ file: secret }} }} }}
connectors:
{}{}routes:
  - {{ name: bad, when: {{ to: {{ prefix: \"+337\" }} }}, to: aside }}
  - {{ name: clean, to: out }}
plugins:
  auto: true
  list:
{}",
        connector("out"),
        connector("aside"),
        named.concat()
    )
}
