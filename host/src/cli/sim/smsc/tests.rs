//! The tools against each other over the loopback.

use serde_json::Value;

use super::*;
use crate::cli::load;
use crate::cli::smpp_client::Credentials;

fn smsc(change: impl Fn(&mut SmscArgs)) -> SmscArgs {
    let mut args = SmscArgs {
        listen: ([127, 0, 0, 1], 0).into(),
        name: "sim".into(),
        system_id: Some("test".into()),
        password: Some("test".into()),
        ids: IdStyle::HexDec,
        response_delay: Duration::ZERO,
        never_answer: false,
        fail: Vec::new(),
        throttle: None,
        drop_after: None,
        receipt_state: MessageState::Delivered,
        receipt_delay: Duration::from_millis(20),
        no_receipts: false,
        window: 100,
        mo_from: "33612345678".into(),
        mo_to: "33700".into(),
        mo_text: "Hello".into(),
        mo_count: 0,
        mo_rate: 10,
        quiet: true,
        count_every: None,
    };
    change(&mut args);
    args
}

fn load(change: impl Fn(&mut load::smpp::SmppArgs)) -> load::smpp::SmppArgs {
    let mut args = load::smpp::SmppArgs {
        target: String::new(),
        credentials: Credentials {
            system_id: "test".into(),
            password: "test".into(),
            system_type: String::new(),
        },
        binds: 2,
        window: 50,
        count: 1000,
        rate: None,
        text_octets: 60,
        words: String::new(),
        receipts: false,
        receipt_wait: Duration::from_secs(10),
        from: "LOAD".into(),
        dest: 33_600_000_000,
        dests: 10,
        reconnect: false,
        ack_log: None,
        response_timeout: Duration::from_secs(5),
        json: false,
    };
    change(&mut args);
    args
}

/// Runs both; what the load says.
async fn measured(smsc: SmscArgs, mut load: load::smpp::SmppArgs) -> anyhow::Result<Value> {
    let listener = TcpListener::bind(smsc.listen).await?;
    load.target = listener.local_addr()?.to_string();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let (served, result) = tokio::join!(serve(smsc, listener, stop), async {
        let result = load::smpp::measure(load).await;
        stopping.cancel();
        result
    });
    served?;
    result
}

#[tokio::test]
async fn everything_is_answered_and_every_receipt_comes() {
    let result = measured(smsc(|_| {}), load(|args| args.receipts = true)).await.unwrap();
    assert_eq!((&result["ok"], &result["answered"]), (&1000.into(), &1000.into()), "{result}");
    assert_eq!(result["receipts"]["DELIVRD"], 1000, "{result}");
    assert_eq!((&result["cut"], &result["timeouts"]), (&0.into(), &0.into()));
}

#[tokio::test]
async fn failing_destinations_fail() {
    let fail = vec![parse_fail("+33600000003=ESME_RINVDSTADR").unwrap()];
    let result = measured(smsc(|args| args.fail.clone_from(&fail)), load(|_| {})).await.unwrap();
    assert_eq!(result["errors"]["0x0B ESME_RINVDSTADR"], 100, "{result}");
    assert_eq!(result["ok"], 900);
}

#[tokio::test]
async fn a_cut_link_is_bound_again_and_its_messages_are_counted() {
    let smsc = smsc(|args| args.drop_after = Some(300));
    let result = measured(smsc, load(|args| args.reconnect = true)).await.unwrap();
    let number = |name: &str| result[name].as_u64().unwrap();
    assert!(number("binds") > 2 && number("cut") > 0, "{result}");
    assert_eq!(number("answered") + number("cut"), 1000, "{result}");
}

#[tokio::test]
async fn a_wrong_password_is_said() {
    let load = load(|args| args.credentials.password = "wrong".into());
    let error = measured(smsc(|_| {}), load).await.unwrap_err();
    assert!(error.to_string().contains("RINVPASWD"), "{error:#}");
}

#[tokio::test]
async fn acknowledged_messages_are_on_disk_with_their_tag() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acks");
    let load = load(|args| args.ack_log = Some(path.clone()));
    let result = measured(smsc(|_| {}), load).await.unwrap();
    let acks = std::fs::read_to_string(&path).unwrap();
    let mut tags: Vec<_> = acks.lines().filter_map(|line| line.split(' ').next()).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 1000);
    assert!(tags.iter().all(|tag| tag.starts_with(result["run"].as_str().unwrap())));
}

#[tokio::test]
async fn messages_reach_whoever_is_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let esme = crate::cli::sim::esme::EsmeArgs {
        target: listener.local_addr().unwrap().to_string(),
        credentials: load(|_| {}).credentials,
        answer: Status::ROK,
        never_answer: false,
        count: Some(20),
        wait: Some(Duration::from_secs(10)),
    };
    let smsc = smsc(|args| (args.mo_count, args.mo_rate) = (20, 10_000));
    let stop = CancellationToken::new();
    let mut lines = String::new();
    let (served, received) = tokio::join!(serve(smsc, listener, stop.clone()), async {
        let received = crate::cli::sim::esme::receive(esme, stop.clone(), |line| {
            lines.push_str(line);
            Ok(())
        });
        let received = received.await;
        stop.cancel();
        received
    });
    served.unwrap();
    received.unwrap();
    assert_eq!(lines.lines().count(), 20, "{lines}");
    assert!(lines.lines().all(|line| line.contains(r#""text":"Hello""#)));
}
