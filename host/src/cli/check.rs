//! `wirepost check`: is this configuration right, and if not, where not.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::config::{CheckOptions, Config, Finding, Loaded, Severity, json_schema, load};
use crate::platform::clock::Clock;
use crate::rehearsal::{OpenError, Rehearsal};
use crate::startup::OpenFolder;

/// The exit code for a wrong configuration (sysexits `EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// Checks configuration files and everything that they name: included files, tables, secrets,
/// certificates and plugins.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files to check, each on its own.
    #[arg(value_name = "FILE", default_value = "wirepost.yaml")]
    pub files: Vec<PathBuf>,
    /// Print one JSON object per file.
    #[arg(long)]
    pub json: bool,
    /// Warnings are errors.
    #[arg(long)]
    pub deny_warnings: bool,
    /// Print the JSON Schema of the configuration instead.
    #[arg(long)]
    pub schema: bool,
    /// Take environment variables, secrets and certificates to be there.
    #[arg(long)]
    pub no_environment: bool,
    /// Load no plugin: check the YAML alone.
    #[arg(long)]
    pub no_plugins: bool,
}

/// Checks and prints; 0 if every file is right, 78 if not.
#[must_use]
pub async fn run(args: CheckArgs) -> ExitCode {
    if args.schema {
        println!("{:#}", json_schema());
        return ExitCode::SUCCESS;
    }
    let options = CheckOptions { environment: !args.no_environment };
    let mut right = true;
    for file in &args.files {
        let mut loaded = load(file, options);
        let config = loaded.config.take().map(Arc::new);
        if let Some(config) = config.as_ref().filter(|_| options.environment) {
            loaded.findings.extend(open_folders(file, config));
        }
        if let Some(config) = config.as_ref().filter(|_| !args.no_plugins) {
            loaded.findings.extend(try_plugins(file, config).await);
        }
        let file_is_right = config.is_some()
            && loaded.errors() == 0
            && (!args.deny_warnings || loaded.findings.is_empty());
        right &= file_is_right;
        if args.json {
            println!("{}", as_json(&loaded, &file.display().to_string(), file_is_right));
        } else {
            print_findings(&loaded.findings);
            let right = config.as_deref().filter(|_| file_is_right);
            println!("{}", summary(&loaded, &file.display().to_string(), right));
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) }
}

/// Folders of messages that a start would close or refuse, by the code that does.
fn open_folders(file: &Path, config: &Config) -> Vec<Finding> {
    let finding = |folder: &OpenFolder| {
        let is_refused = folder.is_refused();
        let severity = if is_refused { Severity::Error } else { Severity::Warning };
        Finding { severity, ..Finding::of_file(file, folder.to_string()) }
    };
    OpenFolder::all(config).iter().map(finding).collect()
}

/// What is wrong with the plugins, by the code that loads them for a router.
async fn try_plugins(file: &Path, config: &Arc<Config>) -> Vec<Finding> {
    let lines = match Rehearsal::try_plugins(config, Clock::system()).await {
        Ok(()) => Vec::new(),
        Err(OpenError::Plugins(lines)) => lines,
        Err(OpenError::Other(error)) => vec![format!("the plugins cannot be tried: {error:#}")],
    };
    lines.into_iter().map(|line| Finding::of_file(file, line)).collect()
}

/// Prints findings as a compiler does, one after another.
pub fn print_findings(findings: &[Finding]) {
    for finding in findings {
        println!("{finding}\n");
    }
}

