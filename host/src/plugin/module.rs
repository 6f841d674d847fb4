//! The octets of a plugin: what can be said of them before any of their code runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload, Validator};

use super::fault::{LoadError, LoadStep};
use super::features;
use super::foreign::foreign_name;
use super::words::tamed;

/// Octets of a module at the very most, whatever the YAML says.
pub const MODULE_BYTES_MAX: usize = 64 << 20;
/// The interface that this host has, up to its last number.
pub(super) const PACKAGE: &str = "wirepost:plugin/";
/// The version of the interface.
pub(super) const API: &str = "0.9.0";
/// The custom section that holds the manifest.
const MANIFEST_SECTION: &str = "wirepost:manifest";
/// The custom section that holds cases for `wirepost plugin test`.
const CASES_SECTION: &str = "wirepost:cases";
/// What begins the name of the custom section that wit-bindgen writes.
const TYPE_SECTION: &str = "component-type";

/// What a module says about itself. A component made by other tools need not have one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the interface it is built for.
    pub api: String,
    /// The author's name for it.
    pub name: String,
    /// The author's version of it.
    pub version: String,
    /// The version of the SDK, if one was used.
    #[serde(default)]
    pub sdk: String,
    /// The interfaces it says it exports.
    #[serde(default)]
    pub hooks: Vec<String>,
}

/// Octets of each text of a manifest; the rest is cut off.
const MANIFEST_TEXT_BYTES_MAX: usize = 128;

impl Manifest {
    /// Its texts go into logs and onto screens.
    fn tamed(self) -> Self {
        let tame = |text: &str| tamed(text, MANIFEST_TEXT_BYTES_MAX).into_owned();
        Self {
            api: tame(&self.api),
            name: tame(&self.name),
            version: tame(&self.version),
            sdk: tame(&self.sdk),
            hooks: self.hooks.iter().map(|hook| tame(hook)).collect(),
        }
    }
}

/// A module that is well formed and meant for this host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Module {
    /// SHA-256 of the octets as given.
    pub sha256: [u8; 32],
    /// Octets as given.
    pub size_bytes: usize,
    /// What it says about itself.
    pub manifest: Option<Manifest>,
    /// Whether it came as a core module, and was made a component here.
    pub was_core: bool,
    /// Messages and what must become of them, as JSON, if its author put some into it. They do not
    /// come back from the compiler.
    #[serde(skip)]
    pub cases: Option<Vec<u8>>,
    /// Interfaces it imports, in its order.
    pub imports: Vec<String>,
    /// Interfaces it exports.
    pub exports: Vec<String>,
    /// Nor does the component.
    #[serde(skip)]
    pub(super) component: Bytes,
}

impl Module {
    /// Reads octets up to where they would have to be compiled. Damaged ones are an error, whatever
    /// the damage.
    ///
    /// # Errors
    /// The step, the reason and the remedy.
    pub fn read(octets: &Bytes, pin: Option<&[u8; 32]>) -> Result<Self, LoadError> {
        Self::read_up_to(octets, pin, u64::MAX)
    }

    /// The same for a module of at most so many octets.
    pub(super) fn read_up_to(
        octets: &Bytes,
        pin: Option<&[u8; 32]>,
        bytes_max: u64,
    ) -> Result<Self, LoadError> {
        let bytes_max = bytes_max.min(as_u64(MODULE_BYTES_MAX));
        if as_u64(octets.len()) > bytes_max {
            return Err(too_large(octets.len(), bytes_max));
        }
        let sha256: [u8; 32] = Sha256::digest(octets).into();
        validate(octets)?;
        let outline = outline(octets)?;
        let manifest = outline.manifest()?;
        let cases = outline.cases.clone();
        check_pin(&sha256, pin)?;
        let (component, outline) = if outline.is_core {
            if !outline.has_types {
                return Err(LoadError::new(
                    LoadStep::Componentize,
                    "this is a WebAssembly module but not a Wirepost plugin: it has no component types",
                    "build a `cdylib` that uses wirepost-sdk and its `plugin!` or `filter!`",
                ));
            }
            if let Some(name) = &outline.foreign {
                return Err(foreign(name));
            }
            let component = componentize(octets)?;
            let inner = self::outline(&component)?;
            (component, Outline { is_core: true, ..inner })
        } else {
            (octets.clone(), outline)
        };
        Ok(Self {
            sha256,
            size_bytes: octets.len(),
            manifest,
            cases,
            was_core: outline.is_core,
            imports: outline.imports,
            exports: outline.exports,
            component,
        })
    }

