//! What a listener's configuration means for its sessions.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::config::{ListenerKind, Name, Network, SmppListener};
use crate::generation::Generation;
use crate::inbound::gate::{Limits, known_networks};
use crate::tls;

/// A listener as it was when a connection came. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) name: Name,
    pub(super) settings: Arc<SmppListener>,
    /// How TLS is spoken, if it is.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Networks that `allow` names.
    known: Arc<[Network]>,
    /// The number of the generation that this is from.
    generation: u64,
}

impl Door {
    /// The door in this generation; `last` if nothing changed, or if it cannot be used. None if there
    /// never was any.
    pub(super) fn of(generation: &Generation, name: &Name, last: Option<Self>) -> Option<Self> {
        if last.as_ref().is_some_and(|last| last.generation == generation.number) {
            return last;
        }
        let listener = generation.config.listeners.get(name);
        let Some(listener) = listener else { return unusable(name, last) };
        let ListenerKind::Smpp(settings) = &listener.kind else { return unusable(name, last) };
        let tls = match settings.tls.as_ref().map(tls::server).transpose() {
            Ok(tls) => tls,
            Err(error) => {
                tracing::error!(event = "smpp.tls", listener = &**name, %error);
                return last;
            }
        };
        Some(Self {
            name: Arc::clone(name),
            settings: Arc::new(settings.clone()),
            tls,
            known: known_networks(&generation.config, listener).into(),
            generation: generation.number,
        })
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            max: self.settings.connections_max,
            of_site_max: self.settings.connections_per_ip_max,
            has_known: !self.known.is_empty(),
        }
    }

    /// Whether a network that `allow` names has this address.
    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.known.iter().any(|network| network.contains(address))
    }
}

fn unusable(name: &Name, last: Option<Door>) -> Option<Door> {
    tracing::error!(event = "smpp.settings", listener = &**name, "no longer configured: restart");
    last
}
