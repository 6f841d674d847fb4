//! Who may bind, and what an ESME is told that may not.

use std::net::SocketAddr;
use std::sync::Arc;

use smpp::Status;
use smpp::pdu::{Bind, BindMode};
use subtle::ConstantTimeEq;

use super::door::Door;
use crate::config::{Account, BindType, Config, SmppCredentials};

/// What a bind says, compared with the accounts.
pub(super) struct Looked {
    /// Whose name, password and address are right; otherwise what to answer, and why for the log.
    pub(super) account: Result<Arc<Account>, Refused>,
    /// The account with this name has a network in its `allow` that the peer is in.
    pub(super) is_allowed: bool,
}

/// The status of the answer, and the reason for the log.
pub(super) type Refused = (Status, &'static str);

/// Looks at a name and a password.
pub(super) fn look(config: &Config, door: &Door, peer: SocketAddr, bind: &Bind) -> Looked {
    let hide = door.settings.hide_auth_cause;
    let told = |status: Status| if hide { Status::RBINDFAIL } else { status };
    let system_id = bind.system_id.to_text();
    let known = config.accounts.values().find_map(|account| {
        let smpp = account.smpp.as_ref()?;
        let here = door.settings.accounts.as_ref().is_none_or(|here| here.contains(&account.name));
        (here && *smpp.system_id == *system_id).then_some((account, smpp))
    });
    let Some((account, smpp)) = known else {
        let account = Err((told(Status::RINVSYSID), "no account has this system_id"));
        return Looked { account, is_allowed: false };
    };
    let is_allowed = smpp.allow.iter().any(|network| network.contains(peer.ip()));
    let given = bind.password.to_text();
    let account = if !bool::from(smpp.password.reveal().as_bytes().ct_eq(given.as_bytes())) {
        Err((told(Status::RINVPASWD), "wrong password"))
    } else if is_allowed || smpp.allow.is_empty() {
        Ok(Arc::clone(account))
    } else {
        Err((Status::RBINDFAIL, "its address may not use this account"))
    };
    Looked { account, is_allowed }
}

impl Looked {
    /// The account, if it may bind in this mode.
    ///
    /// # Errors
    /// What to answer, and why for the log.
    pub(super) fn admit(self, bind: &Bind) -> Result<Arc<Account>, Refused> {
        let account = self.account?;
        let may = account
            .smpp
            .as_ref()
            .is_some_and(|smpp| smpp.bind_types.contains(&bind_type(bind.mode)));
        if may {
            Ok(account)
        } else {
            Err((Status::RBINDFAIL, "the account may not bind in this mode"))
        }
    }
}

/// Whether a session may go on under a new configuration.
pub(super) fn still_admitted(now: &Config, before: &Account, peer: SocketAddr) -> bool {
    let (Some(account), Some(old)) = (now.accounts.get(&before.name), before.smpp.as_ref()) else {
        return false;
    };
    account.smpp.as_ref().is_some_and(|new| {
        new.system_id == old.system_id && new.password == old.password && is_allowed(new, peer)
    })
}

fn is_allowed(smpp: &SmppCredentials, peer: SocketAddr) -> bool {
    smpp.allow.is_empty() || smpp.allow.iter().any(|network| network.contains(peer.ip()))
}

const fn bind_type(mode: BindMode) -> BindType {
    match mode {
        BindMode::Receiver => BindType::Receiver,
        BindMode::Transmitter => BindType::Transmitter,
        BindMode::Transceiver => BindType::Transceiver,
    }
}
