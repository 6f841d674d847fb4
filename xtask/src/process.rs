//! Commands that run to their end, and services that are ended when nobody holds them any more.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How often something that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time for a service to end after SIGTERM; then it is killed.
const END_WITHIN: Duration = Duration::from_secs(15);

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us, in the folder of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Builds the router and gives its path; `WIREPOST_BIN` names one that is there already.
pub(crate) fn build_host(release: bool) -> Result<PathBuf> {
    if let Some(built) = std::env::var_os("WIREPOST_BIN") {
        return std::path::absolute(&built).with_context(|| format!("find {}", built.display()));
    }
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    let mut command = cargo(&["build", "--workspace", "--bin", "wirepost"]);
    run(command.args(profile))?;
    Ok(target().join(if release { "release" } else { "debug" }).join("wirepost"))
}

/// Runs a command to its end, its output being ours.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command to its end, and keeps what it says.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("start {}", shown(command)))
}

/// Whether a command runs well within a time; its output goes to a log.
pub(crate) fn try_run(command: &mut Command, within: Duration, log: &Path) -> Result<bool> {
    let file = File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let Ok(mut child) = command.spawn() else { return Ok(false) };
    let ended = wait_until(within, || child.try_wait().ok().flatten());
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(ended.is_some_and(|status| status.success()))
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Whether a program is on the path.
pub(crate) fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The time, for what people are told.
pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "there is no virtual time out here")]
    Instant::now()
}

/// A short sleep.
pub(crate) fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "nothing else runs in this process")]
    std::thread::sleep(duration);
}

/// Looks again and again until there is something, or the time is over.
pub(crate) fn wait_until<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let until = now() + within;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if now() >= until {
            return None;
        }
        pause(LOOK_EVERY);
    }
}

/// Refuses to go on while somebody listens on one of these ports of the loopback address.
pub(crate) fn ports_are_free(ports: &[u16]) -> Result<()> {
    for port in ports {
        TcpListener::bind(("127.0.0.1", *port)).with_context(|| {
            format!("port {port} of 127.0.0.1 is in use: `ss -ltnp 'sport = :{port}'` says by whom")
        })?;
    }
    Ok(())
}

/// Asks an HTTP server on the loopback address for a path; the body if it answered 2xx.
pub(crate) fn http(port: u16, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 2").then(|| body.to_owned())
}

/// A process that is ended with this value.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts a command; what it says goes to `NAME.log` in a folder.
    pub(crate) fn start(name: &str, command: &Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut bound = bound_to_us(command);
        bound.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = bound.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it SIGINT and waits for its end; whether it came.
    pub(crate) fn interrupt(&mut self, within: Duration) -> bool {
        self.end("-INT", within)
    }

    /// Sends it SIGTERM and waits for its end; whether it came.
    pub(crate) fn terminate(&mut self, within: Duration) -> bool {
        self.end("-TERM", within)
    }

    fn end(&mut self, signal: &str, within: Duration) -> bool {
        let asked = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        asked.is_ok() && wait_until(within, || self.ended().then_some(())).is_some()
    }

    /// All that it said.
    pub(crate) fn said(&self) -> String {
        std::fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// The lines of JSON that it wrote.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.said().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line of JSON.
    pub(crate) fn wait_record(
        &self,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        wait_until(within, || self.records().into_iter().find(|record| wanted(record)))
    }

    /// Waits until it takes connections.
    pub(crate) fn wait_port(&mut self, port: u16, within: Duration) -> Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        self.wait(within, &format!("port {port}"), || TcpStream::connect(address).is_ok())
    }

    /// Waits until it is ready by its own word, `/readyz` of an HTTP port.
    pub(crate) fn wait_ready(&mut self, port: u16, within: Duration) -> Result<()> {
        self.wait(within, "/readyz", || http(port, "/readyz").is_some())
    }

    fn wait(&mut self, within: Duration, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let up = wait_until(within, || (self.ended() || ready()).then_some(()));
        if up.is_none() || self.ended() {
            bail!("{} did not come up ({what}); it said:\n{}", self.name, self.said());
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.ended() {
            return;
        }
        // Nothing is left to do for whoever drops this, if even that fails.
        if !self.terminate(END_WITHIN) && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The command, told by the kernel to end when we do, however we do.
fn bound_to_us(command: &Command) -> Command {
    let mut bound = if found("setpriv") {
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
        bound
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            bound.env(key, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}
