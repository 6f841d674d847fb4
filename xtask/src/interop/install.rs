//! Software of others, installed for us alone: everything is below `target/interop`, and nothing
//! that this machine runs or configures is touched.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{output, try_run};

const TRIES: u32 = 3;
const WITHIN: Duration = Duration::from_secs(180);

/// What is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peers {
    pub(super) swaks: bool,
    pub(super) postfix: bool,
    pub(super) kannel: bool,
    pub(super) smpplib: bool,
    pub(super) aiosmtpd: bool,
    pub(super) node: bool,
}

impl Peers {
    pub(super) fn count(self) -> usize {
        let all = [self.swaks, self.postfix, self.kannel, self.smpplib, self.aiosmtpd, self.node];
        all.into_iter().filter(|there| *there).count()
    }
}

/// Installs what is not there yet, at most three tries each.
pub(super) fn all(folder: &Path) -> Result<Peers> {
    let installer = Installer { folder, log: folder.join("install.log") };
    let python = folder.join("venv/bin/python");
    let has = |module: &str| {
        let mut command = Command::new(&python);
        output(command.args(["-c", &format!("import {module}")]))
            .is_ok_and(|out| out.status.success())
    };
    let pip = |name| ["venv/bin/python", "-m", "pip", "install", "--quiet", name];
    let debian = [("swaks", "usr/bin/swaks"), ("postfix", POSTFIX), ("kannel", BEARERBOX)];
    if debian.iter().any(|(_, program)| !unpacked(folder).join(program).is_file()) {
        // A stale list of packages may do; if not, downloading says so.
        installer.run(&["apt-get", "update"])?;
    }
    let [swaks, postfix, kannel] = debian.map(|(name, program)| installer.unpack(name, program));
    installer.tries(&|| python.is_file(), &["python3", "-m", "venv", "venv"])?;
    Ok(Peers {
        swaks: swaks?,
        postfix: postfix?,
        kannel: kannel?,
        smpplib: installer.tries(&|| has("smpplib.client"), &pip("smpplib==2.2.4"))?,
        aiosmtpd: installer.tries(&|| has("aiosmtpd.controller"), &pip("aiosmtpd==1.4.6"))?,
        node: installer.tries(
            &|| folder.join("node_modules/smpp").is_dir(),
            &["npm", "install", "--no-fund", "smpp@0.5.1"],
        )?,
    })
}

/// The last of what `postfix` unpacks that is run.
const POSTFIX: &str = "usr/lib/postfix/sbin/master";
const BEARERBOX: &str = "usr/sbin/bearerbox";

/// Where the files of Debian's packages are.
pub(super) fn unpacked(folder: &Path) -> PathBuf {
    folder.join("debian")
}

/// A program of a package, with the libraries that were unpacked beside it.
pub(super) fn program(folder: &Path, path: &str) -> Command {
    let mut command = Command::new(unpacked(folder).join(path));
    command.env("LD_LIBRARY_PATH", libraries(folder));
    command
}

/// The folders of libraries, in the form of `LD_LIBRARY_PATH`.
pub(super) fn libraries(folder: &Path) -> String {
    let debian = unpacked(folder);
    let mut folders = vec![debian.join("usr/lib/postfix")];
    for above in ["usr/lib", "lib"] {
        let inside = std::fs::read_dir(debian.join(above)).into_iter().flatten().flatten();
        let of_machine = inside.map(|entry| entry.path());
        folders.extend(of_machine.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")));
    }
    let folders: Vec<_> = folders.iter().map(|path| path.to_string_lossy()).collect();
    folders.join(":")
}

struct Installer<'a> {
    folder: &'a Path,
    log: PathBuf,
}

impl Installer<'_> {
    /// Whether a command runs well.
    fn run(&self, words: &[&str]) -> Result<bool> {
        println!("installing: {}", words.join(" "));
        self.quietly(words)
    }

    fn quietly(&self, words: &[&str]) -> Result<bool> {
        let Some((program, arguments)) = words.split_first() else { return Ok(false) };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder).env("DEBIAN_FRONTEND", "noninteractive");
        try_run(&mut command, WITHIN, &self.log)
    }

    fn tries(&self, present: &dyn Fn() -> bool, words: &[&str]) -> Result<bool> {
        for _ in 0..TRIES {
            if present() || self.run(words)? && present() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Unpacks a package, and what it needs and this machine does not have, without installing.
    fn unpack(&self, name: &str, program: &str) -> Result<bool> {
        let there = unpacked(self.folder).join(program);
        for _ in 0..TRIES {
            if there.is_file() {
                return Ok(true);
            }
            let packages = needed(name);
            let mut words = vec!["apt-get", "download"];
            words.extend(packages.iter().map(String::as_str));
            if !self.run(&words)? {
                continue;
            }
            for archive in self.archives() {
                self.quietly(&["dpkg", "-x", &archive.to_string_lossy(), "debian"])?;
                std::fs::remove_file(&archive)?;
            }
        }
        Ok(there.is_file())
    }

    fn archives(&self) -> Vec<PathBuf> {
        let inside = std::fs::read_dir(self.folder).into_iter().flatten().flatten();
        let paths = inside.map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).collect()
    }
}

/// The package, and all that installing it would bring.
fn needed(name: &str) -> Vec<String> {
    let mut packages = vec![name.to_owned()];
    let mut command = Command::new("apt-get");
    command.args(["install", "--simulate", "--no-install-recommends", name]);
    let said = output(&mut command).map(|out| out.stdout).unwrap_or_default();
    for line in String::from_utf8_lossy(&said).lines() {
        let mut words = line.split(' ');
        if words.next() == Some("Inst") {
            packages.extend(words.next().filter(|package| *package != name).map(str::to_owned));
        }
    }
    packages
}
