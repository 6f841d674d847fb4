//! What happened in a run, a line each, with the simulated time: by the world, and what the host logs.

use std::fmt::{Arguments, Debug, Write as _};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Context;

/// Lines that are kept; a run that writes more has lost its way.
const LINES_MAX: usize = 200_000;

/// The trace of one run. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    started: Instant,
    lines: Arc<Mutex<Vec<String>>>,
    /// What two runs do not share: the folder of the configuration.
    hidden: Arc<Mutex<String>>,
    /// Panics of tasks of the host: each is a failure of the run.
    panics: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let (lines, hidden, panics) = Default::default();
        Self { started: Instant::now(), lines, hidden, panics }
    }

    /// Keeps this out of the trace.
    pub(crate) fn hide(&self, text: &str) {
        text.clone_into(&mut self.hidden.lock().unwrap());
    }

    pub(crate) fn note(&self, who: &str, what: Arguments<'_>) {
        let ms = self.started.elapsed().as_millis();
        let mut line = format!("{:>5}.{:03} {who:<8} {what}", ms / 1000, ms % 1000);
        let hidden = self.hidden.lock().unwrap();
        if !hidden.is_empty() && line.contains(&**hidden) {
            line = line.replace(&**hidden, "");
        }
        let mut lines = self.lines.lock().unwrap();
        if lines.len() < LINES_MAX {
            lines.push(line.replace('\n', " "));
        }
    }

    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    pub(crate) fn panics(&self) -> Vec<String> {
        self.panics.lock().unwrap().clone()
    }
}

/// Writes what the host logs into the trace.
pub(crate) struct Log(pub(crate) Trace);

impl<S: Subscriber> Layer<S> for Log {
    fn enabled(&self, meta: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        *meta.level() <= Level::INFO && meta.target().starts_with("wirepost")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let meta = event.metadata();
        let mut words = Words(String::new());
        event.record(&mut words);
        if words.0.contains("task.panic") {
            self.0.panics.lock().unwrap().push(words.0.clone());
        }
        self.0.note("host", format_args!("{}{}", meta.level(), words.0));
    }
}

struct Words(String);

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "event" | "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.unwrap();
    }
}
