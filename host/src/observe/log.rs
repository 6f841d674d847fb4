//! The log: one line for people or one JSON object a record, on standard error.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::OnceLock;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
use crate::router::Router;

/// A filter that overrides the configured one, such as `wirepost=debug`.
pub const FILTER_VARIABLE: &str = "WIREPOST_LOG";

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
    let from_environment = std::env::var(FILTER_VARIABLE).ok().and_then(|text| text.parse().ok());
    from_environment
        .or_else(|| config.filter.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO))
}
