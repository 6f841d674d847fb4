//! The network: the one place that binds, accepts, resolves and connects.
//!
//! It is the machine's, or a simulated one that a test is all of. On the machine's nothing is added
//! but the choice between the two.

use std::fmt::Debug;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Octets both ways, over a simulated network.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Sync + Debug {}

/// An end of a simulated connection.
pub type PipeEnd = Pin<Box<dyn Pipe>>;

/// Where simulated connections come in.
pub trait Accept: Send + Sync + Debug {
    /// The next connection and who made it.
    ///
    /// # Errors
    /// As those of a listening socket.
    fn poll_accept(&mut self, context: &mut Context<'_>)
    -> Poll<io::Result<(PipeEnd, SocketAddr)>>;
}

/// A network that is not the machine's.
pub trait Network: Send + Sync + Debug {
    /// Listens.
    ///
    /// # Errors
    /// As those of `bind`.
    fn bind(&self, address: SocketAddr) -> io::Result<(Box<dyn Accept>, SocketAddr)>;

    /// Connects.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<PipeEnd>>;

    /// The addresses of a name.
    ///
    /// # Errors
    /// If it has none.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// A network. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Net {
    simulated: Option<Arc<dyn Network>>,
}

impl Net {
    /// The machine's.
    #[must_use]
    pub const fn system() -> Self {
        Self { simulated: None }
    }

    /// A simulated one.
    #[must_use]
    pub fn simulated(network: Arc<dyn Network>) -> Self {
        Self { simulated: Some(network) }
    }

    /// Listens at an address.
    ///
    /// # Errors
    /// If another program does, or we may not.
    pub fn bind(&self, address: SocketAddr) -> io::Result<Listener> {
        if let Some(network) = &self.simulated {
            let (accept, address) = network.bind(address)?;
            return Ok(Listener::Simulated(accept, address));
        }
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into()).map(Listener::Tcp)
    }

    /// The addresses of a name.
    ///
    /// # Errors
    /// The resolver's.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &self.simulated {
            Some(network) => network.resolve(host, port),
            None => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
        }
    }

    /// Connects to an address; small writes go out at once.
    ///
    /// # Errors
    /// The socket's.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        if let Some(network) = &self.simulated {
            return network.connect(address).await.map(Stream::Simulated);
        }
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Stream::Tcp(socket))
    }

    /// Connects to the first address of a name that lets us.
    ///
    /// # Errors
    /// The resolver's, or that of the last address.
    pub async fn connect_name(&self, host: &str, port: u16) -> io::Result<Stream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.resolve(host, port).await? {
            match self.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Where connections come in.
#[derive(Debug)]
pub enum Listener {
    /// A socket.
    Tcp(TcpListener),
    /// A door of a simulated network, and where it is.
    Simulated(Box<dyn Accept>, SocketAddr),
}

impl Listener {
    /// Takes a socket over that listens already.
    ///
    /// # Errors
    /// The socket's.
    pub fn adopt(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Self::Tcp)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Simulated(_, address) => Ok(*address),
        }
    }

    /// The next connection and who made it; small writes to it go out at once. Cancel safe.
    ///
    /// # Errors
    /// The listening socket's. One that belongs to the connection shows when it is used.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(socket) => {
                let (socket, peer) = socket.accept().await?;
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(event = "socket.nodelay", %peer, %error);
                }
                Ok((Stream::Tcp(socket), peer))
            }
            Self::Simulated(accept, _) => {
                let (pipe, peer) = poll_fn(|context| accept.poll_accept(context)).await?;
                Ok((Stream::Simulated(pipe), peer))
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// A socket.
    Tcp(TcpStream),
    /// One of a simulated network.
    Simulated(PipeEnd),
}

impl Stream {
    /// Has the kernel acknowledge at once what comes next.
    ///
    /// # Errors
    /// The socket's.
    pub fn set_quickack(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_quickack(true),
            Self::Simulated(_) => Ok(()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Simulated(pipe) => pipe.as_mut().poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, octets),
            Self::Simulated(pipe) => pipe.as_mut().poll_write(context, octets),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Simulated(pipe) => pipe.as_mut().poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Simulated(pipe) => pipe.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Simulated(pipe) => pipe.as_mut().poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Simulated(pipe) => pipe.as_mut().poll_shutdown(context),
        }
    }
}
