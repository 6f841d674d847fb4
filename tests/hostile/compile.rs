//! What takes too long, or too much, to compile is refused by the name of the limit, and nothing else
//! waits for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use wirepost::cli::control::Place;
use wirepost_tests::crash::binary;
use wirepost_tests::hostile::{many_blocks, many_loops};
use wirepost_tests::plugins::{install, module};
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Relay, Smsc};

/// How long anything that is waited for may take; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end may take, `drain_timeout` included.
const END: Duration = Duration::from_secs(15);
/// What compiles for minutes.
const LOOPS: u32 = 700;

/// The router as a process of its own.
struct Router {
    folder: TempDir,
    process: Child,
}

impl Router {
    /// One with the plugin `stop_words` and these keys of `plugins`.
    async fn start(keys: &str) -> (Self, Relay, Smsc) {
        let (relay, smsc) = (Relay::start().await, Smsc::start().await);
        let folder = folder(&yaml(keys, &relay, &smsc));
        install(folder.path(), "stop_words.wasm", &module("stop_words.wasm"));
        (Self::start_in(folder).await, relay, smsc)
    }

    async fn start_in(folder: TempDir) -> Self {
        let mut command = Command::new(binary().unwrap());
        command.args(["run", "--config"]).arg(folder.path().join("wirepost.yaml"));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let router = Self { process: command.spawn().unwrap(), folder };
        router.until("the start", |_status| Some(())).await;
        router
    }

    async fn status(&self) -> Option<Value> {
        let config = self.folder.path().join("wirepost.yaml");
        Place { config, socket: None, json: true }.get("/status").await.ok()
    }

    /// Waits until the status shows something.
    async fn until<T>(&self, what: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = self.status().await.as_ref().and_then(&look) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let Ok(found) = waited.await else {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("waited in vain: {what}; the log says\n{log}")
        };
        found
    }

    async fn until_compiling(&self) {
        self.until("a compile", |status| {
            (status["plugin_compiling"]["plugin"] == "words").then_some(())
        })
        .await;
    }

    /// What `wirepost reload` says.
    fn reload(&self) -> (bool, String) {
        let mut command = Command::new(binary().unwrap());
        command.args(["reload", "--config"]).arg(self.folder.path().join("wirepost.yaml"));
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn install(&self, bytes: &[u8]) {
        install(self.folder.path(), "stop_words.wasm", bytes);
    }

    /// The compilers that it has started.
    fn compilers(&self) -> Vec<PathBuf> {
        let pid = self.process.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let of_ours = |path: &PathBuf| {
            let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
            parent == Some(&pid)
        };
        processes.map(|entry| entry.path()).filter(of_ours).collect()
    }

    /// SIGTERM; how it ended, if it did.
    async fn terminate(mut self) -> (TempDir, ExitStatus) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let waited = tokio::time::timeout(END, async {
            loop {
                if let Some(status) = self.process.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let status = waited.await.expect("it ends in time");
        (std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap()), status)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn yaml(keys: &str, relay: &Relay, smsc: &Smsc) -> String {
    let config = config(relay.address, smsc.address, ROUTES);
    format!(
        "plugins: {{ {keys}, list: [{{ name: words, module: stop_words.wasm, config: {{ words: [lottery] }} }}] }}\n{config}"
    )
}

/// Whether a process can open no file for writing, no socket and no other process.
fn is_confined(process: &Path) -> bool {
    let read = |name| fs::read_to_string(process.join(name)).unwrap_or_default();
    let (status, limits) = (read("status"), read("limits"));
    let is_zero = |name: &str| {
        let most =
            |line: &str| line.strip_prefix(name)?.split_whitespace().next().map(str::to_owned);
        limits.lines().find_map(most).as_deref() == Some("0")
    };
    let is_one = |name: &str, value: &str| status.contains(&format!("{name}:\t{value}"));
    is_zero("Max file size")
        && is_zero("Max core file size")
        && is_one("NoNewPrivs", "1")
        && is_one("Seccomp", "2")
}

fn is_refused(status: &Value) -> Option<String> {
    let report = &status["reload"];
    (report["ok"] == false).then(|| report["lines"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compiles_for_minutes_is_refused_and_reloads_go_on() {
    let (router, _relay, _smsc) = Router::start("compile: { cpu: 1s, time: 50s }").await;
    let good = module("stop_words.wasm");
    router.install(&many_loops(&good, LOOPS));
    router.until_compiling().await;
    let lines = router.until("the refusal", is_refused).await;
    for part in
        ["stop_words.wasm", "1s of processor time, the limit", "`cpu` of `plugins: compile`"]
    {
        assert!(lines.contains(part), "{part}: {lines}");
    }
    router.install(&good);
    let (ok, said) = router.reload();
    assert!(ok, "{said}");
    assert!(router.compilers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_gibibytes_to_compile_is_refused_by_the_limit_of_memory() {
    let keys = "compile: { cpu: 60s, time: 120s, memory: 256MiB }";
    let (router, _relay, _smsc) = Router::start(keys).await;
    router.install(&many_blocks(&module("stop_words.wasm"), 9_000, 40_000));
    let lines = router.until("the refusal", is_refused).await;
    assert!(lines.contains("256MiB of memory, the limit"), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_compile_keeps_neither_the_end_nor_the_next_start_waiting() {
    let (router, _relay, _smsc) = Router::start("compile: { cpu: 1h, time: 1h }").await;
    let good = module("stop_words.wasm");
    router.install(&many_loops(&good, LOOPS));
    router.until_compiling().await;
    let compilers = router.compilers();
    assert_eq!(compilers.len(), 1);
    wirepost_tests::wait::until("its limits", || is_confined(&compilers[0]).then_some(())).await;
    let (folder, status) = router.terminate().await;
    assert!(status.success(), "{status}");
    let is_gone = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    assert!(is_gone(&compilers[0]), "the compiler ends with it");
    // The same file is still there: the router begins with what ran last.
    let router = Router::start_in(folder).await;
    let why = router
        .until("the last good bytes", |status| {
            status["plugins_stale"]["words"].as_str().map(str::to_owned)
        })
        .await;
    assert!(why.contains("not compiled yet"), "{why}");
    router.until_compiling().await;
    let (_folder, status) = router.terminate().await;
    assert!(status.success(), "{status}");
}
