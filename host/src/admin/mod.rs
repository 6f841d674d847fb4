//! How a running router is watched and steered: everything over a Unix socket that only its owner
//! may open, health and metrics over HTTP.

mod control;
mod status;
mod queue;
mod orders;
mod operator;
mod events;
mod failure;
mod watch;
mod http;
mod gauges;
mod figures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use operator::Operator;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::config::{Config, Name};
use crate::reload;
use crate::router::Router;

/// Where listeners listen, by name.
pub type Addresses = BTreeMap<Name, Vec<SocketAddr>>;

/// What every answer may need. Cheap to clone.
#[derive(Clone, Debug)]
struct Shared {
    router: Arc<Router>,
    reload: reload::Handle,
    addresses: Arc<Addresses>,
}

/// Opens the control socket and, if the configuration names one, the HTTP port, and answers on both
/// until the router stops. Returns the address of the HTTP port.
///
/// # Errors
/// If a socket cannot be bound, or another router answers on the control socket.
pub async fn start(
    router: &Arc<Router>,
    config: &Config,
    reload: &reload::Handle,
    addresses: &Addresses,
) -> anyhow::Result<Option<SocketAddr>> {
    let shared = Shared {
        router: Arc::clone(router),
        reload: reload.clone(),
        addresses: Arc::new(addresses.clone()),
    };
    let socket = &config.admin.socket;
    let control = bind_control(socket)
        .await
        .with_context(|| format!("the control socket {} cannot be opened", socket.display()))?;
    let http = match config.admin.http {
        None => None,
        Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
            format!("admin.http cannot listen on {address}; `ss -ltnp` shows who does")
        })?),
    };
    let address = http.as_ref().map(TcpListener::local_addr).transpose()?;
    tracing::info!(event = "admin.listening", socket = %socket.display(), http = ?address);
    if let Some(http) = http {
        router.tasks.spawn(
            "admin http",
            http::run(Arc::clone(router), http, watch::routes(shared.clone())),
        );
    }
    let routes = control::routes(shared).into_make_service_with_connect_info::<Operator>();
    let serving = axum::serve(control, routes).into_future();
    serve(router, "admin socket", serving, Some(socket.clone()));
    Ok(address)
}

/// Answers until the router stops, then removes the socket file if there is one.
fn serve(
    router: &Arc<Router>,
    name: &'static str,
    serving: impl Future<Output = io::Result<()>> + Send + 'static,
    file: Option<PathBuf>,
) {
    let stopping = router.tasks.stopping().clone();
    router.tasks.spawn(name, async move {
        tokio::select! {
            biased;
            // Nobody needs the last answer: a client that is cut says that the router stopped.
            () = stopping.cancelled() => {}
            served = serving => {
                if let Err(error) = served {
                    tracing::error!(event = "admin.ended", task = name, %error);
                }
            }
        }
        if let Some(file) = file
            && let Err(error) = std::fs::remove_file(&file)
        {
            tracing::debug!(event = "admin.socket", %error);
        }
    });
}

/// Binds the socket with mode 0600. A file that a dead router left is replaced.
async fn bind_control(path: &Path) -> anyhow::Result<UnixListener> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            bail!("there is a file that is no socket; remove it or name another place");
        }
        if UnixStream::connect(path).await.is_ok() {
            bail!("another router answers on it; stop that one first");
        }
        std::fs::remove_file(path)?;
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    // Between bind and chmod the mode is that of the umask: the file gets its name only afterwards.
    let unnamed = path.with_extension("new");
    if std::fs::symlink_metadata(&unnamed).is_ok_and(|meta| meta.file_type().is_socket()) {
        std::fs::remove_file(&unnamed)?;
    }
    let listener = UnixListener::bind(&unnamed)?;
    std::fs::set_permissions(&unnamed, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unnamed, path)?;
    Ok(listener)
}
