//! What strangers could reach or read: passwords in the clear on public addresses, keys and
//! configurations that others on the machine may read or change. Warnings; nothing here is an error.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::check::Check;
use super::scalar::Name;
use super::section::Section;
use super::yaml::Place;
use super::{Account, Config, ListenerKind, SmppCredentials};

const READABLE_BY_OTHERS: u32 = 0o004;
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// Listeners on public addresses by which passwords can go in the clear.
pub(super) fn check_listeners(check: &mut Check, top: &Section<'_>, config: &Config) {
    for (name, place) in top.named_quietly("listeners") {
        let Some(listener) = config.listeners.get(&name) else { continue };
        match &listener.kind {
            ListenerKind::Smtp(smtp) => {
                let Some(public) = public(&smtp.bind) else { continue };
                if smtp.auth_without_tls && takes_smtp_passwords(config, &smtp.accounts) {
                    check.warning(
                        place,
                        format!("listeners.{name} takes passwords without TLS on {public}"),
                        "leave auth_without_tls out: AUTH is offered under TLS then",
                    );
                }
            }
            ListenerKind::Smpp(smpp) => {
                let Some(public) = public(&smpp.bind) else { continue };
                if smpp.tls.is_some() {
                    continue;
                }
                if let Some(account) = bound_from_anywhere(config, &smpp.accounts) {
                    check.warning(
                        place,
                        format!(
                            "listeners.{name} takes the password of {account} without TLS on {public}, from anywhere"
                        ),
                        format!(
                            "add tls to the listener, or allow, with the networks of the peer, to accounts.{account}.smpp"
                        ),
                    );
                }
            }
        }
    }
}

/// A file with a private key.
pub(super) fn check_key(check: &mut Check, place: Place, file: &Path) {
    if !check.options.environment {
        return;
    }
    let Some(mode) = mode(file) else { return };
    let shown = file.display();
    if mode & READABLE_BY_OTHERS != 0 {
        check.warning(
            place,
            format!("everybody on this machine can read the private key {shown}"),
            format!("chmod o-rwx {shown}"),
        );
    }
    check_writable(check, place, file);
}

/// A file that decides what the router does.
pub(super) fn check_writable(check: &mut Check, place: Place, file: &Path) {
    let Some(mode) = mode(file) else { return };
    if mode & WRITABLE_BY_OTHERS != 0 {
        let shown = file.display();
        check.warning(
            place,
            format!("everybody on this machine can change {shown}"),
            format!("chmod o-w {shown}"),
        );
    }
}

/// The mode of a regular file; that of what a link leads to.
fn mode(file: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(file).ok()?;
    metadata.is_file().then(|| metadata.mode())
}

fn takes_smtp_passwords(config: &Config, named: &Option<Vec<Name>>) -> bool {
    accounts(config, named).any(|account| account.smtp.is_some())
}

fn bound_from_anywhere(config: &Config, named: &Option<Vec<Name>>) -> Option<Name> {
    let is_open = |smpp: &SmppCredentials| smpp.allow.is_empty();
    let mut all = accounts(config, named);
    all.find(|account| account.smpp.as_ref().is_some_and(is_open)).map(|it| Name::clone(&it.name))
}

/// Those that may come in by a listener: the named ones, or all.
fn accounts<'c>(
    config: &'c Config,
    named: &'c Option<Vec<Name>>,
) -> impl Iterator<Item = &'c Account> {
    let is_named = move |name: &Name| named.as_ref().is_none_or(|named| named.contains(name));
    config.accounts.values().map(|it| &**it).filter(move |account| is_named(&account.name))
}

/// The first that hosts beyond our own networks may reach.
fn public(sockets: &[SocketAddr]) -> Option<SocketAddr> {
    sockets.iter().copied().find(|socket| is_public(socket.ip()))
}

/// Neither this machine, nor a private network (RFC 1918, RFC 4193), nor the link (RFC 3927, RFC 4291).
/// An unspecified address is every address that the machine has.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_private() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}
