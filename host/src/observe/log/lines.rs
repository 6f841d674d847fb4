//! One record, one line: addresses concealed, control characters escaped.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Privacy;
use crate::config::LogFormat;
use crate::platform::clock::Clock;

/// The target of what plugins write.
const PLUGIN: &str = "plugin";

/// Where lines go, each with its end.
pub type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// Makes lines of records.
pub(super) struct Lines {
    pub(super) format: LogFormat,
    pub(super) colours: bool,
    pub(super) privacy: Arc<Privacy>,
    pub(super) sink: Sink,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let is_ours = event.metadata().target() != PLUGIN;
        let privacy = &self.privacy;
        let mut record = Record { privacy, is_ours, target: None, fields: Vec::new() };
        event.record(&mut record);
        let Record { target, fields, .. } = record;
        let target = target.as_deref().unwrap_or_else(|| event.metadata().target());
        let at = Clock::system().now().to_string();
        let level = event.metadata().level();
        let line = match self.format {
            LogFormat::Human => human(&at, level, target, &fields, self.colours),
            LogFormat::Json => json(at, level, target, fields),
        };
        (self.sink)(&line);
    }
}

/// A field: text that somebody may have written, or a number or word of ours.
enum Told {
    Quoted(String),
    Bare(String),
    Number(Value),
}

struct Record<'a> {
    privacy: &'a Privacy,
    is_ours: bool,
    target: Option<String>,
    fields: Vec<(&'static str, Told)>,
}

impl Record<'_> {
    fn push(&mut self, field: &Field, told: Told) {
        // What comes from crates that use `log` says so in fields of this name.
        if !field.name().starts_with("log.") {
            self.fields.push((field.name(), told));
        }
    }
}

impl Visit for Record<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.target = Some(value.to_owned());
        }
        self.push(field, Told::Quoted(self.privacy.conceal(value, self.is_ours)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = self.privacy.conceal(&format!("{value:?}"), self.is_ours);
        self.push(field, Told::Bare(text));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Told::Number(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Told::Number(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Told::Number(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Told::Number(value.into()));
    }
}

fn human(
    at: &str,
    level: &Level,
    target: &str,
    fields: &[(&'static str, Told)],
    colours: bool,
) -> String {
    let (colour, end) = match (colours, *level) {
        (false, _) => ("", ""),
        (true, Level::ERROR) => ("\u{1b}[31m", "\u{1b}[0m"),
        (true, Level::WARN) => ("\u{1b}[33m", "\u{1b}[0m"),
        (true, Level::INFO) => ("\u{1b}[32m", "\u{1b}[0m"),
        (true, _) => ("\u{1b}[34m", "\u{1b}[0m"),
    };
    let mut line = format!("{at} {colour}{:>5}{end} {target}:", level.as_str());
    for (name, told) in fields {
        let name = if *name == "message" { String::new() } else { format!("{name}=") };
        // Writing to a string cannot fail.
        let _written = match told {
            Told::Quoted(text) => write!(line, " {name}{text:?}"),
            Told::Bare(text) => write!(line, " {name}{}", escaped(text)),
            Told::Number(value) => write!(line, " {name}{value}"),
        };
    }
    line.push('\n');
    line
}

fn json(at: String, level: &Level, module: &str, fields: Vec<(&'static str, Told)>) -> String {
    let mut object = Map::new();
    for (name, told) in fields {
        let value = match told {
            Told::Quoted(text) | Told::Bare(text) => text.into(),
            Told::Number(value) => value,
        };
        object.insert(name.to_owned(), value);
    }
    object.insert("timestamp".to_owned(), at.into());
    object.insert("level".to_owned(), level.as_str().into());
    object.insert("module".to_owned(), module.into());
    format!("{}\n", Value::Object(object))
}

/// What a peer wrote steers no terminal and begins no line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::conceal::Key;
    use super::*;

    fn lines(format: LogFormat, plain: bool) -> String {
        let written = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&written);
        let privacy = Arc::new(Privacy::new(Key::new([7; 32]), plain));
        let sink: Sink = Arc::new(move |line: &str| to.lock().unwrap().push_str(line));
        let lines = Lines { format, colours: false, privacy, sink };
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let reply = "550 +33612345678\r\nfake";
            tracing::info!(event = "message.refused", n = 33_612_345_678_u64, up = true, reply,
                from = %"ann@example.org", "to \u{1b}[2J");
        });
        let text = written.lock().unwrap().clone();
        let (at, rest) = text.split_at(if format == LogFormat::Human { 24 } else { 0 });
        assert!(at.is_empty() || at.ends_with('Z'), "{text}");
        rest.to_owned()
    }

    #[test]
    fn a_line_for_people() {
        let line = lines(LogFormat::Human, false);
        let (start, rest) = line.split_once("reply=").unwrap();
        assert_eq!(
            start,
            "  INFO wirepost::observe::log::lines::tests: to \\u{1b}[2J \
             event=\"message.refused\" n=33612345678 up=true "
        );
        assert!(rest.starts_with("\"550 ~") && rest.contains("..78\\r\\nfake\" from=~"), "{rest}");
        assert!(rest.ends_with("@example.org\n") && !line.contains("ann@"), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(lines(LogFormat::Human, true).contains("550 +33612345678\\r\\nfake"));
    }

    #[test]
    fn a_line_for_programs() {
        let line = lines(LogFormat::Json, false);
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"], "message.refused");
        assert_eq!(value["n"], 33_612_345_678_u64);
        assert_eq!(value["level"], "INFO");
        assert!(!line.contains("+336") && !line.contains("ann@"), "{line}");
        assert!(lines(LogFormat::Json, true).contains("ann@example.org"));
    }
}
