//! Connecting to an SMSC and binding.

use std::io;

use smpp::pdu::{Bind, BindMode, EncodeError};
use smpp::session::{Config, Dead, RequestError, Role, TlvPolicy};
use smpp::{Event, Octets, Session, Status};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{BindType, SmppConnector, Tlvs};
use crate::platform::clock::Clock;
use crate::platform::net::Net;
use crate::sms::link::{Link, Step};
use crate::sms::version;
use crate::tls;
use crate::wire::Socket;

/// Why there is no bind.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// No connection.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not in time.
    #[error("no bind within the connect timeout")]
    Timeout,
    /// TLS files.
    #[error("{0}")]
    Tls(#[from] tls::TlsError),
    /// The SMSC said no.
    #[error("the SMSC refuses the bind: {0}")]
    Refused(Status),
    /// The connection ended before an answer.
    #[error("the SMSC has closed the connection instead of answering the bind")]
    Closed,
    /// No SMPP, or no answer.
    #[error("{0}")]
    Dead(#[from] Dead),
    /// Something that the bind would contain has no octets.
    #[error("the credentials cannot be written: {0}")]
    Credentials(String),
}

/// Connects and binds.
pub(super) async fn connect(
    net: &Net,
    clock: &Clock,
    settings: &SmppConnector,
) -> Result<Link<Box<dyn Socket>>, ConnectError> {
    timeout(settings.connect_timeout, async {
        let socket = open(net, settings).await?;
        bind(clock, settings, socket).await
    })
    .await
    .unwrap_or(Err(ConnectError::Timeout))
}

async fn open(net: &Net, settings: &SmppConnector) -> Result<Box<dyn Socket>, ConnectError> {
    let tcp = net.connect_name(&settings.host, settings.port).await?;
    let Some(files) = &settings.tls else { return Ok(Box::new(tcp)) };
    let config = tls::client(files, true)?;
    let name = tls::server_name(files, &settings.host)?;
    Ok(Box::new(TlsConnector::from(config).connect(name, tcp).await?))
}

async fn bind(
    clock: &Clock,
    settings: &SmppConnector,
    socket: Box<dyn Socket>,
) -> Result<Link<Box<dyn Socket>>, ConnectError> {
    let config = Config {
        version: version(settings.version),
        tlvs: match settings.tlvs {
            Tlvs::Auto => TlvPolicy::Auto,
            Tlvs::Always => TlvPolicy::Always,
            Tlvs::Never => TlvPolicy::Never,
        },
        // An operator's SMSC may hand out longer names and passwords than the standard knows.
        long_credentials: true,
        window: usize::from(settings.window),
        session_init: settings.connect_timeout,
        enquire_link: settings.enquire_link,
        response: settings.response_timeout,
        ..Config::new(Role::Esme)
    };
    let mut session = Session::new(config, clock.instant());
    session.bind(clock.instant(), request(settings)?).map_err(|error| match error {
        RequestError::Encode(error) => ConnectError::Credentials(EncodeError::to_string(&error)),
        other => ConnectError::Credentials(other.to_string()),
    })?;
    let mut link = Link::new(socket, session);
    loop {
        match link.session.poll_event() {
            Some(Event::Bound { .. }) => return Ok(link),
            Some(Event::BindRefused { status }) => return Err(ConnectError::Refused(status)),
            Some(Event::LinkDead(dead)) => return Err(dead.into()),
            Some(Event::FramingLost(lost)) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, lost).into());
            }
            Some(_) => {}
            None => {
                if link.step(true, None).await? == Step::Gone {
                    return Err(ConnectError::Closed);
                }
            }
        }
    }
}

fn request(settings: &SmppConnector) -> Result<Bind, ConnectError> {
    let octets = |field: &str, text: &str| {
        Octets::from_text(text)
            .map_err(|error| ConnectError::Credentials(format!("{field}: {error}")))
    };
    Ok(Bind {
        mode: match settings.bind {
            BindType::Transmitter => BindMode::Transmitter,
            BindType::Receiver => BindMode::Receiver,
            BindType::Transceiver => BindMode::Transceiver,
        },
        system_id: octets("system_id", &settings.system_id)?,
        password: octets("password", settings.password.reveal())?,
        system_type: octets("system_type", &settings.system_type)?,
        interface_version: version(settings.version),
        address_range: octets("address_range", &settings.address_range)?,
        ..Bind::default()
    })
}
