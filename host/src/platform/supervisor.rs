//! What a service manager gives us and is told: sockets that it listens on already, and how we are
//! (systemd's sd_listen_fds(3) and sd_notify(3)). Without one, all of it does nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;

/// Where it wants to hear from us.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// Names of the sockets that it gives us, joined by colons.
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";
/// How often it wants to hear from us, in microseconds.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// From which process.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Sockets that listen already, by the name of their listener. Whoever connects while we start, or
/// while one of us follows another, waits there and is not refused.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: BTreeMap<String, Vec<TcpListener>>,
}

impl Inherited {
    /// Those that the environment names. Without names they are of no use, which is said.
    #[must_use]
    pub fn from_environment() -> Self {
        let names = std::env::var(LISTEN_FDNAMES).unwrap_or_default();
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for (at, name) in (0..given.len()).zip(names.split(':').chain(std::iter::repeat(""))) {
            match given.take_tcp_listener(at) {
                Ok(Some(socket)) => {
                    inherited.sockets.entry(name.to_owned()).or_default().push(socket);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(event = "supervisor.socket", name, %error, "it is no TCP socket that listens");
                }
            }
        }
        inherited
    }

    /// The sockets of a listener, once.
    pub fn take(&mut self, listener: &str) -> Vec<TcpListener> {
        self.sockets.remove(listener).unwrap_or_default()
    }

    /// Says which sockets belong to no listener; they are closed.
    pub fn warn_unused(self) {
        for name in self.sockets.keys() {
            tracing::warn!(
                event = "supervisor.unused",
                name,
                "a socket was given that no listener is named after: set FileDescriptorName",
            );
        }
    }
}

/// Tells the service manager how we are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names, if any.
    #[must_use]
    pub fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number(WATCHDOG_PID).is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number(WATCHDOG_USEC).filter(|usec| ours && *usec > 0);
        let socket = std::env::var_os(NOTIFY_SOCKET).filter(|path| !path.is_empty());
        Self { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// How often [`Supervisor::alive`] is wanted; twice in each of its periods.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / 2)
    }

    /// Listeners listen: whoever waits for us may go on.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=messages are taken");
    }

    /// A reload begins; [`Supervisor::ready`] ends it.
    pub fn reloading(&self) {
        self.say("RELOADING=1\nSTATUS=the configuration is read again");
    }

    /// Nothing more is taken; what is in flight is finished within `wait`.
    pub fn stopping(&self, wait: Duration) {
        // The manager waits a little longer than we do, whatever its own limit is.
        let usec = (wait + Duration::from_secs(10)).as_micros();
        self.say(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={usec}\nSTATUS=what is in flight is finished"
        ));
    }

    /// We still run.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, words: &str) {
        let Some(path) = &self.socket else { return };
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(path),
        };
        let said = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to_addr(words.as_bytes(), &address)
        });
        if let Err(error) = said {
            tracing::warn!(event = "supervisor.unheard", %error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_that_we_are_ready_and_nobody_is_told_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor { socket: Some(path.into()), watchdog: None };
        supervisor.ready();
        supervisor.alive();
        let mut heard = [0; 256];
        let length = manager.recv(&mut heard).unwrap();
        assert!(heard[..length].starts_with(b"READY=1\n"));
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"WATCHDOG=1");
        Supervisor { socket: None, watchdog: None }.ready();
    }

    #[test]
    fn an_abstract_socket_is_found_by_its_at_sign() {
        let name = format!("wirepost-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = Some(format!("@{name}").into());
        Supervisor { socket, watchdog: None }.reloading();
        let mut heard = [0; 256];
        let length = manager.recv(&mut heard).unwrap();
        assert!(heard[..length].starts_with(b"RELOADING=1"));
    }
}