fn summary(loaded: &Loaded, file: &str, right: Option<&Config>) -> String {
    let errors = loaded.errors();
    let warnings = loaded.findings.len() - errors;
    let found = match (errors, warnings) {
        (0, 0) => String::new(),
        (0, warnings) => format!(" ({})", count(warnings, "warning")),
        (errors, 0) => format!(" ({})", count(errors, "error")),
        (errors, warnings) => {
            format!(" ({}, {})", count(errors, "error"), count(warnings, "warning"))
        }
    };
    let Some(config) = right else {
        return format!("{file} cannot be used{found}");
    };
    format!(
        "{file} is right{found}: {}, {}, {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.accounts.len(), "account"),
        count(config.connectors.len(), "connector"),
        count(config.plugins.list.len(), "plugin"),
        count(config.routes.len(), "route"),
    )
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn as_json(loaded: &Loaded, file: &str, right: bool) -> serde_json::Value {
    let warnings = loaded.findings.iter().filter(|found| found.severity == Severity::Warning);
    json!({
        "file": file,
        "ok": right,
        "errors": loaded.errors(),
        "warnings": warnings.count(),
        "findings": loaded.findings,
        "files": loaded.files,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    /// A folder with this configuration, and with these files among its plugins.
    fn folder(text: &str, plugins: &[(&str, &[u8])]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("wirepost.yaml"), text).unwrap();
        let path = folder.path().join("plugins");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        for (name, octets) in plugins {
            fs::write(path.join(name), octets).unwrap();
        }
        folder
    }

    async fn check_folder(folder: &TempDir, deny_warnings: bool, no_plugins: bool) -> ExitCode {
        let files = vec![folder.path().join("wirepost.yaml")];
        let (json, schema, no_environment) = (deny_warnings, false, true);
        run(CheckArgs { files, json, deny_warnings, schema, no_environment, no_plugins }).await
    }

    async fn check(text: &str, deny_warnings: bool) -> ExitCode {
        check_folder(&folder(text, &[]), deny_warnings, false).await
    }

    #[tokio::test]
    async fn the_exit_code_says_whether_it_can_be_used() {
        assert_eq!(check("node: { id: 1 }", true).await, ExitCode::SUCCESS);
        assert_eq!(check("nodes: { id: 1 }", false).await, ExitCode::from(EXIT_CONFIG));
        let warning = "spool: { memory: true, path: here }";
        assert_eq!(check(warning, false).await, ExitCode::SUCCESS);
        assert_eq!(check(warning, true).await, ExitCode::from(EXIT_CONFIG));
    }

    #[test]
    fn folders_that_a_start_would_close_or_refuse_are_named() {
        let folder = folder("", &[]);
        let (file, spool) = (folder.path().join("wirepost.yaml"), folder.path().join("spool"));
        fs::create_dir(&spool).unwrap();
        let found = |mode: u32| {
            fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
            let config = load(&file, CheckOptions { environment: false }).config.unwrap();
            let found = open_folders(&file, &config);
            found.iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        assert_eq!(found(0o700), []);
        assert_eq!(found(0o755), [Severity::Warning]);
        assert_eq!(found(0o775), [Severity::Error]);
    }

    /// Whether plugins configured like this can be used, and a part of what is said if not.
    #[track_caller]
    fn check_plugins(yaml: &str, files: &[(&str, &[u8])], wrong: Option<&str>) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = folder(&format!("plugins: {yaml}"), files);
        let code = |no_plugins| runtime.block_on(check_folder(&folder, false, no_plugins));
        let expect = if wrong.is_some() { EXIT_CONFIG } else { 0 };
        assert_eq!(code(false), ExitCode::from(expect), "{yaml}");
        assert_eq!(code(true), ExitCode::SUCCESS, "the YAML alone is right: {yaml}");
        let file = folder.path().join("wirepost.yaml");
        let config = Arc::new(load(&file, CheckOptions { environment: false }).config.unwrap());
        let found = runtime.block_on(try_plugins(&file, &config));
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        let text = texts.join("\n");
        assert!(text.contains(wrong.unwrap_or_default()), "{yaml}: {text}");
        assert_eq!(text.is_empty(), wrong.is_none(), "{text}");
    }

    #[test]
    fn what_it_names_is_loaded_as_the_router_would_load_it() {
        let folder = std::env::var_os("WIREPOST_PLUGINS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"),
            PathBuf::from,
        );
        let good = fs::read(folder.join("stop_words.wasm")).unwrap();
        let words = "{ name: w, module: w.wasm, config: { words: [lottery] } }";
        check_plugins(&format!("[{words}]"), &[("w.wasm", &good)], None);
        check_plugins(&format!("[{words}]"), &[("w.wasm", b"junk")], Some("(at validate)"));
        check_plugins(&format!("[{words}]"), &[], Some("plugin w (w.wasm)"));
        let refused = "[{ name: w, module: w.wasm, config: { word: lottery } }]";
        check_plugins(refused, &[("w.wasm", &good)], Some("does not take its configuration"));
        let auto = format!("{{ auto: true, list: [{words}] }}");
        let junk: &[u8] = b"junk";
        check_plugins(&auto, &[("w.wasm", &good), ("x.wasm", junk)], Some("plugin x (x.wasm)"));
        let unused = [("w.wasm", &*good), ("x.wasm", junk)];
        check_plugins(&format!("[{words}]"), &unused, None);
    }

    #[test]
    fn the_summary_counts() {
        let options = CheckOptions::default();
        let loaded = crate::config::load_text("x.yaml".as_ref(), "node: { id: 1, x: 2 }", options);
        assert_eq!(summary(&loaded, "x.yaml", None), "x.yaml cannot be used (1 error)");
        assert_eq!(as_json(&loaded, "x.yaml", false)["findings"][0]["column"], 16);
    }
}
