//! One question over HTTP: a connection that is kept, a GET, a bounded answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::address::may_ask;
use crate::config::Lookup;
use crate::platform::net::{Net, Stream};
use crate::platform::tasks::Tasks;
use crate::plugin::{LookupAnswer, LookupError};
use crate::tls;

const USER_AGENT: &str = concat!("wirepost/", env!("CARGO_PKG_VERSION"));
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// What asks one service, one question after the other.
pub(super) struct Client {
    lookup: Arc<Lookup>,
    tls: Option<Arc<ClientConfig>>,
    net: Net,
    tasks: Tasks,
    /// The connection of the last question, if it is still open.
    kept: Option<SendRequest<Empty<Bytes>>>,
}

/// Why there is no answer, for the log.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Tls(#[from] tls::TlsError),
    #[error("{host} leads to no address that may be asked ({refused} refused)")]
    Address { host: Arc<str>, refused: usize },
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the question cannot be asked: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {0} octets")]
    Long(u64),
    #[error("the answer is no UTF-8")]
    Binary,
    #[error("the answer broke off: {0}")]
    Body(String),
    #[error("no answer came within {0:?}")]
    Late(Duration),
}

impl Client {
    pub(super) const fn new(lookup: Arc<Lookup>, net: Net, tasks: Tasks) -> Self {
        Self { lookup, tls: None, net, tasks, kept: None }
    }

    /// Asks for a key. Failures are logged and told as what a plugin can see.
    pub(super) async fn ask(&mut self, key: &str) -> LookupAnswer {
        let (within, name) = (self.lookup.timeout, Arc::clone(&self.lookup.name));
        let asked = match tokio::time::timeout(within, self.exchange(key)).await {
            Ok(asked) => asked,
            Err(_elapsed) => {
                self.kept = None;
                Err(FetchError::Late(within))
            }
        };
        let error = match asked {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => return Err(LookupError::NotFound),
            Err(error) => error,
        };
        tracing::warn!(event = "lookup.failed", lookup = &*name, %error);
        Err(match error {
            FetchError::Long(_) => LookupError::TooLarge,
            FetchError::Binary => LookupError::Invalid,
            _ => LookupError::Unavailable,
        })
    }

    /// The answer; none if the service does not know the key.
    async fn exchange(&mut self, key: &str) -> Result<Option<Arc<str>>, FetchError> {
        let response = self.response(key).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => return Err(FetchError::Status(status)),
        }
        let most = self.lookup.answer_bytes_max;
        let limit = usize::try_from(most).unwrap_or(usize::MAX);
        let body = match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                self.kept = None;
                return Err(if error.is::<LengthLimitError>() {
                    FetchError::Long(most)
                } else {
                    FetchError::Body(error.to_string())
                });
            }
        };
        let text = std::str::from_utf8(&body).map_err(|_error| FetchError::Binary)?;
        Ok(Some(text.trim_ascii().into()))
    }

    async fn response(&mut self, key: &str) -> Result<Response<Incoming>, FetchError> {
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
            // The peer may have closed it while it waited; then the question is asked anew.
            && let Ok(response) = kept.send_request(self.request(key)?).await
        {
            self.kept = Some(kept);
            return Ok(response);
        }
        let mut fresh = self.connect().await?;
        let response = fresh.send_request(self.request(key)?).await?;
        self.kept = Some(fresh);
        Ok(response)
    }

    fn request(&self, key: &str) -> Result<Request<Empty<Bytes>>, FetchError> {
        let url = &self.lookup.url;
        let mut request = Request::get(url.path(key))
            .header(header::HOST, &*url.authority)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*");
        if let Some(secret) = &self.lookup.authorization {
            request = request.header(header::AUTHORIZATION, secret.reveal());
        }
        Ok(request.body(Empty::new())?)
    }

    async fn connect(&mut self) -> Result<SendRequest<Empty<Bytes>>, FetchError> {
        let lookup = Arc::clone(&self.lookup);
        let stream = reach(&lookup, &self.net).await?;
        if !lookup.url.tls {
            return self.handshake(stream).await;
        }
        let config = match &self.tls {
            Some(config) => Arc::clone(config),
            None => Arc::clone(self.tls.insert(tls::client(&lookup.tls, true)?)),
        };
        let name = tls::server_name(&lookup.tls, &lookup.url.host)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        self.handshake(stream).await
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<Empty<Bytes>>, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let stopping = self.tasks.stopping().clone();
        // It ends with its sender: one for each client at most.
        self.tasks.spawn("lookup connection", async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(event = "lookup.closed", %error);
                },
            }
        });
        Ok(sender)
    }
}

/// Connects to the first address of the host that may be asked and answers.
async fn reach(lookup: &Lookup, net: &Net) -> Result<Stream, FetchError> {
    let url = &lookup.url;
    let found = net.resolve(&url.host, url.port).await?;
    let (good, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.into_iter().partition(|address| may_ask(url, address.ip()));
    let mut failed = None;
    for address in good.into_iter().take(ADDRESSES_MAX) {
        match net.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    Err(match failed {
        Some(error) => FetchError::Connect(error),
        None => FetchError::Address { host: Arc::clone(&url.host), refused: refused.len() },
    })
}
