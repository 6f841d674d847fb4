//! `send smtp`: one mail, with what the server answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use smtp::client::{ClientConfig, CloseReason, Envelope, Event, Outcome, TlsPolicy, Verdict};
use smtp::{MailParams, Mailbox, Notify, RcptParams, ReversePath};

use crate::outbound::smtp::connection::Connection;
use crate::platform::clock::Clock;

/// How long the server may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Sends one mail.
#[derive(Clone, Debug, clap::Args)]
pub struct SendArgs {
    /// The server
    #[arg(long, default_value = "127.0.0.1:2525", value_name = "ADDR")]
    pub to: SocketAddr,
    /// The sender; empty for none
    #[arg(long, default_value = "sender@example.org")]
    pub from: String,
    /// A recipient; may be given several times
    #[arg(long, required = true)]
    pub rcpt: Vec<String>,
    /// The subject
    #[arg(long, default_value = "")]
    pub subject: String,
    /// The text
    #[arg(long, default_value = "", conflicts_with = "file")]
    pub text: String,
    /// A whole mail, header and all, instead of subject and text; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Ask for reports: NEVER, or a list of SUCCESS, FAILURE and DELAY
    #[arg(long, value_name = "WHEN")]
    pub notify: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Sends the mail and prints the answers.
///
/// # Errors
/// When the server cannot be reached, or did not take the mail for every recipient.
pub async fn run(args: SendArgs) -> anyhow::Result<()> {
    let envelope = envelope(&args)?;
    let mut config = ClientConfig::new("wirepost-send");
    config.tls = TlsPolicy::None;
    let mut connection =
        Connection::open(args.to, Arc::new(config), None, Clock::system(), CONNECT_WITHIN)
            .await
            .with_context(|| format!("cannot reach {}", args.to))?;
    let mut envelope = Some(envelope);
    let outcome = loop {
        match connection.next().await {
            Event::Sent(outcome) => break outcome,
            Event::Closed { reply, reason } if reason != CloseReason::Quit => {
                bail!("{} ended the session: {reply}", args.to);
            }
            _ => {}
        }
        let now = Clock::system().instant();
        if let Some(envelope) = envelope.take() {
            connection
                .session()
                .send(now, envelope)
                .map_err(|_unsent| anyhow::anyhow!("{} is not ready for a message", args.to))?;
        }
    };
    connection.session().quit(Clock::system().instant());
    while !matches!(connection.next().await, Event::Closed { .. }) {}
    show(&args, &outcome);
    let taken = outcome.recipients.iter().all(|recipient| recipient.verdict == Verdict::Delivered);
    if taken { Ok(()) } else { bail!("not taken for every recipient") }
}

fn show(args: &SendArgs, outcome: &Outcome) {
    for (address, recipient) in args.rcpt.iter().zip(&outcome.recipients) {
        if args.json {
            let shown = serde_json::json!({
                "recipient": address,
                "verdict": format!("{:?}", recipient.verdict).to_lowercase(),
                "stage": format!("{:?}", recipient.stage).to_lowercase(),
                "code": recipient.reply.code,
                "enhanced": recipient.reply.enhanced.map(|code| code.to_string()),
                "text": recipient.reply.text,
                "local": recipient.local,
            });
            println!("{shown}");
        } else {
            println!("{address}: {:?}: {}", recipient.verdict, recipient.reply);
        }
    }
}

fn envelope(args: &SendArgs) -> anyhow::Result<Envelope> {
    let sender = match args.from.as_str() {
        "" | "<>" => ReversePath::Null,
        from => ReversePath::Mailbox(mailbox(from)?),
    };
    let notify = match &args.notify {
        Some(text) => Some(Notify::parse(text).with_context(|| format!("{text} is no NOTIFY"))?),
        None => None,
    };
    let recipients = args
        .rcpt
        .iter()
        .map(|address| Ok((mailbox(address)?, RcptParams { notify, orcpt: None })))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let body = match &args.file {
        Some(file) if file.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())?.into(),
        Some(file) => Bytes::from(
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        ),
        None => Bytes::from(compose(args)),
    };
    Ok(Envelope { sender, params: MailParams::default(), recipients, prefix: Bytes::new(), body })
}

fn mailbox(address: &str) -> anyhow::Result<Mailbox> {
    Mailbox::parse(address).with_context(|| format!("{address} is no address"))
}

fn compose(args: &SendArgs) -> String {
    let now = Clock::system().now();
    format!(
        "Date: {}\r\nFrom: <{}>\r\nTo: {}\r\nSubject: {}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{}\r\n",
        now.rfc5322(),
        args.from,
        args.rcpt.iter().map(|address| format!("<{address}>")).collect::<Vec<_>>().join(", "),
        args.subject.replace(['\r', '\n'], " "),
        args.text,
    )
}
