//! The control socket and the HTTP port.

use std::sync::Arc;

use crate::config::Config;
use crate::reload;
use crate::router::Router;

/// Starts both.
///
/// # Errors
/// If a socket cannot be bound.
#[expect(clippy::unused_async, reason = "it will bind sockets")]
pub async fn start(
    _router: &Arc<Router>,
    _config: &Config,
    _reload: &reload::Handle,
) -> anyhow::Result<()> {
    Ok(())
}
