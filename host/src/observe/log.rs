//! The log: one line for people or one JSON object a record, on standard error.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::OnceLock;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
use crate::router::Router;

/// A filter that overrides the configured one, such as `wirepost=debug`.
pub const FILTER_VARIABLE: &str = "WIREPOST_LOG";

/// The libraries under the spool.
const STORE: [&str; 2] = ["fjall", "lsm_tree"];

/// The filter in place. A process has one log, as it has one standard error.
static FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Starts the log as configured. Only the first call has an effect.
pub fn start(config: &LogConfig) {
    let (filter, handle) = reload::Layer::new(filter(config));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Human => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
    };
    if started.is_ok() {
        FILTER.get_or_init(|| handle);
    }
}

/// Changes the filter with the generation, until the router stops.
pub async fn follow(router: Arc<Router>) {
    let mut generations = router.generations();
    let stopping = router.tasks.stopping().clone();
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = generations.changed() => {}
        }
        let generation = router.generation();
        let Some(handle) = FILTER.get() else { continue };
        if let Err(error) = handle.reload(filter(&generation.config.log)) {
            tracing::error!(event = "log.filter", %error);
        }
    }
}

/// The filter from the environment if it is one, else the configured one, which was checked.
fn filter(config: &LogConfig) -> Targets {
    let environment = std::env::var(FILTER_VARIABLE).ok();
    let texts = [environment.as_deref(), Some(&*config.filter), Some("info")];
    texts.into_iter().flatten().find_map(targets).unwrap_or_default()
}

/// A filter as it is written. What the store says of its own work is left out unless it is named.
fn targets(text: &str) -> Option<Targets> {
    let written: Targets = text.parse().ok()?;
    let is_chatty = written.default_level().is_some_and(|level| level > LevelFilter::WARN);
    let unnamed = STORE.into_iter().filter(|library| is_chatty && !text.contains(library));
    Some(unnamed.fold(written, |filter, library| filter.with_target(library, LevelFilter::WARN)))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_store_is_quiet_unless_it_is_asked() {
        #[track_caller]
        fn check(text: &str, target: &str, level: Level, expect: bool) {
            assert_eq!(targets(text).unwrap().would_enable(target, &level), expect);
        }
        check("info", "wirepost::app", Level::INFO, true);
        check("info", "fjall::db", Level::INFO, false);
        check("info", "lsm_tree::tree", Level::WARN, true);
        check("error", "fjall::db", Level::WARN, false);
        check("warn,fjall=info", "fjall::db", Level::INFO, true);
        check("debug,lsm_tree=debug", "lsm_tree::tree", Level::DEBUG, true);
        assert!(targets("=nonsense=").is_none());
    }
}
