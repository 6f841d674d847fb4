//! Connections from other addresses of the loopback network, and binds written by hand.

use std::net::SocketAddr;
use std::time::Duration;

use smpp::pdu::{Bind, BindMode, Dialect, encode};
use smpp::{InterfaceVersion, Octets, Pdu, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// Connects from an address such as `127.0.0.7`.
pub async fn connect(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    let stream = socket.connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Everything that comes until the peer closes or cuts.
pub async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = socket.read(&mut piece).await {
            octets.extend_from_slice(&piece[..read]);
        }
    };
    timeout(DEADLINE, reading).await.expect("the peer closes in time");
    octets
}

/// Whether the peer has closed or cut by then.
pub async fn is_closed(socket: &mut TcpStream, within: Duration) -> bool {
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(1..) = socket.read(&mut piece).await {}
    };
    timeout(within, reading).await.is_ok()
}

/// A bind as it goes over the wire.
#[must_use]
pub fn bind(system_id: &str, password: &str) -> Vec<u8> {
    let bind = Bind {
        mode: BindMode::Transceiver,
        system_id: Octets::from_text(system_id).unwrap(),
        password: Octets::from_text(password).unwrap(),
        interface_version: InterfaceVersion::V34,
        ..Bind::default()
    };
    frame(&Pdu::Bind(bind), 1)
}

/// A PDU as it goes over the wire, with fields as long as one likes.
#[must_use]
pub fn frame(pdu: &Pdu, sequence: u32) -> Vec<u8> {
    let dialect = Dialect { long_fields: true, ..Dialect::default() };
    let mut octets = bytes::BytesMut::new();
    encode(pdu, sequence, Status::ROK, &dialect, &mut octets).unwrap();
    octets.to_vec()
}

/// The status of the next answer.
pub async fn answer(socket: &mut TcpStream) -> Option<Status> {
    let mut head = [0; 16];
    timeout(DEADLINE, socket.read_exact(&mut head)).await.expect("an answer in time").ok()?;
    let octets = u32::from_be_bytes(*head.first_chunk()?);
    let mut body = vec![0; usize::try_from(octets).ok()?.saturating_sub(head.len())];
    socket.read_exact(&mut body).await.ok()?;
    Some(Status(u32::from_be_bytes(*head[8..].first_chunk()?)))
}

/// The status of the answer to a bind from this address; `None` if there is no answer.
pub async fn try_bind(
    source: &str,
    address: SocketAddr,
    system_id: &str,
    password: &str,
) -> Option<Status> {
    let mut socket = connect(source, address).await;
    socket.write_all(&bind(system_id, password)).await.ok()?;
    answer(&mut socket).await
}
