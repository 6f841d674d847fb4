//! `send smtp`: one mail, with what the server answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use smtp::client::{ClientConfig, CloseReason, Envelope, Event, Outcome, TlsPolicy, Verdict};
use smtp::{Credentials, MailParams, Mailbox, Notify, RcptParams, ReversePath};

use crate::config::ClientTls;
use crate::outbound::smtp::connection::{Connection, TlsSetup};
use crate::platform::clock::Clock;
use crate::platform::net::Net;
use crate::tls;

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
    /// Whether the connection is secured; any certificate will do
    #[arg(long, value_enum, default_value_t = Tls::None)]
    pub tls: Tls,
    /// Authenticate by this name
    #[arg(long, value_name = "NAME", requires = "password")]
    pub user: Option<String>,
    /// And this password; it goes over the wire as it is unless `--tls` says otherwise
    #[arg(long, requires = "user")]
    pub password: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How `send` uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tls {
    /// Not at all.
    None,
    /// By STARTTLS if the server offers it.
    Opportunistic,
    /// By STARTTLS.
    Starttls,
    /// From the first octet.
    Implicit,
}

impl Tls {
    const fn policy(self) -> TlsPolicy {
        match self {
            Self::None => TlsPolicy::None,
            Self::Opportunistic => TlsPolicy::Opportunistic,
            Self::Starttls | Self::Implicit => TlsPolicy::Required,
        }
    }

    fn setup(self, server: SocketAddr) -> anyhow::Result<TlsSetup> {
        let files =
            ClientTls { ca: None, cert: None, key: None, server_name: None, insecure: true };
        Ok(TlsSetup {
            config: tls::client(&files, false)?,
            name: tls::server_name(&files, &server.ip().to_string())?,
            implicit: self == Self::Implicit,
            handshake_within: CONNECT_WITHIN,
        })
    }
}

/// Sends the mail and prints the answers.
///
/// # Errors
/// When the server cannot be reached, or did not take the mail for every recipient.
pub async fn run(args: SendArgs) -> anyhow::Result<()> {
    let envelope = envelope(&args)?;
    let mut config = ClientConfig::new("wirepost-send");
    config.tls = args.tls.policy();
    if let (Some(user), Some(password)) = (args.user.clone(), args.password.clone()) {
        config.credentials = Some(Credentials { user, password });
        config.auth_in_clear = args.tls == Tls::None;
    }
    let tls = Some(args.tls.setup(args.to)?);
    let (net, clock, config) = (Net::system(), Clock::system(), Arc::new(config));
    let mut connection = Connection::open(&net, args.to, config, tls, clock, CONNECT_WITHIN)
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::cli::sim::relay::{self, RelayArgs};

    #[derive(Parser)]
    struct RelayLine {
        #[command(flatten)]
        args: RelayArgs,
    }

    #[derive(Parser)]
    struct SendLine {
        #[command(flatten)]
        args: SendArgs,
    }

    #[tokio::test]
    async fn one_mail_over_every_kind_of_connection() {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let files = format!("--tls-cert {} --tls-key {}", cert.display(), key.display());
        for (served, used, taken) in [
            ("", "none", true),
            ("", "opportunistic", true),
            ("", "starttls", false),
            (files.as_str(), "starttls", true),
            (&format!("{files} --tls-implicit"), "implicit", true),
        ] {
            let line = format!("sim --quiet {served}");
            let relay_args = RelayLine::parse_from(line.split_whitespace()).args;
            let line = format!("send --rcpt a@x --text hi --tls {used}");
            let mut args = SendLine::parse_from(line.split_whitespace()).args;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            args.to = listener.local_addr().unwrap();
            let stop = CancellationToken::new();
            let sending = async {
                let sent = run(args).await;
                stop.cancel();
                sent
            };
            let (totals, sent) =
                tokio::join!(relay::serve(relay_args, listener, stop.clone()), sending);
            assert_eq!(
                (sent.is_ok(), totals.unwrap().accepted),
                (taken, u64::from(taken)),
                "{used}"
            );
        }
    }
}
