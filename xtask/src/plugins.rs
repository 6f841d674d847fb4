//! Builds the plugins for wasm32, with whatever compiler for it there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, found, now, output, root, run, target, try_run};

const TRIPLE: &str = "wasm32-unknown-unknown";
/// Workspaces of plugins: those that come with Wirepost, those that tests torture it with, and one
/// that shows how to write them.
const WORKSPACES: [&str; 3] = ["plugins", "tests/plugins", "examples/plugin-authoring/opt-out"];
/// Where Debian's `lld-*` packages put the linker.
const LINKERS: [&str; 3] =
    ["/usr/lib/llvm-22/bin/wasm-ld", "/usr/lib/llvm-21/bin/wasm-ld", "/usr/bin/wasm-ld-22"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";
const RUSTUP_WITHIN: Duration = Duration::from_secs(60);
const APT_WITHIN: Duration = Duration::from_secs(240);

const APT_INSTALL: [&str; 6] =
    ["install", "-y", "--no-install-recommends", "rustc-web", "rust-web-src", "lld-22"];

const HELP: &str = "no compiler for wasm32-unknown-unknown. Either of these brings one:
  rustup target add wasm32-unknown-unknown
  apt-get install rustc-web rust-web-src lld-22      (Debian)";

/// What compiles for wasm32.
enum Compiler {
    /// The standard library is there for the compiler in use.
    Installed,
    /// Debian's compiler for the web, which builds the standard library too.
    Debian { linker: &'static str },
}

/// Builds all plugins and puts them into `target/plugins`; gives that folder, or the one that
/// `WIREPOST_PLUGINS` names, where they are built already.
///
/// # Errors
/// If there is no compiler for wasm32, or something does not compile.
pub(crate) fn build() -> Result<PathBuf> {
    if let Some(built) = std::env::var_os("WIREPOST_PLUGINS") {
        return std::path::absolute(&built).with_context(|| format!("find {}", built.display()));
    }
    let started = now();
    let compiler = find()?;
    let folder = root().join("target/plugins");
    fs::create_dir_all(&folder)?;
    let mut built = 0;
    for workspace in WORKSPACES {
        let place = root().join(workspace);
        if place.join("Cargo.toml").is_file() {
            built += build_workspace(&compiler, &place, &folder)?;
        }
    }
    let way = match compiler {
        Compiler::Installed => "the installed standard library",
        Compiler::Debian { .. } => "Debian's rustc-web",
    };
    println!("{built} plugins built by {way} in {} s", (now() - started).as_secs());
    Ok(folder)
}

fn build_workspace(compiler: &Compiler, place: &Path, folder: &Path) -> Result<usize> {
    let out = target().join("wasm");
    let mut command = cargo(&["build", "--release", "--target", TRIPLE]);
    command.current_dir(place).env("CARGO_TARGET_DIR", &out);
    if let Compiler::Debian { linker } = compiler {
        command
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", DEBIAN_RUSTC)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    run(&mut command)?;
    copy(&out.join(TRIPLE).join("release"), folder, &members(place)?)
}

/// The file names of the modules of a workspace: a folder that is gone leaves its module behind.
fn members(place: &Path) -> Result<Vec<String>> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let said = output(command.current_dir(place))?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&said.stdout).context("read `cargo metadata`")?;
    let packages = metadata.get("packages").and_then(|list| list.as_array());
    let targets = packages.into_iter().flatten().filter_map(|package| package.get("targets"));
    let names = targets.filter_map(|targets| targets.as_array()).flatten().filter(|target| {
        let kinds = target.get("kind").and_then(|kinds| kinds.as_array());
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
    });
    let names = names.filter_map(|target| target.get("name")?.as_str());
    Ok(names.map(|name| format!("{}.wasm", name.replace('-', "_"))).collect())
}

/// Copies what changed; a router that watches the folder sees whole files only.
fn copy(from: &Path, folder: &Path, names: &[String]) -> Result<usize> {
    for name in names {
        let module = from.join(name);
        let bytes = fs::read(&module).with_context(|| format!("read {}", module.display()))?;
        let to = folder.join(name);
        if fs::read(&to).ok().as_ref() != Some(&bytes) {
            let half = folder.join(format!(".{name}.new"));
            fs::write(&half, bytes)?;
            fs::rename(half, to)?;
        }
    }
    Ok(names.len())
}

/// What there is, or can be had, to compile for wasm32.
trait Machine {
    /// Whether the compiler in use has the standard library.
    fn installed(&self) -> Result<bool>;
    /// The linker, if Debian's compiler and the sources of the library are there too.
    fn debian(&self) -> Option<&'static str>;
    /// Whether there is such a program.
    fn has(&self, program: &str) -> bool;
    /// Lets a program try to bring it; whether it says that it did.
    fn ask(&self, program: &str, args: &[&str]) -> Result<bool>;
}

/// Finds a compiler, or asks for one: what is installed first, then rustup, then Debian.
fn choose(machine: &impl Machine) -> Result<Option<Compiler>> {
    if machine.installed()? {
        return Ok(Some(Compiler::Installed));
    }
    if let Some(linker) = machine.debian() {
        return Ok(Some(Compiler::Debian { linker }));
    }
    if machine.has("rustup")
        && machine.ask("rustup", &["target", "add", TRIPLE])?
        && machine.installed()?
    {
        return Ok(Some(Compiler::Installed));
    }
    if machine.has("apt-get") {
        machine.ask("apt-get", &["update"])?;
        machine.ask("apt-get", &APT_INSTALL)?;
        if let Some(linker) = machine.debian() {
            return Ok(Some(Compiler::Debian { linker }));
        }
    }
    Ok(None)
}

fn find() -> Result<Compiler> {
    let log = root().join("target/wasm-toolchain.log");
    fs::create_dir_all(root().join("target"))?;
    match choose(&ThisMachine { log: log.clone() })? {
        Some(compiler) => Ok(compiler),
        None => bail!("{HELP}\nwhat was tried is in {}", log.display()),
    }
}

struct ThisMachine {
    /// What the programs said.
    log: PathBuf,
}

impl Machine for ThisMachine {
    fn installed(&self) -> Result<bool> {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let said = output(command.args(["--print", "sysroot"]).current_dir(root()))?;
        let sysroot = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        Ok(Path::new(&sysroot).join("lib/rustlib").join(TRIPLE).join("lib").is_dir())
    }

    fn debian(&self) -> Option<&'static str> {
        let there = Path::new(DEBIAN_RUSTC).is_file() && Path::new(DEBIAN_SOURCE).is_dir();
        LINKERS.into_iter().find(|linker| there && Path::new(linker).is_file())
    }

    fn has(&self, program: &str) -> bool {
        found(program)
    }

    fn ask(&self, program: &str, args: &[&str]) -> Result<bool> {
        println!("asking: {program} {}", args.join(" "));
        let within = if program == "rustup" { RUSTUP_WITHIN } else { APT_WITHIN };
        let mut command = Command::new(program);
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive").current_dir(root());
        try_run(&mut command, within, &self.log)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A machine on which these programs are there and do what they are asked, or do not.
    #[derive(Default)]
    struct Imagined {
        installed: Cell<bool>,
        debian: Cell<bool>,
        rustup: Option<bool>,
        apt: Option<bool>,
        asked: RefCell<Vec<String>>,
    }

    impl Machine for Imagined {
        fn installed(&self) -> Result<bool> {
            Ok(self.installed.get())
        }

        fn debian(&self) -> Option<&'static str> {
            self.debian.get().then_some(LINKERS[0])
        }

        fn has(&self, program: &str) -> bool {
            match program {
                "rustup" => self.rustup.is_some(),
                "apt-get" => self.apt.is_some(),
                _ => false,
            }
        }

        fn ask(&self, program: &str, args: &[&str]) -> Result<bool> {
            self.asked.borrow_mut().push(format!("{program} {}", args[0]));
            let works = if program == "rustup" { self.rustup } else { self.apt };
            let works = works == Some(true);
            match (program, args[0]) {
                ("rustup", _) => self.installed.set(works),
                (_, "install") => self.debian.set(works),
                _ => {}
            }
            Ok(works)
        }
    }

    #[track_caller]
    fn check(machine: &Imagined, expect: Option<&str>, asked: &[&str]) {
        let chosen = choose(machine).unwrap().map(|compiler| match compiler {
            Compiler::Installed => "installed",
            Compiler::Debian { .. } => "debian",
        });
        assert_eq!((chosen, &**machine.asked.borrow()), (expect, &*own(asked)));
    }

    fn own(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn what_is_there_is_used_and_nobody_is_asked() {
        let both = || Imagined { rustup: Some(true), apt: Some(true), ..Imagined::default() };
        let machine = Imagined { installed: Cell::new(true), debian: Cell::new(true), ..both() };
        check(&machine, Some("installed"), &[]);
        check(&Imagined { debian: Cell::new(true), ..both() }, Some("debian"), &[]);
    }

    #[test]
    fn rustup_is_asked_first_then_debian_then_it_is_explained() {
        let machine = Imagined { rustup: Some(true), apt: Some(true), ..Imagined::default() };
        check(&machine, Some("installed"), &["rustup target"]);
        let all = ["rustup target", "apt-get update", "apt-get install"];
        let machine = Imagined { rustup: Some(false), apt: Some(true), ..Imagined::default() };
        check(&machine, Some("debian"), &all);
        let machine = Imagined { rustup: Some(false), apt: Some(false), ..Imagined::default() };
        check(&machine, None, &all);
        let machine = Imagined { apt: Some(true), ..Imagined::default() };
        check(&machine, Some("debian"), &["apt-get update", "apt-get install"]);
        check(&Imagined::default(), None, &[]);
    }

    #[test]
    fn the_explanation_names_each_way() {
        assert!(HELP.contains("rustup target add") && HELP.contains("apt-get install rustc-web"));
        for package in &APT_INSTALL[3..] {
            assert!(HELP.contains(package), "{package}");
        }
    }
}
