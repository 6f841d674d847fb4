//! `wirepost sim esme`: an ESME that is bound and prints what it gets.

use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use message::text::{Alphabet, Coding, Shift, Udh, meaning};
use serde_json::json;
use smpp::pdu::MessageResp;
use smpp::receipt::Receipt;
use smpp::{Event, Octets, Pdu, Sm, Status};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::smpp_client::{Credentials, bind};
use crate::config::parse_duration;
use crate::sms::link::{Step, now};

/// Time for an answer.
const RESPONSE_WITHIN: Duration = Duration::from_secs(30);

/// A simulated ESME.
#[derive(Args, Clone, Debug)]
pub struct EsmeArgs {
    /// host:port
    #[arg(long, default_value = "127.0.0.1:2775")]
    pub target: String,
    /// Who binds
    #[command(flatten)]
    pub credentials: Credentials,
    /// Status in the answers, as a name or a number
    #[arg(long, value_parser = parse_status, default_value = "ESME_ROK")]
    pub answer: Status,
    /// Never answer
    #[arg(long)]
    pub never_answer: bool,
    /// End after so many messages and receipts
    #[arg(long)]
    pub count: Option<u64>,
    /// End after this time
    #[arg(long, value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

/// Prints until SIGTERM or SIGINT, or until there was enough.
///
/// # Errors
/// If it cannot be bound, the link breaks, or less than `count` came in the time.
pub async fn run(args: EsmeArgs) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let receiving = receive(args, stop.clone(), |line| {
        std::io::stdout().write_all(line.as_bytes())?;
        Ok(())
    });
    tokio::pin!(receiving);
    tokio::select! {
        received = &mut receiving => return received,
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    stop.cancel();
    receiving.await
}

/// Gives each message and receipt to `print` as a line of JSON until `stop`.
///
/// # Errors
/// As [`run`].
pub async fn receive(
    args: EsmeArgs,
    stop: CancellationToken,
    mut print: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut link = bind(&args.target, &args.credentials, 1, RESPONSE_WITHIN).await?;
    let until = args.wait.map(|wait| now() + wait);
    let (mut seen, mut leaving) = (0, false);
    loop {
        let mut lines = String::new();
        while let Some(event) = link.session.poll_event() {
            match event {
                Event::Request { sequence, pdu, .. } => {
                    let command = pdu.command();
                    let (sm, resp) = match pdu {
                        Pdu::DeliverSm(sm) => (sm, Pdu::DeliverSmResp(MessageResp::default())),
                        Pdu::DataSm(data) => {
                            (data.into_sm(), Pdu::DataSmResp(MessageResp::new(Octets::new())))
                        }
                        _ if command.is_unanswered() => continue,
                        _ => {
                            link.session.refuse(now(), sequence, command, Status::RSYSERR);
                            continue;
                        }
                    };
                    seen += 1;
                    lines.push_str(&record(&sm));
                    if !args.never_answer {
                        link.session.respond(now(), sequence, args.answer, &resp)?;
                    }
                }
                Event::Unbound if leaving => {
                    link.close().await;
                    return Ok(());
                }
                Event::Unbound => bail!("{} has unbound", args.target),
                Event::FramingLost(lost) => bail!("{lost}"),
                Event::LinkDead(dead) => bail!("{dead}"),
                _ => {}
            }
        }
        if !lines.is_empty() {
            print(&lines)?;
        }
        let late = until.is_some_and(|until| now() >= until);
        if let (true, Some(count)) = (late && !leaving, args.count)
            && seen < count
        {
            bail!("{seen} of {count} came in time");
        }
        if !leaving
            && (late || stop.is_cancelled() || args.count.is_some_and(|count| seen >= count))
        {
            leaving = true;
            link.session.unbind(now());
        }
        tokio::select! {
            step = link.step(true, until.filter(|_| !leaving)) => if step? == Step::Gone {
                bail!("{} has closed the connection", args.target);
            },
            () = stop.cancelled(), if !leaving => {}
        }
    }
}

fn record(sm: &Sm) -> String {
    let (from, to) = (sm.source.addr.to_text(), sm.destination.addr.to_text());
    if let Some(receipt) = Receipt::of(sm) {
        let record = json!({
            "event": "receipt", "from": from, "to": to,
            "id": receipt.id.map(|id| id.to_string()),
            "state": receipt.state.map(|state| state.to_string()),
            "error": receipt.error.map(|error| error.to_string()),
            "text": sm.short_message.escape_ascii().to_string(),
        });
        return format!("{record}\n");
    }
    let body = sm.text();
    let (udh, text) = match Udh::split(&body) {
        Ok(parts) if sm.esm_class.has_udh() => parts,
        _ => (Udh::default(), body.clone()),
    };
    let text = match meaning(sm.data_coding, Alphabet::Gsm).coding {
        Coding::Text(alphabet) => alphabet.decode(&text, Shift::of(&udh)),
        Coding::Binary | Coding::Opaque => text.escape_ascii().to_string(),
    };
    let record = json!({
        "event": "message", "from": from, "to": to, "text": text,
        "data_coding": sm.data_coding, "esm_class": sm.esm_class.0,
    });
    format!("{record}\n")
}

fn parse_status(text: &str) -> Result<Status, String> {
    Status::parse(text).ok_or_else(|| format!("\"{text}\" is no status"))
}
