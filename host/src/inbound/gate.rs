//! How many connections may come in, from where, and how patient we are with those of strangers.
//!
//! A connection has its place from the moment it is accepted, before a balancer's header, a
//! handshake or any other octet. A *stranger* is in no network that `allow` names and has not logged
//! in: some places are not for strangers, and when places run out, strangers get seconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::site::Site;
use crate::config::{Config, Listener, ListenerKind, Name, Network};
use crate::platform::signal::{Listening, Signal};

/// How long a TLS handshake, or a PROXY header, may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The same while it is crowded.
const HANDSHAKE_WITHIN_CROWDED: Duration = Duration::from_secs(3);
/// How long a stranger may be silent while it is crowded.
pub(super) const SILENCE_CROWDED: Duration = Duration::from_secs(10);
/// One place of so many is kept for networks that `allow` names, if it names any.
const RESERVED_SHARE: u32 = 10;
/// It becomes crowded when so many of ten places are taken.
const CROWDED_TENTHS: u64 = 8;
/// It stops being crowded when fewer than so many of ten places are taken.
const CALM_TENTHS: u64 = 6;

/// The gates of all listeners.
#[derive(Debug, Default)]
pub struct Gates {
    gates: Mutex<BTreeMap<Name, Arc<Gate>>>,
}

/// The places of one listener, at all its sockets.
#[derive(Debug)]
pub(super) struct Gate {
    name: Name,
    places: Mutex<Places>,
    /// Tells connections that it has become crowded, or is no longer.
    turns: Signal,
}

#[derive(Debug, Default)]
struct Places {
    all: u32,
    strangers: u32,
    by_site: BTreeMap<Site, u32>,
    is_crowded: bool,
    turns: u64,
    limits: Limits,
}

/// Places by the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// In all.
    pub(super) max: u32,
    /// Of one site.
    pub(super) of_site_max: u32,
    /// Whether some are kept for those whom we know.
    pub(super) has_known: bool,
}

/// Connections of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// All of them.
    pub connections: u32,
    /// Those of strangers.
    pub strangers: u32,
    /// Whether places run out.
    pub is_crowded: bool,
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    limits: Limits,
    site: Option<Site>,
    is_stranger: bool,
    turns: Listening,
}

impl Gates {
    /// The gate of a listener.
    pub(super) fn of(&self, name: &Name) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(Arc::clone(name)).or_insert_with(|| Arc::new(Gate::new(name))))
    }

    /// Who is there, by listener.
    #[must_use]
    pub fn crowds(&self) -> Vec<(Name, Crowd)> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().map(|(name, gate)| (Arc::clone(name), gate.crowd())).collect()
    }
}

impl Gate {
    fn new(name: &Name) -> Self {
        Self { name: Arc::clone(name), places: Mutex::default(), turns: Signal::new(0) }
    }

    /// Gives a connection its place, if there is any; [`Pass::is_admitted`] decides once its peer is known.
    pub(super) fn enter(self: &Arc<Self>, limits: Limits) -> Option<Pass> {
        let turns = self.turns.listen();
        let mut places = self.lock();
        places.limits = limits;
        if places.all >= limits.max {
            return None;
        }
        places.all += 1;
        places.strangers += 1;
        self.turn(&mut places);
        drop(places);
        Some(Pass { gate: Arc::clone(self), limits, site: None, is_stranger: true, turns })
    }

    fn crowd(&self) -> Crowd {
        let Places { all, strangers, is_crowded, .. } = *self.lock();
        Crowd { connections: all, strangers, is_crowded }
    }

