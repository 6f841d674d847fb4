//! The log: one line for people or one JSON object a record, on standard error.
//!
//! Phone numbers and mailboxes appear as keyed hashes unless `log.addresses` says `plain`.

pub mod conceal;
pub mod key;
pub mod lines;

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;

use self::conceal::Key;
use self::lines::{Lines, Sink};
use crate::config::{LogAddresses, LogConfig};
use crate::router::Router;

/// A filter that overrides the configured one, such as `wirepost=debug`.
pub const FILTER_VARIABLE: &str = "WIREPOST_LOG";
/// The libraries under the spool.
const STORE: [&str; 2] = ["fjall", "lsm_tree"];

/// The filter and the secrets in place. A process has one log, as it has one standard error.
static LOG: OnceLock<(Handle<Targets, Registry>, Arc<Privacy>)> = OnceLock::new();

/// What is shown of addresses.
#[derive(Debug)]
pub(crate) struct Privacy {
    key: ArcSwap<Key>,
    plain: AtomicBool,
}

impl Privacy {
    fn new(key: Key, plain: bool) -> Self {
        Self { key: ArcSwap::from_pointee(key), plain: AtomicBool::new(plain) }
    }

    /// What plugins wrote is content, and sizes in it are numbers like others.
    fn conceal(&self, text: &str, is_ours: bool) -> String {
        if self.plain.load(Ordering::Relaxed) {
            return text.to_owned();
        }
        let key = self.key.load();
        let concealed = if is_ours { key.conceal_ours(text) } else { key.conceal(text) };
        concealed.into_owned()
    }
}

/// Starts the log as configured, on standard error. Only the first call has an effect.
pub fn start(config: &LogConfig) {
    let colours = std::io::stderr().is_terminal();
    // A reader that went away is no reason to stop carrying messages.
    let sink = Arc::new(|line: &str| drop(std::io::stderr().lock().write_all(line.as_bytes())));
    start_to(config, colours, sink);
}

/// Starts the log as configured, to somewhere else. Only the first call has an effect.
pub fn start_to(config: &LogConfig, colours: bool, sink: Sink) {
    // Until the spool is open, hashes are those of this process alone.
    let key = Key::new(key::random().unwrap_or_default());
    let privacy = Arc::new(Privacy::new(key, config.addresses == LogAddresses::Plain));
    let (filter, handle) = reload::Layer::new(filter(config));
    let format = config.format;
    let lines = Lines { format, colours, privacy: Arc::clone(&privacy), sink };
    let started = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    if started.is_ok() {
        LOG.get_or_init(|| (handle, privacy));
    }
}

/// From now on hashes are made with this key.
pub fn use_key(key: Key) {
    if let Some((_, privacy)) = LOG.get() {
        privacy.key.store(Arc::new(key));
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
        let Some((handle, privacy)) = LOG.get() else { continue };
        let plain = generation.config.log.addresses == LogAddresses::Plain;
        privacy.plain.store(plain, Ordering::Relaxed);
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
