//! Asking the running router: one HTTP request over its control socket.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{EX_NOINPUT, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, complain};
use crate::config::FILE_BYTES_MAX;
use crate::platform::file;

/// Octets of an answer at most.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long an answer may take; a reload compiles plugins.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Where the running router is.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The configuration file, which says where the control socket is
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    pub config: PathBuf,
    /// The control socket itself
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Why there is no answer to print.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is there.
    #[error(
        "no router answers on {} ({error}); start one with `wirepost run`, or say where it is with --config or --socket",
        .socket.display()
    )]
    Nobody {
        /// Where it was looked for.
        socket: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// The connection broke, or the answer makes no sense.
    #[error("the router did not answer: {0}")]
    Broken(String),
    /// It said no.
    #[error("{text}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its sentence.
        text: String,
    },
}

impl AskError {
    /// The exit code that says so.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Nobody { .. } | Self::Broken(_) => EX_UNAVAILABLE,
            Self::Refused { status, .. } if status.is_server_error() => EX_SOFTWARE,
            Self::Refused { status: StatusCode::NOT_FOUND, .. } => EX_NOINPUT,
            Self::Refused { status: StatusCode::CONFLICT, .. } => EX_TEMPFAIL,
            Self::Refused { .. } => EX_USAGE,
        })
    }

    /// Says it and gives the exit code.
    #[must_use]
    pub fn complained(&self) -> ExitCode {
        complain(&format!("wirepost: {self}"));
        self.exit()
    }
}

impl Place {
    /// Asks for something.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn get(&self, path: &str) -> Result<Value, AskError> {
        self.ask(Method::GET, path).await
    }

    /// Asks to do something.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn post(&self, path: &str) -> Result<Value, AskError> {
        self.ask(Method::POST, path).await
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Value, AskError> {
        let socket = self.socket();
        let stream = UnixStream::connect(&socket)
            .await
            .map_err(|error| AskError::Nobody { socket, error })?;
        let asking = exchange(stream, method, path);
        match tokio::time::timeout(ANSWER_WITHIN, asking).await {
            Ok(answer) => answer,
            Err(_late) => Err(AskError::Broken(format!("nothing came within {ANSWER_WITHIN:?}"))),
        }
    }

    /// The socket that was named, or that the configuration names. It is found in a configuration
    /// with mistakes too: that is when `reload` is needed most.
    fn socket(&self) -> PathBuf {
        if let Some(socket) = &self.socket {
            return socket.clone();
        }
        let text = file::read_text(&self.config, FILE_BYTES_MAX).unwrap_or_default();
        let folder = self.config.parent().unwrap_or(Path::new(""));
        folder.join(socket_in(&text).unwrap_or_else(|| PathBuf::from("wirepost.sock")))
    }
}

#[derive(Deserialize)]
struct Top {
    admin: Option<Admin>,
}

#[derive(Deserialize)]
struct Admin {
    socket: Option<PathBuf>,
}

fn socket_in(text: &str) -> Option<PathBuf> {
    serde_saphyr::from_str::<Top>(text).ok()?.admin?.socket
}

async fn exchange(stream: UnixStream, method: Method, path: &str) -> Result<Value, AskError> {
    let broken = |error: &dyn std::fmt::Display| AskError::Broken(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let answering = async {
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| broken(&error))?.to_bytes()))
    };
    // The connection is driven until the answer is here; if it breaks, the answer says so.
    let driving = async {
        if let Err(error) = connection.await {
            tracing::debug!(event = "control.broken", %error);
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    let (status, body) = tokio::select! {
        answer = answering => answer?,
        never = driving => match never {},
    };
    let value: Value = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    if status.is_success() || value.get("ok").is_some() {
        return Ok(value);
    }
    let text = value.get("error").and_then(Value::as_str).unwrap_or("it gave no reason");
    Err(AskError::Refused { status, text: text.to_owned() })
}

/// A path with a query of these pairs; those without a value are left out.
#[must_use]
pub fn with_query(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    let mut mark = '?';
    for (name, value) in pairs.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        text.push(mark);
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        mark = '&';
    }
    text
}

/// Prints to standard output. A reader that went away, such as `head`, is no failure.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::debug!(event = "stdout.closed");
    }
}

/// Prints JSON as it came.
pub fn say_json(value: &Value) {
    say(&format!("{value:#}\n"));
}

/// Columns of text, as wide as they must be; numbers to the right.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let is_number =
        |cell: &str| !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || c == '.');
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>, right: &dyn Fn(usize, &str) -> bool| {
        let mut row = String::new();
        for (column, cell) in cells.enumerate() {
            let pad = " ".repeat(
                widths.get(column).copied().unwrap_or(0).saturating_sub(cell.chars().count()),
            );
            let (before, after) =
                if right(column, cell) { (pad.as_str(), "") } else { ("", pad.as_str()) };
            row.push_str(&format!("{before}{cell}{after}  "));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    };
    let numbers = |column: usize| {
        rows.first().and_then(|row| row.get(column)).is_some_and(|cell| is_number(cell))
    };
    line(&mut head.iter().copied(), &|column, _| numbers(column));
    for row in rows {
        line(&mut row.iter().map(String::as_str), &|_, cell| is_number(cell));
    }
    text
}

/// A field as text: strings as they are but for control characters, nothing for null.
#[must_use]
pub fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(items)) => {
            let item = |item: &Value| item.as_str().map_or_else(|| item.to_string(), plain);
            items.iter().map(item).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// What a peer wrote must not steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_in_a_configuration_with_mistakes() {
        let text = "listeners: { x: 5 }\nadmin: { socket: run/wp.sock, htp: 1 }\nrouts: []\n";
        assert_eq!(socket_in(text), Some(PathBuf::from("run/wp.sock")));
        assert_eq!(socket_in("node: { id: 1 }"), None);
        assert_eq!(socket_in("{ never closed"), None);
    }

    #[test]
    fn a_query_is_escaped() {
        let pairs = [("why", Some("a b&c=é")), ("none", None), ("limit", Some("5"))];
        assert_eq!(with_query("/x", &pairs), "/x?why=a%20b%26c%3D%C3%A9&limit=5");
        assert_eq!(with_query("/x", &[]), "/x");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".to_owned(), "12".to_owned()], vec!["long".to_owned(), "3".to_owned()]];
        assert_eq!(table(&["name", "n"], &rows), "name   n\na     12\nlong   3\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let value = serde_json::json!({ "why": "\u{1b}[2J", "to": ["a", "b"], "n": 5, "x": null });
        assert_eq!(field(&value, "why"), "\u{FFFD}[2J");
        assert_eq!(field(&value, "to"), "a,b");
        assert_eq!(field(&value, "n"), "5");
        assert_eq!(field(&value, "x"), "");
    }
}
