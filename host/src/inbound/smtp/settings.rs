//! What a listener's configuration means for its sessions.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smtp::BareNewline;
use smtp::server::{Auth, Extensions, Limits, ServerConfig, StartTls, Timeouts};
use tokio_rustls::TlsAcceptor;

use crate::config::{BareNewlines, Config, ListenerKind, Name, Network, SmtpListener, TlsMode};
use crate::generation::Generation;
use crate::inbound::gate::{Limits as Places, known_networks};
use crate::tls;

/// The longest wait for the first command of a connection.
const FIRST_COMMAND_MAX: Duration = Duration::from_secs(60);
/// How long a message may be slower than the minimum rate.
const DATA_RATE_GRACE: Duration = Duration::from_secs(10);

/// A listener in one generation.
pub(super) struct Settings {
    /// The door.
    pub(super) name: Name,
    /// The number of the generation they are from.
    generation: u64,
    /// The listener as configured.
    pub(super) listener: SmtpListener,
    /// The same for the protocol's sessions.
    pub(super) server: Arc<ServerConfig>,
    /// Where TLS is spoken.
    pub(super) tls: Option<TlsAcceptor>,
    /// Networks that `allow` names.
    known: Vec<Network>,
}

impl Settings {
    /// The settings of this door in the generation; `last` if nothing changed, or if they cannot be
    /// used. None if there never were any.
    pub(super) fn of(
        generation: &Generation,
        name: &Name,
        last: Option<Arc<Self>>,
    ) -> Option<Arc<Self>> {
        if last.as_ref().is_some_and(|last| last.generation == generation.number) {
            return last;
        }
        let config = &generation.config;
        let entry = config.listeners.get(name);
        let known = entry.map(|listener| known_networks(config, listener)).unwrap_or_default();
        let Some(ListenerKind::Smtp(listener)) = entry.map(|entry| &entry.kind) else {
            tracing::error!(
                event = "smtp.settings",
                door = &**name,
                "no longer configured: restart"
            );
            return last;
        };
        match tls_acceptor(listener) {
            Ok(tls) => Some(Arc::new(Self {
                name: Arc::clone(name),
                generation: generation.number,
                listener: listener.clone(),
                server: Arc::new(server_config(config, listener)),
                tls,
                known,
            })),
            Err(error) => {
                tracing::error!(event = "smtp.tls", door = &**name, %error);
                last
            }
        }
    }

    /// How many connections may come in.
    pub(super) fn limits(&self) -> Places {
        Places {
            max: self.listener.connections_max,
            of_site_max: self.listener.connections_per_ip_max,
            has_known: !self.known.is_empty(),
        }
    }

    /// Whether a network that `allow` names has this address.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.known.iter().any(|network| network.contains(address))
    }

    /// Whether TLS begins with the first octet.
    pub(super) fn is_tls_implicit(&self) -> bool {
        self.listener.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Implicit)
    }
}

fn tls_acceptor(listener: &SmtpListener) -> Result<Option<TlsAcceptor>, tls::TlsError> {
    listener.tls.as_ref().map(|tls| Ok(TlsAcceptor::from(tls::server(tls)?))).transpose()
}

fn server_config(config: &Config, listener: &SmtpListener) -> ServerConfig {
    let starttls = match &listener.tls {
        Some(tls) if tls.mode == TlsMode::Starttls && tls.required => StartTls::Required,
        Some(tls) if tls.mode == TlsMode::Starttls => StartTls::Offered,
        _ => StartTls::Off,
    };
    let may_auth = |name: &Name| listener.accounts.as_ref().is_none_or(|list| list.contains(name));
    let anyone =
        config.accounts.iter().any(|(name, account)| account.smtp.is_some() && may_auth(name));
    let auth = match (anyone, listener.auth_without_tls) {
        (false, _) => Auth::Off,
        (true, false) => Auth::OverTls,
        (true, true) => Auth::Always,
    };
    ServerConfig {
        greeting: listener.banner.to_string(),
        extensions: Extensions { starttls, auth, ..Extensions::default() },
        limits: limits(listener),
        timeouts: timeouts(listener),
        bare_newline: match listener.bare_newlines {
            BareNewlines::Refuse => BareNewline::Refuse,
            BareNewlines::Normalize => BareNewline::Normalize,
        },
        ..ServerConfig::new(&*listener.hostname)
    }
}

fn limits(listener: &SmtpListener) -> Limits {
    Limits {
        message_bytes_max: listener.size_bytes_max,
        recipients_max: usize::try_from(listener.recipients_max).unwrap_or(usize::MAX),
        messages_max: listener.messages_per_connection_max,
        errors_before_tarpit: listener.errors_max / 2,
        tarpit_delay: listener.tarpit,
        errors_max: listener.errors_max,
        ..Limits::default()
    }
}

fn timeouts(listener: &SmtpListener) -> Timeouts {
    let configured = &listener.timeouts;
    Timeouts {
        greeting: configured.command.min(FIRST_COMMAND_MAX),
        command: configured.command,
        data_block: configured.data_block,
        data: configured.data_total,
        session: configured.session,
        data_rate_min: listener.data_min_rate_bytes,
        data_rate_grace: DATA_RATE_GRACE,
    }
}
