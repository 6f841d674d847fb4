//! What plugins ask of services over HTTP: asked once, kept, bounded, and nobody waits inside.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use smpp::receipt::MessageState;
use smpp::{Sm, Status};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wirepost_tests::plugins::{install, module};
use wirepost_tests::sms::{receipt, text, text_with_receipt};
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Answer, Relay, Smsc, World};

/// An HTTP server, as plain as possible. By path: the whole answer, or none until it is given one.
struct Service {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    answers: Mutex<BTreeMap<String, String>>,
    /// The first lines and the headers of all requests.
    asked: Mutex<Vec<String>>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let mut tasks = JoinSet::new();
        let serving = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                connections.spawn(async move { serve(stream, &state).await });
            }
        });
        Self { address, state, _tasks: tasks }
    }

    fn answers(&self, path: &str, status: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        let whole = format!("{head}Location: /elsewhere\r\n\r\n{body}");
        self.state.answers.lock().unwrap().insert(path.to_owned(), whole);
    }

    fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }

    async fn wait_asked(&self, count: usize) -> Vec<String> {
        until(&format!("{count} questions"), || {
            Some(self.asked()).filter(|asked| asked.len() >= count)
        })
        .await
    }
}

async fn serve(stream: TcpStream, state: &State) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => request.push_str(&line),
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        state.asked.lock().unwrap().push(request);
        let answer =
            until("an answer to give", || state.answers.lock().unwrap().get(&path).cloned()).await;
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A router with the plugin that asks, and what its look-up `hlr` says.
async fn world(service: &Service, keys: &str, smsc: Smsc) -> (World, Relay, Smsc) {
    let relay = Relay::start().await;
    let lookups = format!(
        "lookups:\n  hlr: {{ url: \"http://{}/hlr/{{key}}?v=1\", {keys} }}\n\
         plugins: [{{ name: asker, module: asker.wasm }}]\n",
        service.address
    );
    let folder = folder(&format!("{lookups}{}", config(relay.address, smsc.address, ROUTES)));
    install(folder.path(), "asker.wasm", &module("asker.wasm"));
    (World::start_in(folder).await, relay, smsc)
}

async fn said(smsc: &Smsc, count: usize) -> String {
    let taken = smsc.wait(count).await;
    String::from_utf8_lossy(&taken[count - 1].short_message).into_owned()
}

