//! What to start with: the configuration on disk, or the last good one if that is broken.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::app::StartError;
use crate::config::{
    self, CheckOptions, Config, Finding, Loaded, Severity, SourceFile, SpoolPlace,
};
use crate::last_good::{Kept, LastGood};
use crate::platform::tasks::Tasks;
use crate::plugins::Before;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The main configuration file.
    pub config: PathBuf,
    /// Refuse to start with the last good state where something is broken.
    pub strict: bool,
}

impl Options {
    /// Starts with this file, or with what ran last if it is broken.
    #[must_use]
    pub fn new(config: impl Into<PathBuf>) -> Self {
        Self { config: config.into(), strict: false }
    }
}

/// What to start with.
#[derive(Debug)]
pub struct Startup {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its files, as they were read.
    pub sources: Vec<SourceFile>,
    /// Why it is not the one on disk.
    pub stale: Option<Arc<str>>,
    /// What may take the place of something broken.
    pub kept: Option<Kept>,
    /// Where what takes effect is kept.
    pub last_good: LastGood,
    main: PathBuf,
    warnings: Vec<String>,
}

impl Startup {
    /// Reads the configuration, or the last good one.
    ///
    /// # Errors
    /// The configuration is broken, and there is no last good one or it may not be used.
    pub async fn read(options: &Options, tasks: &Tasks) -> Result<Self, StartError> {
        let options = options.clone();
        tasks.blocking(move || Self::read_now(&options)).await.map_err(anyhow::Error::from)?
    }

    fn read_now(options: &Options) -> Result<Self, StartError> {
        let main = &options.config;
        let Loaded { config, findings, sources, .. } =
            config::load(main, CheckOptions { environment: true });
        if let Some(config) = config {
            let mut warnings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            warnings.extend(close_folders(&config)?);
            let last_good = LastGood::of(main, &config.spool.place);
            let kept = match last_good.read() {
                Ok(kept) => kept.filter(|_kept| !options.strict),
                Err(error) => {
                    warnings.push(format!("the last good state cannot be read: {error}"));
                    None
                }
            };
            let (config, main, stale) = (Arc::new(config), main.clone(), None);
            return Ok(Self { config, sources, stale, kept, last_good, main, warnings });
        }
        if options.strict {
            return Err(StartError::Config(findings));
        }
        let last_good = LastGood::of(main, &config::spool_place(main));
        match last_good.read() {
            Ok(None) => Err(StartError::Config(findings)),
            Ok(Some(kept)) => Self::of_kept(main, last_good, kept, &in_short(&findings)),
            Err(error) => Err(unusable(&in_short(&findings), &error)),
        }
    }

    /// The last good configuration, since the one on disk did not do.
    ///
    /// # Errors
    /// There is none, or it does not do either.
    pub async fn fall_back(self, why: Vec<String>, tasks: &Tasks) -> Result<Self, StartError> {
        let (None, Some(kept)) = (&self.stale, self.kept) else {
            return Err(StartError::Plugins(why));
        };
        let (main, last_good, why) = (self.main, self.last_good, why.join("; "));
        tasks
            .blocking(move || Self::of_kept(&main, last_good, kept, &why))
            .await
            .map_err(anyhow::Error::from)?
    }

    fn of_kept(
        main: &Path,
        last_good: LastGood,
        kept: Kept,
        why: &str,
    ) -> Result<Self, StartError> {
        let sources = kept.sources().map_err(|error| unusable(why, &error))?;
        let Loaded { config, findings, sources, .. } =
            config::load_kept(main, sources, CheckOptions { environment: true });
        let Some(config) = config else { return Err(unusable(why, &in_short(&findings))) };
        let warnings = close_folders(&config)?;
        let why = format!("{why}; that of {} runs instead", kept.at());
        Ok(Self {
            config: Arc::new(config),
            sources,
            stale: Some(why.into()),
            kept: Some(kept),
            last_good,
            main: main.to_path_buf(),
            warnings,
        })
    }

    /// What goes on where a plugin's file is refused.
    #[must_use]
    pub fn before(&self) -> Before<'_> {
        self.kept.as_ref().map_or(Before::Nothing, Before::Kept)
    }

    /// Says in the log what an operator should know.
    pub fn announce(&self) {
        for warning in &self.warnings {
            tracing::warn!(event = "config.warning", "{warning}");
        }
        if let Some(why) = &self.stale {
            tracing::error!(event = "config.stale", "the configuration on disk is not used: {why}");
        }
    }
}

/// A folder of messages that others may read or write.
#[derive(Debug)]
pub struct OpenFolder {
    path: PathBuf,
    mode: u32,
}

impl OpenFolder {
    /// Those of a configuration that are there already; what is not there is made with the right mode.
    #[must_use]
    pub fn all(config: &Config) -> Vec<Self> {
        let spool = match &config.spool.place {
            SpoolPlace::Disk(path) => Some(path),
            SpoolPlace::Memory => None,
        };
        let journal = config.journal.as_ref().map(|journal| &journal.path);
        let there = [spool, journal].into_iter().flatten().filter_map(|path| {
            let mode = std::fs::metadata(path).ok()?.mode() & 0o7777;
            Some(Self { path: path.clone(), mode })
        });
        there.filter(|folder| folder.mode & 0o077 != 0).collect()
    }

    /// Whether a start refuses it: what is in it may not be ours.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.mode & 0o022 != 0
    }

    /// Takes the rights of others away.
    fn close(&self) -> Result<String, String> {
        let (path, mode) = (self.path.display(), self.mode);
        if self.is_refused() {
            return Err(self.to_string());
        }
        match std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o700)) {
            Ok(()) => Ok(format!("others could read {path} (mode {mode:04o}); it has 0700 now")),
            Err(error) => Err(format!("{self}: that failed: {error}")),
        }
    }
}

impl std::fmt::Display for OpenFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, mode) = (self.path.display(), self.mode);
        if self.is_refused() {
            write!(
                f,
                "others may write {path} (mode {mode:04o}), so what is in it may not be ours: look, then chmod 0700 {path}"
            )
        } else {
            write!(f, "others may read {path} (mode {mode:04o}): a start gives it 0700")
        }
    }
}

/// What the spool and the journal hold is for their owner only: messages, keys, last good bytes and
/// machine code. Says which folders it had to close.
///
/// # Errors
/// Others may write one, or its mode cannot be changed.
fn close_folders(config: &Config) -> Result<Vec<String>, StartError> {
    OpenFolder::all(config)
        .iter()
        .map(|folder| folder.close().map_err(StartError::Folder))
        .collect()
}

/// The first errors, without their snippets.
fn in_short(findings: &[Finding]) -> String {
    const SHOWN: usize = 3;
    let errors: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    let shown = errors.iter().take(SHOWN).map(|finding| {
        let Finding { file, line, column, message, .. } = finding;
        format!("{}:{line}:{column}: {message}", file.display())
    });
    let mut lines: Vec<String> = shown.collect();
    if errors.len() > SHOWN {
        lines.push(format!("and {} more", errors.len() - SHOWN));
    }
    lines.join("; ")
}

fn unusable(why: &str, also: &str) -> StartError {
    StartError::NothingGood { why: why.to_owned(), also: also.to_owned() }
}