    /// The hash in hexadecimal.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }

    /// Refuses octets other than those that the operator pinned.
    ///
    /// # Errors
    /// Both hashes.
    pub(super) fn check_pin(&self, pin: Option<&[u8; 32]>) -> Result<(), LoadError> {
        check_pin(&self.sha256, pin)
    }

    /// Refuses imports that this host does not have or the operator did not grant. `granted` names
    /// the interfaces beyond the message itself; `None` grants all of them.
    ///
    /// # Errors
    /// The first such import.
    pub fn check_imports<T: AsRef<str>>(&self, granted: Option<&[T]>) -> Result<(), LoadError> {
        for import in &self.imports {
            let refuse = |reason: String, remedy: &str| {
                Err(LoadError::new(LoadStep::Imports, reason, remedy))
            };
            if import.starts_with("wasi:") {
                return refuse(
                    format!("it imports `{import}`; plugins have no WASI"),
                    "build it with `--target wasm32-unknown-unknown`, not for wasip1 or wasip2",
                );
            }
            let Some(rest) = import.strip_prefix(PACKAGE) else {
                return refuse(
                    format!("it imports `{import}`, which this host does not have"),
                    "remove the dependency that needs it",
                );
            };
            let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
            if version != API {
                return refuse(
                    format!("it imports `{import}`; this host has version {API}"),
                    "build it with the wirepost-sdk of this host's version",
                );
            }
            let free = matches!(interface, "types" | "message-api");
            let listed = |list: &[T]| list.iter().any(|name| name.as_ref() == interface);
            if !free && !granted.is_none_or(listed) {
                return refuse(
                    format!("it imports `{interface}`, which was not granted"),
                    "add the interface to `grants: imports` in the YAML",
                );
            }
        }
        Ok(())
    }
}

/// Octets in lower-case hexadecimal.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        if write!(text, "{octet:02x}").is_err() {
            text.clear();
        }
        text
    })
}

#[derive(Debug, Default)]
struct Outline {
    is_core: bool,
    has_types: bool,
    /// A name in its types that is not of our interface.
    foreign: Option<String>,
    manifest: Option<Vec<u8>>,
    cases: Option<Vec<u8>>,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Outline {
    fn manifest(&self) -> Result<Option<Manifest>, LoadError> {
        let Some(octets) = &self.manifest else { return Ok(None) };
        let manifest = serde_json::from_slice(octets).map(Manifest::tamed).map_err(|error| {
            LoadError::new(
                LoadStep::Manifest,
                format!("its section `{MANIFEST_SECTION}` is not a manifest: {error}"),
                "let `plugin!` or `filter!` write it",
            )
        })?;
        if manifest.api != API {
            return Err(LoadError::new(
                LoadStep::Manifest,
                format!("it is built for interface {}, this host has {API}", manifest.api),
                "build it with the wirepost-sdk of this host's version",
            ));
        }
        Ok(Some(manifest))
    }
}

pub(super) fn too_large(size_bytes: usize, bytes_max: u64) -> LoadError {
    LoadError::new(
        LoadStep::Read,
        format!("the module has {size_bytes} octets, {bytes_max} are allowed"),
        "build it with `--release` and `strip = \"debuginfo\"`, or raise `module_size` of `plugins` \
         in the YAML",
    )
}

fn as_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn check_pin(sha256: &[u8; 32], pin: Option<&[u8; 32]>) -> Result<(), LoadError> {
    match pin {
        Some(pin) if pin != sha256 => Err(LoadError::new(
            LoadStep::Pin,
            format!("its SHA-256 is {}, the YAML pins {}", hex(sha256), hex(pin)),
            "put back the pinned file, or change `sha256` in the YAML if the new one is meant",
        )),
        Some(_) | None => Ok(()),
    }
}

/// The encoder panics on damaged input, so nothing reaches it that this has not seen.
fn validate(octets: &[u8]) -> Result<(), LoadError> {
    let refuse = |reason: String| {
        Err(LoadError::new(
            LoadStep::Validate,
            reason,
            "copy the file again; a file that is still being written is read once it is complete",
        ))
    };
    let validate =
        || Validator::new_with_features(features::ALLOWED).validate_all(octets).map(|_types| ());
    match guarded(validate) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let text = in_one_line(&error);
            match error.missing_wasm_feature() {
                Some(proposal) => Err(LoadError::new(
                    LoadStep::Validate,
                    format!(
                        "it uses the proposal `{}`, which plugins do not have: {text}",
                        features::name_of(proposal)
                    ),
                    "build it for wasm32-unknown-unknown without that target feature; \
                     docs/PLUGINS.md lists those that a plugin may use",
                )),
                None => refuse(format!("this is not a WebAssembly module: {text}")),
            }
        }
        Err(panic) => refuse(format!("this is not a WebAssembly module: {panic}")),
    }
}

