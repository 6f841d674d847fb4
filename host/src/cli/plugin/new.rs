//! `wirepost plugin new`: a folder that builds and passes its tests.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::kit;

/// What to make.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The plugin's name: lower-case letters, digits and hyphens. A folder of that name is made.
    name: String,
    /// Where the SDK's sources are; without it the plugin gets those of this program's version, below
    /// `vendor`.
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

const MANIFEST: &str = r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
publish = false

[lib]
crate-type = ["cdylib", "lib"]

[dependencies]
wirepost-sdk = {sdk}
serde = { version = "1", features = ["derive"] }

[dev-dependencies]
serde_json = "1"

[profile.release]
opt-level = 3
lto = true
codegen-units = 1
panic = "abort"
strip = "debuginfo"     # the names stay: they make a trap's backtrace readable

# The plugin is a workspace of its own, wherever its folder is.
[workspace]
exclude = ["vendor"]
"#;

const SOURCE: &str = r#"//! Rejects messages that contain a word.

use serde::Deserialize;
use wirepost_sdk::prelude::*;

plugin!({type});

/// The plugin's block `config:` in the YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    word: String,
}

/// One instance; the host keeps several.
#[derive(Debug)]
pub struct {type} {
    word: String,
}

impl Plugin for {type} {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { word: config.word.to_lowercase() })
    }

    fn process(&mut self, m: &mut Message) -> Result<Verdict> {
        if m.text().to_lowercase().contains(&self.word) {
            return Ok(reject("not here").smtp(550, "5.7.1"));
        }
        Ok(next())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wirepost_sdk::prelude::*;
    use wirepost_sdk::testing::{Harness, sms};

    use super::{type};

    #[test]
    fn the_word_is_rejected() {
        let mut harness = Harness::<{type}>::new(json!({"word": "lottery"})).unwrap();
        let outcome = harness.process(&sms("SHOP", "+33612345678", "win the LOTTERY")).unwrap();
        assert_eq!(outcome.verdict, reject("not here").smtp(550, "5.7.1"));
        let outcome = harness.process(&sms("SHOP", "+33612345678", "see you at eight")).unwrap();
        assert_eq!(outcome.verdict, next());
    }
}
"#;

pub(super) fn run(args: &NewArgs) -> Result<()> {
    make(args, Path::new(""))?;
    let name = &args.name;
    let module = name.replace('-', "_");
    println!("{name} is there. Next:");
    println!("  cd {name} && cargo test");
    println!("  cargo build --release --target wasm32-unknown-unknown");
    println!(
        "  wirepost plugin run target/wasm32-unknown-unknown/release/{module}.wasm \
         --config '{{\"word\":\"lottery\"}}' --from SHOP --to +33612345678 --text 'win the lottery'"
    );
    Ok(())
}

/// Makes the plugin's folder in this one.
fn make(args: &NewArgs, within: &Path) -> Result<()> {
    let name = &args.name;
    let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(usable) {
        bail!("`{name}` is no name for a plugin: use lower-case letters, digits and hyphens");
    }
    let sdk = match &args.sdk {
        Some(folder) => {
            let folder = folder
                .canonicalize()
                .with_context(|| format!("{} is not there", folder.display()))?;
            format!("{{ path = {:?} }}", folder.display().to_string())
        }
        None => format!("{{ path = {:?} }}", kit::SDK),
    };
    let folder = within.join(name);
    std::fs::create_dir(&folder).with_context(|| format!("cannot make the folder {name}"))?;
    std::fs::create_dir(folder.join("src"))?;
    let fill = |template: &str| {
        template.replace("{name}", name).replace("{sdk}", &sdk).replace("{type}", &type_name(name))
    };
    std::fs::write(folder.join("Cargo.toml"), fill(MANIFEST))?;
    std::fs::write(folder.join("src/lib.rs"), fill(SOURCE))?;
    std::fs::write(folder.join(".gitignore"), "/target\n")?;
    if args.sdk.is_none() {
        kit::write(&folder)?;
    }
    Ok(())
}

/// `stop-words` is `StopWords`.
fn type_name(name: &str) -> String {
    let words = name.split('-').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                format!("{}{}", first.to_ascii_uppercase(), letters.as_str())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_new_plugin_brings_packages_that_cargo_reads() {
        let folder = tempfile::tempdir().unwrap();
        make(&NewArgs { name: "no-lottery".to_owned(), sdk: None }, folder.path()).unwrap();
        let plugin = folder.path().join("no-lottery");
        for package in ["", kit::SDK, "vendor/wirepost-message"] {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
            cargo.arg("--manifest-path").arg(plugin.join(package).join("Cargo.toml"));
            let said = cargo.output().unwrap();
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        }
    }

    #[test]
    fn a_name_becomes_a_type() {
        assert_eq!(type_name("stop-words"), "StopWords");
        assert_eq!(type_name("a1--b"), "A1B");
    }
}
