//! The load generator against the simulated relay.

use clap::Parser;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cli::sim::relay::{self, RelayArgs, Totals};

#[derive(Parser)]
struct RelayLine {
    #[command(flatten)]
    args: RelayArgs,
}

#[derive(Parser)]
struct LoadLine {
    #[command(flatten)]
    args: LoadArgs,
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    std::iter::once("wirepost").chain(line.split_whitespace())
}

async fn run(relay_line: &str, load_line: &str) -> (Totals, LoadReport) {
    let relay_args = RelayLine::parse_from(words(relay_line)).args;
    let mut load_args = LoadLine::parse_from(words(load_line)).args;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    load_args.target = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = relay::serve(relay_args, listener, stop.clone());
    let loading = async {
        let report = measure(load_args).await.unwrap();
        stop.cancel();
        report
    };
    let (totals, report) = tokio::join!(serving, loading);
    (totals.unwrap(), report)
}

#[tokio::test]
async fn everything_sent_arrives_pipelined_or_not() {
    for how in ["", "--pipeline"] {
        let line = format!("--sessions 4 --count 200 --size 3000 {how}");
        let (totals, report) = run("--quiet", &line).await;
        assert_eq!((report.accepted, totals.accepted, totals.recipients), (200, 200, 200));
        assert!(report.refused.is_empty() && report.p99_ms >= report.p50_ms);
        assert_eq!(totals.connections, 4);
    }
}

#[tokio::test]
async fn refusals_are_counted_by_their_code() {
    let (totals, report) =
        run("--quiet --fail user7@=550 --fail user8@=451", "--sessions 2 --count 10").await;
    assert_eq!((report.accepted, totals.accepted, totals.refused), (8, 8, 2));
    assert_eq!(report.refused.into_iter().collect::<Vec<_>>(), [(451, 1), (550, 1)]);
}

#[tokio::test]
async fn what_a_cut_connection_took_along_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("acks");
    let line = format!("--sessions 1 --count 7 --reconnect --ack-log {}", log.display());
    let (totals, report) = run("--quiet --drop-after 3", &line).await;
    assert_eq!((report.accepted, totals.accepted), (7, 7));
    assert_eq!((report.unanswered, totals.unanswered), (3, 3));
    let acknowledged = std::fs::read_to_string(log).unwrap();
    assert_eq!(acknowledged.lines().count(), 7);
    assert!(acknowledged.lines().all(|line| line.contains(" 250 2.0.0 taken")));
}

#[tokio::test]
async fn a_dumped_message_is_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let (_, report) =
        run(&format!("--dump {}", dir.path().display()), "--sessions 1 --count 1 --size 900").await;
    assert_eq!(report.accepted, 1);
    let mail = std::fs::read_to_string(dir.path().join("00000001.eml")).unwrap();
    assert!((800..=903).contains(&mail.len()), "{}", mail.len());
    assert!(mail.contains("\r\nX-Wirepost-Load: ") && mail.ends_with("\r\n"));
}

#[test]
fn percentiles_are_latencies_that_were_seen() {
    let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
    for (per_mille, expect) in [(500, 50), (990, 99), (1000, 100), (1, 1)] {
        assert_eq!(percentile(&sorted, per_mille), Duration::from_millis(expect));
    }
    assert_eq!(percentile(&[], 500), Duration::ZERO);
}
