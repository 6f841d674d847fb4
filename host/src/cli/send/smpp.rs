//! `wirepost send smpp`: one short message, cut into parts if it must be.

use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use smpp::pdu::MessageResp;
use smpp::receipt::{MessageState, Receipt};
use smpp::{Address, Event, Octets, Pdu, RegisteredDelivery, Sm, Status};
use tokio::net::TcpStream;

use crate::cli::smpp_client::{Credentials, bind};
use crate::config::parse_duration;
use crate::sms::link::{Link, Step, now};

/// Time for an answer.
const RESPONSE_WITHIN: Duration = Duration::from_secs(30);

/// One short message.
#[derive(Args, Clone, Debug)]
pub struct SmppArgs {
    /// host:port
    #[arg(long, default_value = "127.0.0.1:2775")]
    pub to: String,
    /// Who binds
    #[command(flatten)]
    pub credentials: Credentials,
    /// Sender: a number, a short code or a name
    #[arg(long)]
    pub from: String,
    /// Recipient
    #[arg(long)]
    pub dest: String,
    /// Text
    #[arg(long)]
    pub text: String,
    /// Ask for a receipt
    #[arg(long)]
    pub receipt: bool,
    /// Ask for a receipt and wait so long for it
    #[arg(long, value_parser = parse_duration)]
    pub wait_receipt: Option<Duration>,
}

/// Sends it and prints one JSON line for each answer and receipt.
///
/// # Errors
/// If it cannot be bound, sent or was refused, or the awaited receipt did not come.
pub async fn run(args: SmppArgs) -> anyhow::Result<()> {
    let mut link = bind(&args.to, &args.credentials, 255, RESPONSE_WITHIN).await?;
    let parts = parts(&args)?;
    for (token, sm) in (0..).zip(&parts) {
        link.session.request(now(), &Pdu::SubmitSm(sm.clone()), token)?;
    }
    let mut sending = Sending { refused: 0, answers: 0, receipts: 0 };
    while sending.answers < parts.len() {
        sending.events(&mut link)?;
        if sending.answers < parts.len() {
            step(&mut link, None).await?;
        }
    }
    if let Some(wait) = args.wait_receipt
        && sending.refused == 0
    {
        let until = now() + wait;
        while sending.receipts < parts.len() && now() < until {
            step(&mut link, Some(until)).await?;
            sending.events(&mut link)?;
        }
        if sending.receipts < parts.len() {
            bail!("no receipt within {} s", wait.as_secs());
        }
    }
    link.session.unbind(now());
    while !matches!(link.session.poll_event(), Some(Event::Unbound | Event::LinkDead(_))) {
        if link.step(true, None).await? == Step::Gone {
            break;
        }
    }
    link.close().await;
    if sending.refused > 0 {
        bail!("{} of {} parts were refused", sending.refused, parts.len());
    }
    Ok(())
}

struct Sending {
    answers: usize,
    refused: usize,
    receipts: usize,
}

impl Sending {
    fn events(&mut self, link: &mut Link<TcpStream>) -> anyhow::Result<()> {
        while let Some(event) = link.session.poll_event() {
            match event {
                Event::Response { token, status, pdu, latency, .. } => {
                    self.answers += 1;
                    self.refused += usize::from(!status.is_ok());
                    let id = match &pdu {
                        Pdu::SubmitSmResp(resp) => resp.message_id.to_string(),
                        _ => String::new(),
                    };
                    print(&json!({ "event": "answer", "part": token + 1, "id": id,
                        "status": status.to_string(), "latency_us": latency.as_micros() }))?;
                }
                Event::Timeout { .. } => bail!("no answer"),
                Event::Request { sequence, pdu, .. } => self.request(link, sequence, &pdu)?,
                Event::FramingLost(lost) => bail!("{lost}"),
                Event::LinkDead(dead) => bail!("{dead}"),
                Event::Unbound => bail!("the peer has unbound"),
                Event::Bound { .. }
                | Event::BindRefused { .. }
                | Event::Refused { .. }
                | Event::Orphan { .. } => {}
            }
        }
        Ok(())
    }

    fn request(
        &mut self,
        link: &mut Link<TcpStream>,
        sequence: u32,
        pdu: &Pdu,
    ) -> anyhow::Result<()> {
        let Pdu::DeliverSm(sm) = pdu else {
            if !pdu.command().is_unanswered() {
                link.session.refuse(now(), sequence, pdu.command(), Status::RSYSERR);
            }
            return Ok(());
        };
        match Receipt::of(sm) {
            Some(receipt) => {
                self.receipts += usize::from(receipt.state.is_none_or(MessageState::is_final));
                print(&json!({ "event": "receipt",
                    "id": receipt.id.map(|id| id.to_string()),
                    "state": receipt.state.map(|state| state.to_string()),
                    "error": receipt.error.map(|error| error.to_string()) }))?;
            }
            None => print(&json!({ "event": "message",
                "from": sm.source.addr.to_text(), "to": sm.destination.addr.to_text() }))?,
        }
        let resp = Pdu::DeliverSmResp(MessageResp::default());
        link.session.respond(now(), sequence, Status::ROK, &resp)?;
        Ok(())
    }
}

async fn step(link: &mut Link<TcpStream>, until: Option<std::time::Instant>) -> anyhow::Result<()> {
    if link.step(true, until).await? == Step::Gone {
        bail!("the peer has closed the connection");
    }
    Ok(())
}

fn parts(args: &SmppArgs) -> anyhow::Result<Vec<Sm>> {
    let address = |text: &str| {
        let (ton, npi, octets) = message::Address::guess(text).to_smpp();
        Address::new(ton, npi, Octets::from(octets))
    };
    let wished = args.receipt || args.wait_receipt.is_some();
    // One message of a run: any reference does.
    let sms = crate::cli::parts::parts(&args.text, 1)?.into_iter().map(|part| Sm {
        source: address(&args.from),
        destination: address(&args.dest),
        registered_delivery: RegisteredDelivery(u8::from(wished)),
        ..part
    });
    Ok(sms.collect())
}

fn print(record: &serde_json::Value) -> anyhow::Result<()> {
    std::io::stdout().write_all(format!("{record}\n").as_bytes())?;
    Ok(())
}
