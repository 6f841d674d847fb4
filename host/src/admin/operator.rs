//! Who is at the other end of the control socket, and what for.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use serde::Deserialize;
use tokio::net::UnixListener;

use crate::router::Mandate;

/// What `/proc/PID/loginuid` says of a process that nobody logged in for.
const NO_LOGIN: u32 = u32::MAX;

/// The user behind a connection, as the kernel knows it: "root", or "alice as root" for one that
/// logged in under another name (sudo, su).
#[derive(Clone, Debug)]
pub(super) struct Operator(Arc<str>);

impl Connected<IncomingStream<'_, UnixListener>> for Operator {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let Ok(peer) = stream.io().peer_cred() else { return Self("somebody".into()) };
        let login = peer.pid().and_then(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
            text.trim().parse().ok()
        });
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self(in_words(&users, peer.uid(), login.unwrap_or(NO_LOGIN)).into())
    }
}

fn in_words(users: &str, uid: u32, login: u32) -> String {
    if login == NO_LOGIN || login == uid {
        return name(users, uid);
    }
    format!("{} as {}", name(users, login), name(users, uid))
}

/// The name of a user by the lines of `/etc/passwd` (passwd(5)), or its number.
fn name(users: &str, uid: u32) -> String {
    let mut users = users.lines().map(|line| line.split(':'));
    let found = users.find_map(|mut fields| {
        let name = fields.next()?;
        let id = fields.nth(1)?;
        (id.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("uid {uid}"))
}

#[derive(Debug, Default, Deserialize)]
struct Given {
    #[serde(default)]
    why: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Mandate {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let given = Query::<Given>::try_from_uri(&parts.uri).map(|Query(given)| given);
        let why = given.map(|given| given.why).unwrap_or_default();
        let why = if why.is_empty() { "no reason given" } else { &*why };
        let who = parts.extensions.get::<ConnectInfo<Operator>>();
        let by = who.map_or_else(Arc::default, |ConnectInfo(Operator(by))| Arc::clone(by));
        Ok(Self { why: why.into(), by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";

    #[track_caller]
    fn check(uid: u32, login: u32, expect: &str) {
        assert_eq!(in_words(USERS, uid, login), expect);
    }

    #[test]
    fn an_operator_is_named_as_the_one_who_logged_in() {
        check(0, NO_LOGIN, "root");
        check(0, 0, "root");
        check(0, 1000, "alice as root");
        check(1000, NO_LOGIN, "alice");
        check(4711, 4712, "uid 4712 as uid 4711");
    }
}
