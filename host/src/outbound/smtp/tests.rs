//! Mail through the whole host: in at a listener, out at a relay.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Options};
use crate::cli::load::smtp::{LoadArgs, LoadReport, measure};
use crate::cli::send::smtp::{self as send, SendArgs};
use crate::cli::sim::relay::{self, RelayArgs, Totals};
use crate::platform::clock::Clock;

/// Longer than anything here takes on a slow machine.
const SOON: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line<T: clap::Args> {
    #[command(flatten)]
    args: T,
}

fn parse<T: clap::Args>(line: &str) -> T {
    Line::parse_from(std::iter::once("wirepost").chain(line.split_whitespace())).args
}

/// A host with one door for mail and one relay.
struct Host {
    app: App,
    folder: tempfile::TempDir,
}

impl Host {
    async fn start(relay: SocketAddr, smtp: &str, connector: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wirepost.yaml");
        let port = relay.port();
        let text = format!(
            "spool: {{ memory: true, free_min: 0 }}\n\
             admin: {{ socket: {} }}\n\
             listeners: {{ mail: {{ smtp: {{ bind: '127.0.0.1:0', hostname: gw.example, allow: 127.0.0.0/8{smtp} }} }} }}\n\
             bounces: {{ via: relay, from: postmaster@gw.example }}\n\
             connectors: {{ relay: {{ smtp: {{ host: 127.0.0.1, port: {port}, connections_max: 4{connector} }}, \
               retry: {{ delays: 1s }} }} }}\n\
             routes: [{{ name: all, to: relay }}]\n",
            folder.path().join("wirepost.sock").display(),
        );
        fs::write(&path, text).unwrap();
        let app = App::start(&Options::new(path), Clock::system()).await.unwrap();
        Self { app, folder }
    }

    fn door(&self) -> SocketAddr {
        self.app.addresses["mail"][0]
    }

    async fn load(&self, line: &str) -> LoadReport {
        let mut args: LoadArgs = parse(line);
        args.target = self.door();
        measure(args).await.unwrap()
    }

    async fn send(&self, line: &str, text: &str) -> anyhow::Result<()> {
        let mut args: SendArgs = parse(line);
        args.to = self.door();
        args.text = text.to_owned();
        send::run(args).await
    }

    /// Waits until nothing is queued for the relay.
    async fn drained(&self) {
        let target = self.app.router.target("relay").unwrap();
        let drained = async {
            while target.counts().0 > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, drained).await.unwrap();
    }

    async fn stop(self) {
        self.app.stop(Some(SOON)).await;
        self.folder.close().unwrap();
    }
}

/// Runs `scenario` with a relay that keeps every message as a file in the folder it is given.
async fn with_relay<F: Future<Output = ()>>(
    line: &str,
    scenario: impl FnOnce(SocketAddr, std::path::PathBuf) -> F,
) -> Totals {
    let dump = tempfile::tempdir().unwrap();
    let args: RelayArgs = parse(&format!("--quiet --dump {} {line}", dump.path().display()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let playing = async {
        scenario(address, dump.path().to_owned()).await;
        stop.cancel();
    };
    tokio::join!(relay::serve(args, listener, stop.clone()), playing).0.unwrap()
}

/// The mails that the relay took, in no order.
fn mails(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_accepted_arrives_once() {
    let totals = with_relay("", |relay, dump| async move {
        let host = Host::start(relay, "", "").await;
        for how in ["", "--pipeline"] {
            let report = host.load(&format!("--sessions 5 --count 300 {how}")).await;
            assert_eq!((report.accepted, report.broken_sessions), (300, 0));
        }
        host.drained().await;
        let mut tags: Vec<String> = mails(&dump)
            .iter()
            .map(|mail| {
                assert!(
                    mail.starts_with("Received: from wirepost-load ([127.0.0.1])\r\n"),
                    "{mail}"
                );
                assert!(mail.contains("\tby gw.example (Wirepost) with ESMTP id "), "{mail}");
                let tag = mail.split("X-Wirepost-Load: ").nth(1).unwrap();
                tag.lines().next().unwrap().to_owned()
            })
            .collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 600);
        host.stop().await;
    })
    .await;
    assert_eq!((totals.accepted, totals.recipients), (600, 600));
    assert!(totals.connections <= 4, "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_of_one_message_share_a_transaction() {
    let totals = with_relay("", |relay, dump| async move {
        let host = Host::start(relay, "", ", max_recipients: 3").await;
        let rcpt: String = (0..7).map(|n| format!(" --rcpt u{n}@example.org")).collect();
        host.send(&format!("--subject hello{rcpt}"), ".dot\r\nend").await.unwrap();
        host.drained().await;
        let mails = mails(&dump);
        assert!(mails.iter().all(|mail| mail.ends_with("\r\n\r\n.dot\r\nend\r\n")), "{mails:?}");
        host.stop().await;
    })
    .await;
    assert_eq!((totals.accepted, totals.recipients), (3, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_bounces_and_the_others_get_it() {
    let totals = with_relay("--fail bob@=550", |relay, dump| async move {
        let host = Host::start(relay, "", "").await;
        host.send("--from me@example.org --rcpt bob@x.org --rcpt amy@x.org", "hi").await.unwrap();
        let bounced = async {
            while mails(&dump).len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, bounced).await.unwrap();
        let mails = mails(&dump);
        let bounce =
            mails.iter().find(|mail| mail.contains("report-type=delivery-status")).unwrap();
        assert!(bounce.contains("Final-Recipient: rfc822; bob@x.org"), "{bounce}");
        assert!(bounce.contains("550"), "{bounce}");
        host.drained().await;
        host.stop().await;
    })
    .await;
    assert_eq!((totals.accepted, totals.refused), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_away_gets_everything_later() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let host = Host::start(address, "", "").await;
    let report = host.load("--sessions 2 --count 20").await;
    assert_eq!(report.accepted, 20);
    let target = host.app.router.target("relay").unwrap();
    let down = async {
        while target.is_up() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, down).await.unwrap();
    let stop = CancellationToken::new();
    let listener = TcpListener::bind(address).await.unwrap();
    let playing = async {
        host.drained().await;
        host.stop().await;
        stop.cancel();
    };
    let (totals, ()) =
        tokio::join!(relay::serve(parse("--quiet"), listener, stop.clone()), playing);
    assert_eq!(totals.unwrap().accepted, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_answer_is_sent_again_as_a_possible_duplicate() {
    let totals = with_relay("--drop-after 3", |relay, dump| async move {
        let host = Host::start(relay, "", "").await;
        host.load("--sessions 1 --count 9").await;
        host.drained().await;
        let mails = mails(&dump);
        let again = mails.iter().filter(|mail| mail.starts_with("X-Possible-Duplicate: yes\r\n"));
        assert!(again.count() >= 1, "{}", mails.len());
        host.stop().await;
    })
    .await;
    assert_eq!(totals.accepted, 9);
    assert!(totals.unanswered >= 1);
}