    /// Notes whether it is crowded now, and says so once.
    fn turn(&self, places: &mut Places) {
        let Places { all, strangers, is_crowded, limits, .. } = *places;
        let tenths = if is_crowded { CALM_TENTHS } else { CROWDED_TENTHS };
        let full = |taken: u32, max: u32| u64::from(taken) * 10 >= (u64::from(max) * tenths).max(1);
        let now = full(all, limits.max) || full(strangers, limits.for_strangers());
        if now == is_crowded {
            return;
        }
        places.is_crowded = now;
        places.turns += 1;
        self.turns.set(places.turns);
        if now {
            tracing::warn!(
                event = "door.crowded",
                door = &*self.name,
                connections = all,
                strangers,
                "connections before a login get seconds"
            );
        } else {
            tracing::info!(event = "door.calm", door = &*self.name, connections = all, strangers);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    /// How many places strangers may take.
    fn for_strangers(self) -> u32 {
        let is_shared = self.has_known && self.max > 1;
        self.max - if is_shared { self.max.div_ceil(RESERVED_SHARE) } else { 0 }
    }
}

impl Pass {
    /// Whether the connection may stay, now that it is known whose it is. Asked once.
    pub(super) fn is_admitted(&mut self, address: IpAddr, is_known: bool) -> bool {
        let site = Site::of(address);
        let mut places = self.gate.lock();
        let of_site = places.by_site.get(&site).copied().unwrap_or(0);
        let has_room = is_known || places.strangers <= self.limits.for_strangers();
        if of_site >= self.limits.of_site_max || !has_room {
            return false;
        }
        places.by_site.insert(site, of_site + 1);
        drop(places);
        self.site = Some(site);
        if is_known {
            self.know();
        }
        true
    }

    /// Who is there has logged in, or is in a network that we know: no stranger any more.
    pub(super) fn know(&mut self) {
        if std::mem::take(&mut self.is_stranger) {
            let mut places = self.gate.lock();
            places.strangers = places.strangers.saturating_sub(1);
            self.gate.turn(&mut places);
        }
    }

    /// Whether it is a stranger's while places run out.
    pub(super) fn is_hurried(&self) -> bool {
        self.is_stranger && self.gate.lock().is_crowded
    }

    /// How long a handshake may take now.
    pub(super) fn handshake_within(&self) -> Duration {
        if self.is_hurried() { HANDSHAKE_WITHIN_CROWDED } else { HANDSHAKE_WITHIN }
    }

    /// Waits until it is crowded, or no longer. Cancel safe.
    pub(super) async fn turned(&mut self) {
        self.turns.changed().await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut places = self.gate.lock();
        places.all = places.all.saturating_sub(1);
        places.strangers = places.strangers.saturating_sub(u32::from(self.is_stranger));
        if let Some(site) = self.site
            && let Some(of_site) = places.by_site.get_mut(&site)
        {
            *of_site = of_site.saturating_sub(1);
            if *of_site == 0 {
                places.by_site.remove(&site);
            }
        }
        self.gate.turn(&mut places);
    }
}

/// The networks that `allow` names, of a listener and of the accounts that may log in there. One that
/// is everybody names nobody.
pub(super) fn known_networks(config: &Config, listener: &Listener) -> Vec<Network> {
    let (own, names): (&[Network], _) = match &listener.kind {
        ListenerKind::Smtp(smtp) => (&smtp.allow, &smtp.accounts),
        ListenerKind::Smpp(smpp) => (&[], &smpp.accounts),
    };
    let here = |name: &Name| names.as_ref().is_none_or(|names| names.contains(name));
    let of_accounts = config.accounts.iter().filter(|(name, _)| here(name)).map(|(_, account)| {
        match listener.kind {
            ListenerKind::Smtp(_) => account.smtp.as_ref().map(|smtp| &smtp.allow[..]),
            ListenerKind::Smpp(_) => account.smpp.as_ref().map(|smpp| &smpp.allow[..]),
        }
        .unwrap_or_default()
    });
    let lists = std::iter::once(own).chain(of_accounts);
    let lists = lists.filter(|networks| !Network::are_everything(networks));
    lists.flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn gate() -> Arc<Gate> {
        Gates::default().of(&"mail".into())
    }

    fn limits(max: u32, of_site_max: u32, has_known: bool) -> Limits {
        Limits { max, of_site_max, has_known }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// So many of these sites come in, one after the other; whether each may.
    fn come(gate: &Arc<Gate>, limits: Limits, sites: &[(u8, bool)]) -> Vec<Option<Pass>> {
        let enter = |(site, is_known): &(u8, bool)| {
            let mut pass = gate.enter(limits)?;
            pass.is_admitted(address(*site), *is_known).then_some(pass)
        };
        sites.iter().map(enter).collect()
    }

    #[track_caller]
    fn check(limits: Limits, sites: &[(u8, bool)], expect: &str) {
        let passes = come(&gate(), limits, sites);
        let found: String =
            passes.iter().map(|pass| if pass.is_some() { 'y' } else { 'n' }).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn connections_are_counted_by_site_and_in_all() {
        let (a, b, c) = ((1, false), (2, false), (3, false));
        check(limits(3, 2, false), &[a, a, a, b, b], "yynyn");
        check(limits(3, 9, false), &[a, b, c, a], "yyyn");
    }

    #[test]
    fn some_places_are_not_for_strangers() {
        let (stranger, known) = ((1, false), (2, true));
        let sites = [&[stranger; 10][..], &[known; 2]].concat();
        check(limits(10, 99, true), &sites, "yyyyyyyyynyn");
        let sites = [&[known; 9][..], &[stranger, known]].concat();
        check(limits(10, 99, true), &sites, "yyyyyyyyyyn");
        check(limits(10, 99, false), &[stranger; 11], "yyyyyyyyyyn");
        check(limits(3, 99, true), &[stranger, stranger, stranger, known, known], "yynyn");
        check(limits(1, 99, true), &[stranger, known], "yn");
    }

    #[test]
    fn a_place_is_free_when_its_connection_ends_and_a_login_makes_room_for_strangers() {
        let (gate, limits) = (gate(), limits(10, 99, true));
        let mut passes = come(&gate, limits, &[(1, false); 9]);
        assert!(come(&gate, limits, &[(1, false)])[0].is_none());
        passes[0].as_mut().unwrap().know();
        let more = come(&gate, limits, &[(1, false)]);
        assert!(more[0].is_some());
        assert_eq!(gate.crowd().connections, 10);
        drop((passes, more));
        let nobody = Crowd { connections: 0, strangers: 0, is_crowded: false };
        assert_eq!(gate.crowd(), nobody);
        assert!(gate.lock().by_site.is_empty());
    }

    #[test]
    fn a_connection_counts_before_it_is_known_whose_it_is() {
        let (gate, limits) = (gate(), limits(2, 9, false));
        let nameless = (gate.enter(limits), gate.enter(limits));
        assert!(gate.enter(limits).is_none());
        drop(nameless);
        assert!(gate.enter(limits).is_some());
    }

    #[test]
    fn it_is_crowded_from_eight_tenths_until_below_six() {
        let (gate, limits) = (gate(), limits(10, 99, false));
        let mut passes = come(&gate, limits, &[(1, false); 7]);
        assert!(!gate.crowd().is_crowded);
        passes.extend(come(&gate, limits, &[(1, false)]));
        let first = passes[0].as_mut().unwrap();
        assert_eq!(first.turned().now_or_never(), Some(()));
        assert!(first.is_hurried());
        assert_eq!(first.handshake_within(), HANDSHAKE_WITHIN_CROWDED);
        passes.truncate(6);
        assert!(gate.crowd().is_crowded);
        passes[0].as_mut().unwrap().know();
        assert!(!passes[0].as_ref().unwrap().is_hurried(), "no stranger any more");
        passes.truncate(5);
        assert!(!gate.crowd().is_crowded);
    }
}
