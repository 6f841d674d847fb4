//! A router with its configuration in a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wirepost::app::{App, Options, StartError};
use wirepost::cli::control::Place;
use wirepost::platform::clock::Clock;
use wirepost::router::Router;

use crate::esme::Esme;
use crate::mailer::Mailer;
use crate::wait::until;

/// A running router.
#[derive(Debug)]
pub struct World {
    /// The folder of its configuration, spool and plugins.
    pub folder: TempDir,
    app: Option<App>,
}

impl World {
    /// Starts a router with this configuration. Relative paths in it are inside the folder.
    pub async fn start(config: &str) -> Self {
        let folder = folder(config);
        Self::start_in(folder).await
    }

    /// Starts a router in a folder that has its `wirepost.yaml` and what that needs.
    pub async fn start_in(folder: TempDir) -> Self {
        let app = start(&folder.path().join("wirepost.yaml")).await;
        let app = app.unwrap_or_else(|error| panic!("{}", explain(&error)));
        Self { folder, app: Some(app) }
    }

    /// Starts a router with this configuration and a clock that the test may set.
    pub async fn start_with_clock(config: &str, clock: Clock) -> Self {
        Self::start_in_with_clock(folder(config), clock).await
    }

    /// Starts a router in a folder that has what it needs, with a clock that the test may set.
    pub async fn start_in_with_clock(folder: TempDir, clock: Clock) -> Self {
        let options = Options::new(folder.path().join("wirepost.yaml"));
        let app = App::start(&options, clock).await;
        let app = app.unwrap_or_else(|error| panic!("{}", explain(&error)));
        Self { folder, app: Some(app) }
    }

    /// Stops the router as SIGTERM does, then starts it again on the same spool.
    pub async fn restart(self) -> Self {
        Self::start_in(self.stop().await).await
    }

    /// Stops it and leaves the folder.
    pub async fn stop(mut self) -> TempDir {
        let app = self.app.take().unwrap();
        let router = Arc::clone(&app.router);
        app.stop(None).await;
        check_books(&router);
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// The program.
    #[must_use]
    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// Where the configuration is.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("wirepost.yaml")
    }

    /// Where a listener listens.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.app().addresses[listener][0]
    }

    /// A mail client at the listener `mail`.
    pub async fn mailer(&self) -> Mailer {
        Mailer::connect(self.address("mail")).await
    }

    /// The account `shop`, bound at the listener `esmes`.
    pub async fn shop(&self) -> Esme {
        Esme::bind(self.address("esmes"), "shop", "secret").await
    }

    /// Writes another configuration the way editors do: a new file, then a rename.
    pub fn write_config(&self, config: &str) {
        write(&self.config(), config);
    }

    /// Writes another configuration and reloads it; it must be taken.
    pub async fn reload(&self, config: &str) {
        self.write_config(config);
        let report = self.app().reload.reload(false).await;
        assert!(report.ok, "{report:?}");
    }

    /// What `wirepost status` asks for.
    pub async fn status(&self) -> serde_json::Value {
        let place = Place { config: self.config(), socket: None, json: true };
        place.get("/status").await.unwrap()
    }

    /// A page of the HTTP port, which the configuration must name: its status line and its text.
    pub async fn page(&self, path: &str) -> String {
        let address = self.app().http.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }

    /// What waits, anywhere or at one target.
    #[must_use]
    pub fn queued(&self, target: Option<&str>) -> usize {
        self.app().router.list(target, 100_000).unwrap().len()
    }

    /// Waits until nothing is left in the spool.
    pub async fn wait_empty(&self) {
        until("an empty queue", || (self.queued(None) == 0).then_some(())).await;
    }

    /// What the journal says of a message and all that came of it, one line each: what happened, and
    /// the line of JSON. The configuration must keep one.
    #[must_use]
    pub fn story(&self, id: &str) -> Vec<(String, String)> {
        let journal = &self.app().router.journal;
        journal.flush();
        let events = journal.reader().expect("a journal").trace(id.parse().unwrap()).unwrap();
        let lines = events.iter().map(|event| serde_json::to_value(event).unwrap());
        lines.map(|line| (line["event"].as_str().unwrap().to_owned(), line.to_string())).collect()
    }

    /// Waits until a target is up or down.
    pub async fn wait_target(&self, name: &str, up: bool) {
        until(&format!("{name} up: {up}"), || {
            (self.app().router.target(name)?.is_up() == up).then_some(())
        })
        .await;
    }
}

impl Drop for World {
    /// Whatever a test did, everything that came in is accounted for, at any moment.
    fn drop(&mut self) {
        if let Some(app) = self.app.as_ref().filter(|_| !std::thread::panicking()) {
            check_books(&app.router);
        }
    }
}

fn check_books(router: &Router) {
    let ledger = router.ledger();
    assert!(ledger.is_balanced(), "not everything is accounted for: {ledger:#?}");
}

/// A folder with this configuration.
#[must_use]
pub fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("wirepost.yaml"), config);
    folder
}

/// Starts a router with this file.
///
/// # Errors
/// Its own.
pub async fn start(config: &Path) -> Result<App, StartError> {
    App::start(&Options::new(config), Clock::system()).await
}

/// Writes a file the way editors do: a new one, then a rename.
pub fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// The error as the command line prints it.
#[must_use]
pub fn explain(error: &StartError) -> String {
    match error {
        StartError::Config(findings) => {
            findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

/// A configuration with both doors, one account, a relay and an SMSC, and these routes.
#[must_use]
pub fn config(relay: SocketAddr, smsc: SocketAddr, routes: &str) -> String {
    format!("{}{}routes:\n{routes}", base(), connectors(relay, smsc))
}

/// Everything before the connectors.
#[must_use]
pub fn base() -> String {
    "\
node: { hostname: gw.test, drain_timeout: 5s }
spool: { path: spool, free_min: 0 }
listeners:
  mail: { smtp: { bind: \"127.0.0.1:0\", hostname: gw.test, allow: [127.0.0.0/8], tarpit: 0ms } }
  esmes: { smpp: { bind: \"127.0.0.1:0\" } }
domains:
  sms.test: { phone: FR }
bounces: { via: relay, from: postmaster@gw.test }
accounts:
  shop: { smpp: { system_id: shop, password: secret } }
"
    .to_owned()
}

/// The connectors `relay` and `smsc`, which try again soon.
#[must_use]
pub fn connectors(relay: SocketAddr, smsc: SocketAddr) -> String {
    format!("connectors:\n{}{}", relay_connector(relay), smsc_connector("smsc", smsc))
}

/// The connector `relay`.
#[must_use]
pub fn relay_connector(relay: SocketAddr) -> String {
    format!("  relay:\n    smtp: {{ host: 127.0.0.1, port: {}, tls: none }}\n{SOON}", relay.port())
}

/// A connector to an SMSC.
#[must_use]
pub fn smsc_connector(name: &str, smsc: SocketAddr) -> String {
    format!(
        "  {name}:\n    smpp: {{ host: 127.0.0.1, port: {}, system_id: wp, password: pw, window: 50, \
         reconnect: {{ min: 100ms, max: 200ms }} }}\n{SOON}",
        smsc.port()
    )
}

const SOON: &str = "    retry: { delays: 1s }\n";

/// Routes for numbers to the SMSC and everything else to the relay.
pub const ROUTES: &str = "  - { name: numbers, when: { to: { kind: phone } }, to: smsc, convert: { text: \"{subject}: {text}\" } }
  - { name: mails, when: { to: { kind: mailbox } }, to: relay }
";
