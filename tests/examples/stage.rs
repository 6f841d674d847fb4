//! An example in a folder of its own, with the program, the plugins, ports and terminals.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use regex::{Captures, Regex};
use tempfile::TempDir;
use wirepost_tests::{crash, plugins};

use crate::readme::compare;

/// How long anything may take that is waited for; generous, because machines are busy.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An example, being run.
pub(crate) struct Stage {
    place: TempDir,
    name: String,
    ports: BTreeMap<String, u16>,
    terminals: BTreeMap<String, Terminal>,
    /// What `ID` means in commands.
    id: String,
}

/// A command that goes on.
struct Terminal {
    child: Child,
    log: PathBuf,
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

impl Stage {
    /// Copies an example beside the program and the plugins, as they lie in the workspace.
    pub(crate) fn set(name: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("examples").join(name);
        copy(&root().join("examples").join(name), &folder);
        fs::create_dir_all(place.path().join("target/debug")).unwrap();
        symlink(
            std::path::absolute(crash::binary().unwrap()).unwrap(),
            place.path().join("target/debug/wirepost"),
        )
        .unwrap();
        symlink(fs::canonicalize(plugins::built()).unwrap(), place.path().join("target/plugins"))
            .unwrap();
        let mut stage = Self {
            place,
            name: name.to_owned(),
            ports: BTreeMap::new(),
            terminals: BTreeMap::new(),
            id: String::new(),
        };
        stage.choose_ports();
        stage
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("examples").join(&self.name)
    }

    /// The README, with our ports.
    pub(crate) fn readme(&self) -> String {
        fs::read_to_string(self.folder().join("README.md")).unwrap()
    }

    /// Puts a free port in the place of each that a file names.
    fn choose_ports(&mut self) {
        let named = Regex::new(r"\b(127\.0\.0\.1:|localhost:|port: )(\d{4,5})\b").unwrap();
        let mut held = Vec::new();
        for entry in fs::read_dir(self.folder()).unwrap() {
            let file = entry.unwrap().path();
            if !file.is_file() {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let ours = named.replace_all(&text, |found: &Captures<'_>| {
                let port = self.ports.entry(found[2].to_owned()).or_insert_with(|| {
                    let free = TcpListener::bind("127.0.0.1:0").unwrap();
                    let port = free.local_addr().unwrap().port();
                    held.push(free);
                    port
                });
                format!("{}{port}", &found[1])
            });
            let mode = fs::metadata(&file).unwrap().permissions();
            fs::write(&file, &*ours).unwrap();
            fs::set_permissions(&file, mode).unwrap();
        }
    }

    fn shell(&self, commands: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let programs = self.place.path().join("target/debug");
        let commands = Regex::new(r"\bID\b").unwrap().replace_all(commands, &*self.id).into_owned();
        let mut command = Command::new("bash");
        command
            .args(["-e", "-u", "-c", &commands])
            .current_dir(self.folder())
            .env("PATH", format!("{}:{path}", programs.display()))
            .stdin(Stdio::null());
        command
    }

    /// Gives commands, and compares what they print with what is promised.
    pub(crate) fn run(&mut self, commands: &str, fails: bool, again: bool, promised: &[String]) {
        let until = now() + DEADLINE;
        loop {
            let (status, said) = self.finish(commands, until);
            let compared = compare(promised, &said);
            if again && (!status.success() || compared.is_err()) && now() < until {
                pause();
                continue;
            }
            assert_eq!(status.success(), !fails, "{}: {commands}\n{said}{self}", self.name);
            match compared {
                Ok(ids) => self.remember(ids),
                Err(line) => {
                    panic!("{}: {commands}\ndoes not print\n{line}\nbut\n{said}{self}", self.name)
                }
            }
            return;
        }
    }

    fn remember(&mut self, mut ids: Vec<String>) {
        if let Some(id) = ids.pop() {
            self.id = id;
        }
    }

    fn finish(&self, commands: &str, until: Instant) -> (ExitStatus, String) {
        let log = self.place.path().join("command.log");
        let file = File::create(&log).unwrap();
        let mut command = self.shell(commands);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = command.spawn().unwrap();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return (status, read(&log));
            }
            if now() > until {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{}: {commands}\ndoes not end:\n{}{self}", self.name, read(&log));
            }
            pause();
        }
    }

    /// Starts a command in a terminal of its own.
    pub(crate) fn start(&mut self, name: &str, command: &str) {
        let log = self.place.path().join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let mut shell = self.shell(&format!("exec {command}"));
        shell.stdout(file.try_clone().unwrap()).stderr(file);
        let child = shell.spawn().unwrap();
        self.terminals.insert(name.to_owned(), Terminal { child, log });
    }

    /// Waits until a terminal has printed what is promised.
    pub(crate) fn wait(&mut self, name: &str, promised: &[String]) {
        let until = now() + DEADLINE;
        loop {
            let terminal = self.terminals.get_mut(name).unwrap();
            let said = read(&terminal.log);
            let ended = terminal.child.try_wait().unwrap().is_some();
            match compare(promised, &said) {
                Ok(ids) => return self.remember(ids),
                Err(line) => assert!(
                    !ended && now() < until,
                    "{}: {name} does not print\n{line}\nbut\n{said}{self}",
                    self.name
                ),
            }
            pause();
        }
    }

    /// Ends what runs in a terminal, as Ctrl-C does.
    pub(crate) fn interrupt(&mut self, name: &str) {
        let mut terminal = self.terminals.remove(name).unwrap();
        terminal.signal("INT");
        let until = now() + DEADLINE;
        while terminal.child.try_wait().unwrap().is_none() {
            assert!(now() < until, "{}: {name} does not end\n{self}", self.name);
            pause();
        }
    }
}

/// What all terminals show.
impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, terminal) in &self.terminals {
            write!(f, "\n--- {name}\n{}", read(&terminal.log))?;
        }
        Ok(())
    }
}

impl Terminal {
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let is_left_over = ["data", "plugins", "target"].iter().any(|made| name == *made);
        if path.is_dir() && !is_left_over {
            copy(&path, &to.join(name));
        } else if path.is_file() {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
}

fn read(log: &Path) -> String {
    let mut octets = Vec::new();
    File::open(log).unwrap().read_to_end(&mut octets).unwrap();
    String::from_utf8_lossy(&octets).into_owned()
}

#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "nothing else runs in this thread")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}