#[tokio::test]
async fn a_message_waits_undecided_for_its_look_up_and_goes_on_when_it_is_answered() {
    let service = Service::start().await;
    let (world, _relay, smsc) = world(&service, "timeout: 20s", Smsc::start().await).await;
    let shop = world.shop().await;
    let (status, _) = shop.submit(text("33612345678", "ask hlr +33/..&?")).await;
    assert_eq!(status, Status::ROK, "it is ours, undecided");
    let asked = service.wait_asked(1).await;
    assert!(asked[0].starts_with("GET /hlr/%2B33%2F..%26%3F?v=1 HTTP/1.1\r\n"), "{}", asked[0]);
    let shown = until("an undecided message", || {
        world.app().router.list(None, 10).unwrap().into_iter().next()
    })
    .await;
    assert_eq!(shown.state, "undecided");
    assert!(shown.why.contains("waits for the look-up hlr"), "{}", shown.why);
    // Others go by.
    shop.submit(text("33612345678", "hello")).await;
    assert_eq!(said(&smsc, 1).await, "hello");
    service.answers("/hlr/%2B33%2F..%26%3F?v=1", "200 OK", " 20801\n");
    assert_eq!(said(&smsc, 2).await, "hlr: 20801");
    world.wait_empty().await;
    // The answer is kept: the next message is decided at the door.
    shop.submit(text("33612345678", "ask hlr +33/..&?")).await;
    assert_eq!(said(&smsc, 3).await, "hlr: 20801");
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_several_of_one_message_are_answered_in_order() {
    let service = Service::start().await;
    let (world, _relay, smsc) = world(&service, "connections: 4", Smsc::start().await).await;
    let shop = world.shop().await;
    shop.submit_all((0..30).map(|_| text("33612345678", "ask hlr b a b"))).await;
    service.answers("/hlr/a?v=1", "200 OK", "A");
    service.answers("/hlr/b?v=1", "200 OK", "B");
    let taken = smsc.wait(30).await;
    assert!(taken.iter().all(|sm| &*sm.short_message == b"hlr: B, A, B"));
    world.wait_empty().await;
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn a_look_up_that_fails_is_told_to_the_plugin_as_what_it_is() {
    let service = Service::start().await;
    let keys = "timeout: 500ms, size: 10";
    let (world, _relay, smsc) = world(&service, keys, Smsc::start().await).await;
    let shop = world.shop().await;
    let cases = [
        ("404 Not Found", "no", "NotFound"),
        ("500 Internal Server Error", "x", "Unavailable"),
        ("302 Found", "", "Unavailable"),
        ("200 OK", "longer than ten", "TooLarge"),
        // It is asked and never answers.
        ("", "", "Unavailable"),
    ];
    for (number, (status, body, expect)) in (1..).zip(cases) {
        if !status.is_empty() {
            service.answers(&format!("/hlr/k{number}?v=1"), status, body);
        }
        shop.submit(text("33612345678", &format!("ask hlr k{number}"))).await;
        assert_eq!(said(&smsc, number).await, format!("hlr: {expect}"), "{status}");
    }
    let asked = service.asked();
    assert!(!asked.iter().any(|request| request.contains("elsewhere")), "{asked:?}");
    // That there is no answer is kept too.
    shop.submit(text("33612345678", "ask hlr k1")).await;
    assert_eq!(said(&smsc, 6).await, "hlr: NotFound");
    assert_eq!(service.asked().len(), asked.len());
    world.wait_empty().await;
}

#[tokio::test]
async fn a_question_to_nobody_is_the_plugin_s_fault_and_a_wait_for_nothing_too() {
    let service = Service::start().await;
    let (world, _relay, smsc) = world(&service, "timeout: 1s", Smsc::start().await).await;
    let shop = world.shop().await;
    for words in ["ask dns example.org", "ask hlr ..", "ask-in-vain"] {
        assert_eq!(shop.submit(text("33612345678", words)).await.0, Status::ROK);
    }
    until("three faults", || {
        let waits = world.app().router.list(None, 10).unwrap();
        let faults = waits.iter().filter(|shown| shown.why.contains("asker failed")).count();
        (faults == 3).then_some(())
    })
    .await;
    assert_eq!((service.asked().len(), smsc.taken().len()), (0, 0));
}

#[tokio::test]
async fn a_message_that_waits_for_a_look_up_survives_a_restart() {
    let service = Service::start().await;
    let (world, _relay, smsc) = world(&service, "timeout: 1s", Smsc::start().await).await;
    let shop = world.shop().await;
    shop.submit(text("33612345678", "ask hlr k")).await;
    service.wait_asked(1).await;
    let folder = world.stop().await;
    service.answers("/hlr/k?v=1", "200 OK", "here");
    let world = World::start_in(folder).await;
    assert_eq!(said(&smsc, 1).await, "hlr: here");
    world.wait_empty().await;
}

#[tokio::test]
async fn secrets_go_to_the_service_and_private_addresses_are_asked_only_if_they_are_written() {
    let service = Service::start().await;
    let keys = "authorization: \"Bearer s3cret\"";
    let (world, _relay, smsc) = world(&service, keys, Smsc::start().await).await;
    service.answers("/hlr/k?v=1", "200 OK", "yes");
    let shop = world.shop().await;
    shop.submit(text("33612345678", "ask hlr k")).await;
    assert_eq!(said(&smsc, 1).await, "hlr: yes");
    let asked = service.asked().remove(0).to_ascii_lowercase();
    assert!(asked.contains("authorization: bearer s3cret\r\n"), "{asked}");
    // 127.0.0.1 as IPv6 writes it is not what the file says.
    let yaml = std::fs::read_to_string(world.config()).unwrap();
    let port = service.address.port().to_string();
    let link_local =
        yaml.replace(&format!("127.0.0.1:{port}/hlr"), &format!("169.254.169.254:{port}/hlr"));
    world.reload(&link_local).await;
    shop.submit(text("33612345678", "ask hlr k")).await;
    assert_eq!(said(&smsc, 2).await, "hlr: Unavailable");
    assert_eq!(service.asked().len(), 1);
}

#[tokio::test]
async fn a_plugin_sees_receipts_and_may_keep_them_from_the_origin() {
    let service = Service::start().await;
    let says = |number: usize, sm: &Sm| Answer {
        after: Some(receipt(sm, &number.to_string(), MessageState::Delivered)),
        ..Answer::default()
    };
    let smsc = Smsc::start_with(says).await;
    let (world, _relay, smsc) = world(&service, "timeout: 1s", smsc).await;
    let shop = world.shop().await;
    shop.submit(text_with_receipt("33612345670", "silence")).await;
    smsc.wait(1).await;
    let (_, id) = shop.submit(text_with_receipt("33612345678", "told")).await;
    let receipts = shop.wait_receipts(1).await;
    assert_eq!(receipts, [(id, MessageState::Delivered.to_string())]);
    world.wait_empty().await;
    assert_eq!(shop.receipts().len(), 1);
}
