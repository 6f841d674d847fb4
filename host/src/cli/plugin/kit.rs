//! The SDK's sources, which this program carries, so that a new plugin builds beside it.
//!
//! The SDK and the message model that its native tests run on become packages of their own under
//! `vendor`: what their manifests take from our workspace is written out.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// The folder of the copies, below the plugin's.
pub(super) const FOLDER: &str = "vendor";
/// Where the SDK is below the plugin's folder.
pub(super) const SDK: &str = "vendor/wirepost-sdk";

/// What a folder with sources was written by.
const NOTE: &str = "These are the sources of wirepost-sdk, as `wirepost plugin new` of version {version} carries them.
They are not meant to be edited. A later version is had by `wirepost plugin new` of that version.
";

const ROOT: &str = include_str!("../../../../Cargo.toml");

/// One package that is carried.
struct Package {
    name: &'static str,
    manifest: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// Files with their paths in the folder of their package.
macro_rules! files {
    ($root:literal; $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!($root, $path)))),*]
    };
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "wirepost-sdk",
        manifest: include_str!("../../../../sdk/Cargo.toml"),
        files: SDK_FILES,
    },
    Package {
        name: "wirepost-message",
        manifest: include_str!("../../../crates/message/Cargo.toml"),
        files: MESSAGE_FILES,
    },
];

const SDK_FILES: &[(&str, &str)] = files!("../../../../sdk/";
    "src/address.rs",
    "src/bindings.rs",
    "src/clock.rs",
    "src/envelope.rs",
    "src/guest.rs",
    "src/kv.rs",
    "src/lib.rs",
    "src/log.rs",
    "src/lookup.rs",
    "src/manifest.rs",
    "src/message.rs",
    "src/metrics.rs",
    "src/native/convert.rs",
    "src/native/mod.rs",
    "src/native/world.rs",
    "src/plugin.rs",
    "src/random.rs",
    "src/receipt.rs",
    "src/tables.rs",
    "src/targets.rs",
    "src/testing/mod.rs",
    "src/testing/sample.rs",
    "src/value.rs",
    "src/verdict.rs",
    "wit/wirepost.wit",
);

const MESSAGE_FILES: &[(&str, &str)] = files!("../../../crates/message/";
    "src/address.rs",
    "src/content.rs",
    "src/edit/field.rs",
    "src/edit/mod.rs",
    "src/id.rs",
    "src/lib.rs",
    "src/mail/bounce.rs",
    "src/mail/compose.rs",
    "src/mail/edit.rs",
    "src/mail/header.rs",
    "src/mail/html.rs",
    "src/mail/mod.rs",
    "src/mail/strip.rs",
    "src/mail/structure.rs",
    "src/mail/template.rs",
    "src/mail/transfer.rs",
    "src/mail/view.rs",
    "src/mailbox.rs",
    "src/message.rs",
    "src/phone/mod.rs",
    "src/phone/plan.rs",
    "src/record.rs",
    "src/text/alphabet.rs",
    "src/text/coding.rs",
    "src/text/gsm.rs",
    "src/text/mod.rs",
    "src/text/national.rs",
    "src/text/packed.rs",
    "src/text/segment.rs",
    "src/text/transliterate.rs",
    "src/text/udh.rs",
    "src/time.rs",
);

/// Writes the sources below the folder of a plugin.
pub(super) fn write(plugin: &Path) -> Result<()> {
    let folder = plugin.join(FOLDER);
    for Package { name, manifest, files } in &PACKAGES {
        let package = folder.join(name);
        put(&package.join("Cargo.toml"), &free(manifest)?)?;
        for (path, text) in *files {
            put(&package.join(path), &without_tests(text))?;
        }
    }
    put(&folder.join("README"), &NOTE.replace("{version}", env!("CARGO_PKG_VERSION")))
}