/// Some of the validator's texts have several lines; a log record has one.
fn in_one_line(error: &wasmparser::Error) -> String {
    let words: Vec<_> = error.to_string().split_whitespace().map(str::to_owned).collect();
    words.join(" ")
}

fn outline(octets: &[u8]) -> Result<Outline, LoadError> {
    let parsed = guarded(|| parse(octets));
    let reason = match parsed {
        Ok(Ok(outline)) => return Ok(outline),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic,
    };
    Err(LoadError::new(LoadStep::Validate, reason, "copy the file again"))
}

fn parse(octets: &[u8]) -> wasmparser::Result<Outline> {
    let mut outline = Outline::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(octets) {
        match payload? {
            Payload::Version { encoding, .. } if depth == 0 => {
                outline.is_core = encoding == Encoding::Module;
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) => {
                if section.name() == MANIFEST_SECTION && outline.manifest.is_none() {
                    outline.manifest = Some(section.data().to_vec());
                }
                if section.name() == CASES_SECTION && outline.cases.is_none() {
                    outline.cases = Some(section.data().to_vec());
                }
                if section.name().starts_with(TYPE_SECTION) {
                    outline.has_types = true;
                    let foreign = foreign_name(section.data())?;
                    outline.foreign = outline.foreign.or(foreign);
                }
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    outline.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    outline.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

fn foreign(name: &str) -> LoadError {
    let remedy = if name.starts_with("wasi:") {
        "build it with `--target wasm32-unknown-unknown`; plugins have no WASI"
    } else {
        "build it with the wirepost-sdk of this host's version, and copy the file again"
    };
    let reason = format!("it speaks of `{name}`; this host has {PACKAGE}…@{API}");
    LoadError::new(LoadStep::Imports, reason, remedy)
}

fn componentize(octets: &[u8]) -> Result<Bytes, LoadError> {
    let encoded = guarded(|| {
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(octets)
            .and_then(|mut encoder| encoder.encode())
    });
    let reason = match encoded {
        Ok(Ok(component)) => return Ok(component.into()),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => panic,
    };
    let remedy = if reason.contains("wasi") {
        "build it with `--target wasm32-unknown-unknown`; plugins have no WASI"
    } else {
        "build it with the wirepost-sdk of this host's version"
    };
    Err(LoadError::new(
        LoadStep::Componentize,
        format!("it cannot be made a component: {reason}"),
        remedy,
    ))
}

/// Runs a parser of foreign octets; a panic of it is an answer like any other.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("its octets confuse the parser: {}", text.unwrap_or_default())
    })
}
