//! The PROXY protocol, versions 1 and 2: who a listed load balancer speaks for.
//!
//! The header is read octet by octet where its length is not known yet, so that nothing of what
//! follows it is taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line of version 1, CRLF included.
const LINE_OCTETS_MAX: usize = 107;
/// The longest address block of version 2 that is read.
const BLOCK_OCTETS_MAX: usize = 4096;
/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header. `None` if the balancer speaks for itself (health checks) or for a peer that
/// has no IP address.
///
/// # Errors
/// The socket's, or `InvalidData` if there is no header: the connection must be closed.
pub async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 12];
    socket.read_exact(&mut head).await?;
    if head == SIGNATURE {
        return read_block(socket).await;
    }
    let mut line = head.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_OCTETS_MAX || !line.starts_with(b"PROXY ") {
            return Err(no_header());
        }
        line.push(socket.read_u8().await?);
    }
    parse_line(&line).ok_or_else(no_header)
}

async fn read_block<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Option<SocketAddr>> {
    let command = socket.read_u8().await?;
    let family = socket.read_u8().await?;
    let len = usize::from(socket.read_u16().await?);
    if command >> 4 != 2 || len > BLOCK_OCTETS_MAX {
        return Err(no_header());
    }
    let mut block = vec![0; len];
    socket.read_exact(&mut block).await?;
    match (command & 0x0F, family) {
        (0, _) => Ok(None),
        (1, 0x11) => v4(&block).ok_or_else(no_header).map(Some),
        (1, 0x21) => v6(&block).ok_or_else(no_header).map(Some),
        (1, _) => Ok(None),
        _ => Err(no_header()),
    }
}

/// The inner `None` is a peer without an address, the outer one no header.
fn parse_line(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ');
    if words.next()? != "PROXY" {
        return None;
    }
    match words.next()? {
        "UNKNOWN" => return Some(None),
        "TCP4" | "TCP6" => {}
        _ => return None,
    }
    let address: IpAddr = words.next()?.parse().ok()?;
    words.next()?.parse::<IpAddr>().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    words.next()?.parse::<u16>().ok()?;
    words.next().is_none().then_some(Some(SocketAddr::new(address, port)))
}

fn v4(block: &[u8]) -> Option<SocketAddr> {
    let address = Ipv4Addr::from(*block.first_chunk::<4>()?);
    let port = u16::from_be_bytes(*block.get(8..)?.first_chunk::<2>()?);
    Some(SocketAddr::new(address.into(), port))
}

fn v6(block: &[u8]) -> Option<SocketAddr> {
    let address = Ipv6Addr::from(*block.first_chunk::<16>()?);
    let port = u16::from_be_bytes(*block.get(32..)?.first_chunk::<2>()?);
    Some(SocketAddr::new(address.into(), port))
}

fn no_header() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY protocol header")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the header; `None` is an error. What follows it must still be there.
    #[track_caller]
    fn check(header: &[u8], expect: Option<Option<&str>>) {
        let octets = [header, b"rest"].concat();
        let mut rest = &octets[..];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(read(&mut rest)).ok();
        let expect = expect.map(|address| address.map(|text| text.parse::<SocketAddr>().unwrap()));
        assert_eq!(read, expect, "{}", String::from_utf8_lossy(header));
        if read.is_some() {
            assert_eq!(rest, b"rest");
        }
    }

    #[test]
    fn both_versions_are_read_to_their_end_and_no_further() {
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4242 25\r\n", Some(Some("192.0.2.1:4242")));
        check(b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n", Some(Some("[2001:db8::1]:1")));
        check(b"PROXY UNKNOWN\r\n", Some(None));
        let v2 = |command: u8, family: u8, block: &[u8]| {
            let len = u16::try_from(block.len()).unwrap().to_be_bytes();
            [&SIGNATURE[..], &[command, family], &len, block].concat()
        };
        let block = [192, 0, 2, 1, 10, 0, 0, 1, 0x10, 0x92, 0, 25, 0x04, 0, 1, 7];
        check(&v2(0x21, 0x11, &block), Some(Some("192.0.2.1:4242")));
        check(&v2(0x20, 0x00, b""), Some(None));
        let mut block = [0; 36];
        block[15] = 1;
        block[33] = 9;
        check(&v2(0x21, 0x21, &block), Some(Some("[::1]:9")));
        check(&v2(0x21, 0x31, b"/run/x"), Some(None));
    }

    #[test]
    fn everything_else_is_refused() {
        check(b"EHLO example.org\r\n", None);
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4242\r\n", None);
        check(b"PROXY TCP4 x y 1 2\r\n", None);
        check(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(), None);
        check(&[&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat(), None);
        check(&[&SIGNATURE[..], &[0x21, 0x11, 0, 2, 1, 2]].concat(), None);
    }
}