fn put(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// A file without the declaration of tests in files of their own, which are not carried.
fn without_tests(text: &str) -> String {
    text.replace("#[cfg(test)]\nmod tests;\n", "")
}

/// A manifest that stands alone: what it takes from the workspace is written out, what only our own
/// checks and tests need is left out.
fn free(manifest: &str) -> Result<String> {
    let mut out = String::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if matches!(section, "[lints]" | "[dev-dependencies]") {
            continue;
        }
        let freed = match line.split_once(" = ") {
            Some((key, "true")) if key.ends_with(".workspace") => {
                let key = key.trim_end_matches(".workspace");
                format!("{key} = {}", of_workspace("[workspace.package]", key)?)
            }
            Some((key, value)) if value.contains("workspace = true") => {
                format!("{key} = {}", dependency(key, value)?)
            }
            _ => line.to_owned(),
        };
        out.push_str(&freed);
        out.push('\n');
    }
    Ok(out)
}

/// A dependency of the workspace with what the package adds to it.
fn dependency(name: &str, own: &str) -> Result<String> {
    let shared = of_workspace("[workspace.dependencies]", name)?;
    if shared.contains("path = ") {
        // One of ours lies beside it.
        return Ok("{ package = \"wirepost-message\", path = \"../wirepost-message\" }".to_owned());
    }
    let more = own.trim_start_matches("{ workspace = true").trim_end_matches('}').trim();
    if more.is_empty() {
        return Ok(shared.to_owned());
    }
    Ok(match shared.strip_suffix('}') {
        Some(table) => format!("{}{more} }}", table.trim_end()),
        None => format!("{{ version = {shared}{more} }}"),
    })
}

/// The value of a key in a section of the manifest of the workspace.
fn of_workspace(section: &str, key: &str) -> Result<&'static str> {
    let lines = ROOT.lines().skip_while(|line| *line != section).skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    match value {
        Some(value) => Ok(value),
        None => bail!("the workspace says nothing of {key}: this is our mistake"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// The files below a folder that belong to a package and are no tests, but for its manifest.
    fn listed(folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![folder.join("src"), folder.join("wit")];
        while let Some(inner) = folders.pop() {
            for entry in fs::read_dir(&inner).into_iter().flatten() {
                let path = entry.unwrap().path();
                let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
                if path.is_dir() && !is_tests {
                    folders.push(path);
                } else if path.is_file() && !is_tests {
                    found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found
    }

    #[test]
    fn every_source_of_the_sdk_is_carried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = [root.join("../sdk"), root.join("crates/message")];
        for (package, folder) in PACKAGES.iter().zip(folders) {
            let carried = package.files.iter().map(|(path, _)| (*path).to_owned());
            assert_eq!(carried.collect::<BTreeSet<_>>(), listed(&folder), "{}", package.name);
        }
    }

    #[test]
    fn a_manifest_stands_alone() {
        for package in &PACKAGES {
            let manifest = free(package.manifest).unwrap();
            assert!(!manifest.contains("workspace"), "{manifest}");
            assert!(!manifest.contains("proptest"), "{manifest}");
        }
        let sdk = free(PACKAGES[0].manifest).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        for line in [
            &*format!("version = \"{version}\""),
            "edition = \"2024\"",
            "message = { package = \"wirepost-message\", path = \"../wirepost-message\" }",
        ] {
            assert!(sdk.lines().any(|had| had == line), "{line} is not in {sdk}");
        }
        let message = free(PACKAGES[1].manifest).unwrap();
        assert!(
            message.contains("bytes = { version = \"1\", features = [\"serde\"] }"),
            "{message}"
        );
    }

    #[test]
    fn what_is_written_names_nothing_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let lib = folder.path().join(SDK).join("src/lib.rs");
        assert!(fs::read_to_string(lib).unwrap().contains("pub mod testing"));
        let edit: PathBuf = folder.path().join("vendor/wirepost-message/src/edit/mod.rs");
        assert!(!fs::read_to_string(edit).unwrap().contains("mod tests"));
    }
}
