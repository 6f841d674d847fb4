//! Binding to a router or an SMSC from the command line.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use smpp::pdu::{Bind, BindMode};
use smpp::session::{Config, Role, WINDOW_MAX};
use smpp::{Event, InterfaceVersion, Octets, Session};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sms::link::{Link, Step, now};

/// Time to connect and bind.
const BIND_WITHIN: Duration = Duration::from_secs(10);

/// Who we are.
#[derive(Args, Clone, Debug)]
pub struct Credentials {
    /// system_id of the bind
    #[arg(long, default_value = "test")]
    pub system_id: String,
    /// Password of the bind
    #[arg(long, default_value = "test")]
    pub password: String,
    /// system_type of the bind
    #[arg(long, default_value = "")]
    pub system_type: String,
}

/// Connects to `target` (host:port) and binds as a transceiver.
///
/// # Errors
/// If nobody listens there or the bind is refused.
pub async fn bind(
    target: &str,
    credentials: &Credentials,
    window: usize,
    response: Duration,
) -> anyhow::Result<Link<TcpStream>> {
    let socket = timeout(BIND_WITHIN, TcpStream::connect(target))
        .await
        .with_context(|| format!("{target} does not answer"))?
        .with_context(|| format!("cannot connect to {target}"))?;
    socket.set_nodelay(true)?;
    let config = Config {
        window: window.clamp(1, WINDOW_MAX),
        response,
        long_credentials: true,
        session_init: BIND_WITHIN,
        ..Config::new(Role::Esme)
    };
    let mut session = Session::new(config, now());
    let octets = |text: &str| Octets::from_text(text).context("only Latin-1 can be sent");
    let bind = Bind {
        mode: BindMode::Transceiver,
        system_id: octets(&credentials.system_id)?,
        password: octets(&credentials.password)?,
        system_type: octets(&credentials.system_type)?,
        interface_version: InterfaceVersion::V34,
        ..Bind::default()
    };
    session.bind(now(), bind)?;
    let mut link = Link::new(socket, session);
    loop {
        match link.session.poll_event() {
            Some(Event::Bound { .. }) => return Ok(link),
            Some(Event::BindRefused { status }) => bail!("{target} refuses the bind: {status}"),
            Some(Event::LinkDead(dead)) => bail!("{target}: {dead}"),
            Some(Event::FramingLost(lost)) => bail!("{target} does not speak SMPP: {lost}"),
            Some(_) => {}
            None => {
                if link.step(true, None).await? == Step::Gone {
                    bail!("{target} has closed the connection before the bind was answered");
                }
            }
        }
    }
}
