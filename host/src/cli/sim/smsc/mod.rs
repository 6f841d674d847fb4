//! `wirepost sim smsc`: an SMSC that takes what it is given, and can be made to misbehave.
//!
//! Any number of ESMEs bind; one task serves each link and answers everything that one read
//! brought with one write.

mod link;
mod shared;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use smpp::Status;
use smpp::receipt::MessageState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::parse_duration;
use shared::Shared;

/// How long links may take to unbind at the end.
const UNBIND_WITHIN: Duration = Duration::from_secs(3);

/// A simulated SMSC.
#[derive(Args, Clone, Debug)]
pub struct SmscArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:2776")]
    pub listen: SocketAddr,
    /// Name in our bind answers
    #[arg(long, default_value = "sim")]
    pub name: String,
    /// Only this system_id may bind
    #[arg(long)]
    pub system_id: Option<String>,
    /// Only with this password
    #[arg(long)]
    pub password: Option<String>,
    /// How ids are written in answers and in receipts
    #[arg(long, value_enum, default_value = "dec")]
    pub ids: IdStyle,
    /// Wait this long before each answer (250ms, 2s)
    #[arg(long, value_parser = parse_duration, default_value = "0ms")]
    pub response_delay: Duration,
    /// Never answer a submit
    #[arg(long)]
    pub never_answer: bool,
    /// Refuse submits to destinations with this prefix: PREFIX=STATUS, for example 3369=0x0B
    #[arg(long, value_parser = parse_fail)]
    pub fail: Vec<(String, Status)>,
    /// Submits per second; further ones get ESME_RTHROTTLED
    #[arg(long)]
    pub throttle: Option<u32>,
    /// Cut each link after so many submits, without answering the last
    #[arg(long)]
    pub drop_after: Option<u64>,
    /// State in the receipts
    #[arg(long, value_parser = parse_state, default_value = "DELIVRD")]
    pub receipt_state: MessageState,
    /// Wait this long before each receipt
    #[arg(long, value_parser = parse_duration, default_value = "500ms")]
    pub receipt_delay: Duration,
    /// Send no receipts, whatever is asked for
    #[arg(long)]
    pub no_receipts: bool,
    /// Requests of ours that may be unanswered on one link
    #[arg(long, default_value_t = 100)]
    pub window: usize,
    /// Sender of messages that we send to ESMEs
    #[arg(long, default_value = "33612345678")]
    pub mo_from: String,
    /// Recipient of these messages
    #[arg(long, default_value = "33700")]
    pub mo_to: String,
    /// Their text
    #[arg(long, default_value = "Hello")]
    pub mo_text: String,
    /// How many of them, as soon as somebody is bound who receives
    #[arg(long, default_value_t = 0)]
    pub mo_count: u64,
    /// How many of them in a second
    #[arg(long, default_value_t = 10)]
    pub mo_rate: u32,
    /// Do not print the messages that come
    #[arg(long)]
    pub quiet: bool,
    /// Print how many submits were accepted whenever it is a multiple of this
    #[arg(long, value_name = "N")]
    pub count_every: Option<u64>,
}

/// How ids are written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdStyle {
    /// Decimal
    Dec,
    /// Hexadecimal
    Hex,
    /// Hexadecimal in answers, decimal in receipts
    HexDec,
    /// Decimal in answers, hexadecimal in receipts
    DecHex,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn run(args: SmscArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listen on {}", args.listen))?;
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let stopped = stop.clone();
    let serving = serve(args, listener, stop);
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    stopped.cancel();
    serving.await
}

/// Serves on a socket until `stop`.
///
/// # Errors
/// If nothing more can be accepted.
pub async fn serve(
    args: SmscArgs,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let shared = Arc::new(Shared::new(args, stop.clone()));
    shared.note(&serde_json::json!({
        "event": "listening",
        "address": listener.local_addr()?.to_string(),
    }));
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, peer) = accepted.context("accept")?;
                socket.set_nodelay(true)?;
                links.spawn(link::serve(Arc::clone(&shared), socket, peer));
            }
            Some(ended) = links.join_next() => shared.ended(ended),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    let drained = async {
        while let Some(ended) = links.join_next().await {
            shared.ended(ended);
        }
    };
    if tokio::time::timeout(UNBIND_WITHIN, drained).await.is_err() {
        links.abort_all();
    }
    shared.note(&shared.totals());
    Ok(())
}

fn parse_fail(text: &str) -> Result<(String, Status), String> {
    let (prefix, status) = text.split_once('=').ok_or("write PREFIX=STATUS, such as 3369=0x0B")?;
    let status = Status::parse(status).ok_or_else(|| format!("\"{status}\" is no status"))?;
    Ok((prefix.trim_start_matches('+').to_owned(), status))
}

fn parse_state(text: &str) -> Result<MessageState, String> {
    MessageState::from_word(text).ok_or_else(|| {
        format!("\"{text}\" is no state; there is DELIVRD, UNDELIV, EXPIRED, REJECTD, ACCEPTD, …")
    })
}

#[cfg(test)]
mod tests;
