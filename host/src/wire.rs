//! A socket and the octets that wait to be written to it.
//!
//! Reading and writing go on at the same time: two peers that both wait until the other has read
//! would wait for ever. One write carries everything that there is, and what was read is
//! acknowledged at once, because peers that write a message in two pieces otherwise wait 40 ms for
//! the acknowledgement of the first.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::platform::net::Stream;

/// Room that is made for a read at least: what a connection that says nothing costs.
const READ_OCTETS_MIN: usize = 4 * 1024;
/// Room that is made for a read at most.
const READ_OCTETS_MAX: usize = 64 * 1024;

/// Octets to be written that are copied at most while nothing else waits.
const COPIED_OCTETS_MAX: usize = 512;

/// A socket, encrypted or not.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Has the kernel acknowledge at once what was read, instead of waiting for something to write.
    fn acknowledge_at_once(&self);
}

impl Socket for Stream {
    fn acknowledge_at_once(&self) {
        // Without it everything works, only slower.
        if let Err(error) = self.set_quickack() {
            tracing::trace!(event = "socket.quickack", %error);
        }
    }
}

/// Of the commands, which always use the machine's network.
impl Socket for TcpStream {
    fn acknowledge_at_once(&self) {
        if let Err(error) = self.set_quickack(true) {
            tracing::trace!(event = "socket.quickack", %error);
        }
    }
}

impl<S: Socket> Socket for tokio_rustls::server::TlsStream<S> {
    fn acknowledge_at_once(&self) {
        self.get_ref().0.acknowledge_at_once();
    }
}

impl<S: Socket> Socket for tokio_rustls::client::TlsStream<S> {
    fn acknowledge_at_once(&self) {
        self.get_ref().0.acknowledge_at_once();
    }
}

impl Socket for Box<dyn Socket> {
    fn acknowledge_at_once(&self) {
        self.as_ref().acknowledge_at_once();
    }
}

/// What [`Wire::turn`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Octets came.
    Read,
    /// Everything is written.
    Written,
    /// The peer has closed its side.
    Closed,
}

/// A socket with its output.
#[derive(Debug)]
pub struct Wire<S> {
    socket: S,
    output: BytesMut,
    unflushed: bool,
    /// Something was read, and nothing written since that tells the peer.
    unacknowledged: bool,
    /// Room for the next read: twice what the last one brought.
    room: usize,
}

impl<S: Socket> Wire<S> {
    /// Nothing to write yet.
    #[must_use]
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            output: BytesMut::new(),
            unflushed: false,
            unacknowledged: false,
            room: READ_OCTETS_MIN,
        }
    }

    /// Takes octets over, to be written. Many change hands with their buffer; few are copied, so that
    /// both buffers serve again.
    pub fn push(&mut self, octets: &mut BytesMut) {
        if self.output.is_empty() && octets.len() > COPIED_OCTETS_MAX {
            self.output = octets.split();
        } else {
            self.output.extend_from_slice(octets);
            octets.clear();
        }
    }

    /// Nothing is expected from the peer: what was read need not be acknowledged at once.
    pub fn rest(&mut self) {
        self.unacknowledged = false;
    }

    /// The socket, for a handshake. What waits to be written is given up.
    #[must_use]
    pub fn into_socket(self) -> S {
        self.socket
    }

    /// Octets that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Writes what waits, and reads into `input` if there is one, until something comes of it.
    /// Without anything to do it waits for ever. Cancel safe.
    ///
    /// # Errors
    /// The socket's.
    pub async fn turn(&mut self, mut input: Option<&mut BytesMut>) -> io::Result<Turn> {
        if let Some(input) = &mut input {
            self.make_room(input);
        }
        poll_fn(|context| {
            let written = self.poll_write(context)?;
            if let Some(input) = &mut input
                && let Poll::Ready(read) = self.poll_read(context, input)
            {
                return Poll::Ready(read);
            }
            if written { Poll::Ready(Ok(Turn::Written)) } else { Poll::Pending }
        })
        .await
    }

    /// The same for whoever has nothing to do before something was read. Cancel safe.
    ///
    /// # Errors
    /// The socket's.
    pub async fn read(&mut self, input: &mut BytesMut) -> io::Result<Turn> {
        self.make_room(input);
        poll_fn(|context| {
            self.poll_write(context)?;
            self.poll_read(context, input)
        })
        .await
    }

    fn make_room(&mut self, input: &mut BytesMut) {
        input.reserve(self.room);
        // What we write acknowledges as well, and costs no call of its own.
        if self.output.is_empty() && std::mem::take(&mut self.unacknowledged) {
            self.socket.acknowledge_at_once();
        }
    }

    /// Writes what waits and closes our side.
    ///
    /// # Errors
    /// The socket's.
    pub async fn close(&mut self) -> io::Result<()> {
        self.socket.write_all_buf(&mut self.output).await?;
        self.socket.shutdown().await
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        input: &mut BytesMut,
    ) -> Poll<io::Result<Turn>> {
        let octets = ready!(pin!(self.socket.read_buf(input)).poll(context))?;
        self.room = octets.saturating_mul(2).clamp(READ_OCTETS_MIN, READ_OCTETS_MAX);
        self.unacknowledged = true;
        Poll::Ready(Ok(if octets == 0 { Turn::Closed } else { Turn::Read }))
    }

    /// True if the last octet was just written.
    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.socket).poll_write(context, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(octets)) => {
                    self.output.advance(octets);
                    self.unflushed = true;
                    self.unacknowledged = false;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
        if !self.unflushed {
            return Ok(false);
        }
        match Pin::new(&mut self.socket).poll_flush(context) {
            Poll::Ready(flushed) => {
                self.unflushed = false;
                flushed.map(|()| true)
            }
            Poll::Pending => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Wire<TcpStream>, Wire<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Wire::new(client), Wire::new(server))
    }

    /// Both sides write more than the kernel holds before either reads.
    #[tokio::test]
    async fn two_peers_that_both_write_much_do_not_wait_for_each_other() {
        const OCTETS: usize = 32 << 20;
        let (client, server) = pair().await;
        let exchange = |mut wire: Wire<TcpStream>| async move {
            wire.push(&mut BytesMut::zeroed(OCTETS));
            let (mut input, mut read) = (BytesMut::new(), 0);
            while read < OCTETS || wire.waiting() > 0 {
                wire.turn((read < OCTETS).then_some(&mut input)).await.unwrap();
                read += input.len();
                input.clear();
            }
            (wire, read)
        };
        let ((mut client, read), (mut server, _)) =
            tokio::join!(exchange(client), exchange(server));
        assert_eq!(read, OCTETS);
        client.close().await.unwrap();
        let mut input = BytesMut::new();
        assert_eq!(server.turn(Some(&mut input)).await.unwrap(), Turn::Closed);
    }
}
