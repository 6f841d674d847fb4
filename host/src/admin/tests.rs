//! The socket and the port, as a client sees them.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::app::{App, Options};
use crate::cli::control::{AskError, Place, with_query};
use crate::cli::send::smtp::{self, SendArgs, Tls};
use crate::platform::clock::Clock;

const CONFIG: &str = r#"
node: { hostname: gw.example.net, drain_timeout: 1s }
spool: { memory: true }
journal: { path: journal }
admin: { http: "127.0.0.1:0" }
listeners:
  mail: { smtp: { bind: "127.0.0.1:0", allow: ["127.0.0.0/8"] } }
connectors:
  # Nobody listens on port 1.
  relay: { smtp: { host: 127.0.0.1, port: 1, tls: none } }
bounces: { via: relay, from: "postmaster@gw.example.net" }
routes:
  - { name: odd, when: { to: { domain: held.example.org } }, to: { hold: looked at } }
  - { name: mail-out, when: { to: { domain: example.org } }, to: relay }
"#;

/// How long a test waits for a state.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    folder: TempDir,
    app: App,
    place: Place,
}

impl Node {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("wirepost.yaml");
        std::fs::write(&config, CONFIG).unwrap();
        let app = App::start(&Options::new(&config), Clock::system()).await.unwrap();
        Self { folder, app, place: Place { config, socket: None, json: false } }
    }

    async fn send(&self, rcpt: &str) {
        let args = SendArgs {
            to: self.app.addresses["mail"][0],
            from: "sender@example.org".to_owned(),
            rcpt: vec![rcpt.to_owned()],
            subject: "Hi".to_owned(),
            text: "there".to_owned(),
            file: None,
            notify: None,
            tls: Tls::None,
            user: None,
            password: None,
            json: true,
        };
        smtp::run(args).await.unwrap();
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let answer = self.place.get(path).await.unwrap();
                if wanted(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap()
    }

    #[track_caller]
    fn refused(answer: Result<Value, AskError>, status: u16, words: &str) {
        match answer {
            Err(AskError::Refused { status: found, text }) => {
                assert_eq!(found.as_u16(), status, "{text}");
                assert!(text.contains(words), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    async fn http(&self, host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.app.http.unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

fn id_of(items: &Value) -> String {
    items[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_listed_explained_tried_and_returned() {
    let node = Node::start().await;
    node.send("bob@example.org").await;
    let tried = |list: &Value| list[0]["why"].as_str().is_some_and(|why| why.contains("refused"));
    let list = node.until("/queue?target=relay&state=scheduled", tried).await;
    assert_eq!(list[0]["route"], "mail-out");
    let id = id_of(&list);
    let why = node.place.get("/queue/why").await.unwrap();
    assert_eq!(why[0]["target"], "relay");
    assert_eq!(why[0]["reasons"][0]["example"], Value::String(id.clone()));
    node.place.post(&format!("/queue/{id}/retry")).await.unwrap();
    let path = with_query(&format!("/queue/{id}/bounce"), &[("why", Some("no such shop"))]);
    // It may be tried at this very moment.
    while let Err(AskError::Refused { status, .. }) = node.place.post(&path).await {
        assert_eq!(status.as_u16(), 409);
    }
    Node::refused(node.place.get(&format!("/queue/{id}")).await, 404, "no such delivery");
    let story = node.place.get(&format!("/trace/{id}")).await.unwrap();
    let events: Vec<_> = story.as_array().unwrap().iter().collect();
    assert_eq!(events[0]["event"], "accepted");
    let operator = events.iter().find(|event| event["event"] == "operator").unwrap();
    let detail = operator["detail"].as_str().unwrap();
    assert!(detail.starts_with("no such shop, by "), "{detail}");
    assert!(events.iter().any(|event| event["event"] == "born"));
    // The bounce waits for the same relay.
    node.until("/queue?target=relay", |list| list[0]["from"] == "").await;
    node.app.stop(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_waits_for_an_operator() {
    let node = Node::start().await;
    node.send("carol@held.example.org").await;
    let list = node.place.get("/queue?state=held").await.unwrap();
    let id = id_of(&list);
    assert_eq!(list[0]["why"], "looked at");
    Node::refused(node.place.post(&format!("/queue/{id}/retry")).await, 409, "release");
    node.place.post(&format!("/queue/{id}/delete")).await.unwrap();
    assert_eq!(node.place.get("/queue").await.unwrap(), Value::Array(Vec::new()));
    Node::refused(node.place.post(&format!("/queue/{id}/release")).await, 404, "no such");
    node.app.stop(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_suspended_and_a_job_changes_what_waits() {
    let node = Node::start().await;
    let post = |path| node.place.post(path);
    let suspended = post("/targets/relay/suspend?why=new%20disks").await.unwrap();
    assert_eq!(suspended["stopped"], "suspended");
    Node::refused(post("/targets/nobody/drain").await, 404, "nobody");
    node.send("bob@example.org").await;
    let status = node.place.get("/status").await.unwrap();
    let stopped = status["targets"][0]["stopped"].as_str().unwrap();
    assert!(stopped.starts_with("suspended since"), "{stopped}");
    assert!(stopped.contains(": new disks, by "), "{stopped}");
    let why = node.place.get("/queue/why").await.unwrap();
    assert_eq!(
        (&why[0]["count"], &why[0]["stopped"]),
        (&Value::from(1), &Value::from("suspended"))
    );
    Node::refused(post("/queue/jobs?act=hold").await, 400, "which deliveries");
    Node::refused(post("/queue/jobs?act=hold&state=lost").await, 400, "no state");
    let done = |job: &Value| job["state"] == "done";
    let dry = post("/queue/jobs?act=hold&target=relay&dry_run=true").await.unwrap();
    let dry = node.until(&format!("/queue/jobs/{}", dry["id"]), done).await;
    assert_eq!((&dry["matched"], &dry["done"]), (&Value::from(1), &Value::from(0)));
    assert_eq!(dry["samples"][0]["to"], "bob@example.org");
    let held = post("/queue/jobs?act=hold&to=*@example.org&why=look").await.unwrap();
    node.until(&format!("/queue/jobs/{}", held["id"]), done).await;
    let list = node.place.get("/queue?state=held").await.unwrap();
    let story = node.place.get(&format!("/trace/{}", id_of(&list))).await.unwrap();
    assert!(story.to_string().contains("\"look, by "), "{story}");
    assert_eq!(node.place.get("/queue/jobs").await.unwrap()[0]["done"], 1);
    Node::refused(node.place.get("/queue/jobs/99").await, 404, "no job 99");
    node.app.stop(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_from_where_the_last_page_ended() {
    let node = Node::start().await;
    node.send("carol@held.example.org").await;
    let page = node.place.get("/events?limit=2").await.unwrap();
    let names = |page: &Value| {
        let events = page["events"].as_array().unwrap().iter();
        events.map(|event| event["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["started", "accepted"]);
    assert_eq!((&page["gap"], &page["next"]), (&Value::Bool(false), &page["events"][1]["cursor"]));
    let next = page["next"].as_str().unwrap();
    let rest = node.place.get(&with_query("/events", &[("from", Some(next))])).await.unwrap();
    assert_eq!(names(&rest), ["held"]);
    let id = page["events"][1]["id"].as_str().unwrap();
    let about = node.place.get(&with_query("/events", &[("id", Some(id))])).await.unwrap();
    assert_eq!(names(&about), ["accepted", "held"]);
    let end = node.place.get("/events?from=end").await.unwrap();
    assert_eq!((names(&end), &end["next"]), (Vec::new(), &rest["next"]));
    let old = node.place.get("/events?from=1:5").await.unwrap();
    assert_eq!((&old["gap"], names(&old).len()), (&Value::Bool(true), 3));
    Node::refused(node.place.get("/events?from=5").await, 400, "`start`");
    node.app.stop(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_are_open_to_an_operator() {
    let node = Node::start().await;
    node.send("carol@held.example.org").await;
    let audit = node.place.get("/audit").await.unwrap();
    assert_eq!(audit["balanced"], true);
    assert_eq!(audit["ledger"]["doors"]["mail"]["accepted"], 1);
    assert_eq!(audit["ledger"]["sums"]["held"], 1);
    assert_eq!(audit["journal"]["missing_count"], 0);
    let id = id_of(&node.place.get("/queue?state=held").await.unwrap());
    node.place.post(&format!("/queue/{id}/delete")).await.unwrap();
    let audit = node.place.get("/audit").await.unwrap();
    assert_eq!(audit["ledger"]["targets"]["@held"]["removed"], 1);
    assert_eq!(audit["balanced"], true);
    // Somebody takes an entry away and says nothing.
    node.send("carol@held.example.org").await;
    let id: u64 = id_of(&node.place.get("/queue?state=held").await.unwrap()).parse().unwrap();
    let mut batch = spool::Batch::new();
    batch.remove_entry(id);
    let _durable = node.app.router.spool.commit(batch).await.unwrap();
    let audit = node.place.get("/audit").await.unwrap();
    assert_eq!((&audit["balanced"], &audit["ledger"]["difference"]), (&false.into(), &1.into()));
    assert_eq!(audit["journal"]["missing"], serde_json::json!([id.to_string()]));
    let metrics = node.http("localhost", "/metrics").await;
    assert!(metrics.contains("wirepost_ledger_imbalance 1\n"), "{metrics}");
    node.app.stop(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_make_no_sense_are_told_so() {
    let node = Node::start().await;
    let get = |path| node.place.get(path);
    Node::refused(get("/queue?state=lost").await, 400, "scheduled, undecided or held");
    Node::refused(get("/queue?target=nobody").await, 404, "nobody");
    Node::refused(get("/queue/x").await, 400, "not a message id");
    Node::refused(get("/trace/1").await, 404, "knows nothing");
    Node::refused(get("/nothing").await, 404, "nothing of this name");
    Node::refused(node.place.post("/queue/retry?target=nobody").await, 404, "nobody");
    node.app.stop(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_taken_or_says_why_not() {
    let node = Node::start().await;
    let write = |text: &str| std::fs::write(&node.place.config, text).unwrap();
    write(&CONFIG.replace("to: relay }", "to: relya }"));
    let report = node.place.post("/reload?dry_run=true").await.unwrap();
    assert_eq!(report["ok"], false);
    assert!(report.to_string().contains("did you mean \\\"relay\\\"?"), "{report}");
    assert_eq!(report["generation"], 1);
    write(&CONFIG.replace("mail-out", "out"));
    // The file is watched: this reload or the watcher's comes first.
    assert_eq!(node.place.post("/reload").await.unwrap()["ok"], true);
    let status = node.until("/status", |status| status["generation"] == 2).await;
    assert_eq!(status["reload"]["ok"], true);
    node.app.stop(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_private_and_belongs_to_one_router() {
    let node = Node::start().await;
    let socket = node.folder.path().join("wirepost.sock");
    let mode = || std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let error = bind_control(&socket).await.unwrap_err();
    assert!(error.to_string().contains("another router"), "{error}");
    let status = node.place.get("/status").await.unwrap();
    assert_eq!(status["accepting"], true);
    assert_eq!(status["targets"][0]["name"], "relay");
    assert_eq!(status["listeners"][0]["protocol"], "smtp");
    let Node { folder, app, place } = node;
    app.stop(None).await;
    assert!(matches!(place.get("/status").await, Err(AskError::Nobody { .. })));
    // What a router that was killed leaves is replaced; what is no socket is not.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    drop(bind_control(&socket).await.unwrap());
    assert_eq!(mode(), 0o600);
    let file = folder.path().join("wirepost.yaml");
    assert!(bind_control(&file).await.unwrap_err().to_string().contains("no socket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_tells_of_health_and_figures_only_and_only_by_our_name() {
    let node = Node::start().await;
    assert!(node.http("localhost", "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(node.http("127.0.0.1:80", "/readyz").await.contains("ready"));
    assert!(node.http("rebound.example", "/metrics").await.starts_with("HTTP/1.1 421"));
    assert!(node.http("localhost", "/queue").await.starts_with("HTTP/1.1 404"));
    node.send("carol@held.example.org").await;
    let metrics = node.http("gw.example.net:80", "/metrics").await;
    for line in [
        "wirepost_accepted_total{name=\"mail\"} 1",
        "wirepost_spool_entries{state=\"held\"} 1",
        "wirepost_queue_deliveries{name=\"relay\"} 0",
        "wirepost_generation 1",
        "wirepost_journal_lost_total 0",
        "# TYPE wirepost_spool_commits counter",
        "# EOF",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} is not in:\n{metrics}");
    }
    node.app.stop(None).await;
}

#[test]
fn our_names_are_addresses_localhost_and_the_host_name() {
    use axum::http::{HeaderMap, HeaderValue, header};
    #[track_caller]
    fn check(host: Option<&'static str>, expect: bool) {
        let mut headers = HeaderMap::new();
        headers.extend(host.map(|host| (header::HOST, HeaderValue::from_static(host))));
        assert_eq!(watch::is_ours(&headers, "gw.example.net"), expect, "{host:?}");
    }
    check(Some("127.0.0.1:8025"), true);
    check(Some("[::1]:8025"), true);
    check(Some("LOCALHOST"), true);
    check(Some("GW.example.net:8025"), true);
    check(Some("evil.example"), false);
    check(Some("127.0.0.1.evil.example"), false);
    check(Some("[::1"), true);
    check(Some(""), false);
    check(None, false);
}
