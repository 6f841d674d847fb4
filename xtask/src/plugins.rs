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

fn find() -> Result<Compiler> {
    if installed()? {
        return Ok(Compiler::Installed);
    }
    if let Some(linker) = debian() {
        return Ok(Compiler::Debian { linker });
    }
    let log = root().join("target/wasm-toolchain.log");
    fs::create_dir_all(root().join("target"))?;
    if found("rustup") {
        println!("asking rustup for {TRIPLE}");
        let mut command = Command::new("rustup");
        command.args(["target", "add", TRIPLE]).current_dir(root());
        if try_run(&mut command, RUSTUP_WITHIN, &log)? && installed()? {
            return Ok(Compiler::Installed);
        }
    }
    if found("apt-get") {
        println!("asking apt for rustc-web, rust-web-src and lld-22");
        for step in [
            &["update"][..],
            &["install", "-y", "--no-install-recommends", "rustc-web", "rust-web-src", "lld-22"],
        ] {
            let mut command = Command::new("apt-get");
            command.args(step).env("DEBIAN_FRONTEND", "noninteractive");
            try_run(&mut command, APT_WITHIN, &log)?;
        }
        if let Some(linker) = debian() {
            return Ok(Compiler::Debian { linker });
        }
    }
    bail!("{HELP}\nwhat was tried is in {}", log.display())
}

/// Whether the compiler in use has the standard library.
fn installed() -> Result<bool> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let said = output(command.args(["--print", "sysroot"]).current_dir(root()))?;
    let sysroot = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    Ok(Path::new(&sysroot).join("lib/rustlib").join(TRIPLE).join("lib").is_dir())
}

/// The linker, if Debian's compiler and the sources of the library are there too.
fn debian() -> Option<&'static str> {
    let there = Path::new(DEBIAN_RUSTC).is_file() && Path::new(DEBIAN_SOURCE).is_dir();
    LINKERS.into_iter().find(|linker| there && Path::new(linker).is_file())
}
