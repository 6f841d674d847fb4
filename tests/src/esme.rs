//! An ESME: it binds, submits, and remembers what it is given.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smpp::pdu::{Bind, BindMode, MessageResp};
use smpp::receipt::Receipt;
use smpp::session::{Config, Role};
use smpp::{Event, InterfaceVersion, Octets, Pdu, Session, Sm, Status};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wirepost::sms::link::{Link, Step, now};

use crate::wait::{DEADLINE, until};

/// Requests that wait to be sent.
const REQUESTS_MAX: usize = 4096;
/// Requests without an answer; less than a listener takes.
const WINDOW: usize = 90;

type Request = (Pdu, oneshot::Sender<(Status, Pdu)>);

#[derive(Debug, Default)]
struct State {
    delivered: Mutex<Vec<Sm>>,
    gone: AtomicBool,
}

/// A bound ESME.
#[derive(Debug)]
pub struct Esme {
    requests: mpsc::Sender<Request>,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

impl Esme {
    /// Binds as a transceiver.
    pub async fn bind(address: SocketAddr, system_id: &str, password: &str) -> Self {
        Self::try_bind(address, system_id, password).await.expect("the bind is accepted")
    }

    /// Binds, or says with which status it was refused.
    ///
    /// # Errors
    /// The refusal.
    pub async fn try_bind(
        address: SocketAddr,
        system_id: &str,
        password: &str,
    ) -> Result<Self, Status> {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let config = Config { window: WINDOW, ..Config::new(Role::Esme) };
        let mut link = Link::new(socket, Session::new(config, now()));
        let bind = Bind {
            mode: BindMode::Transceiver,
            system_id: Octets::from_text(system_id).unwrap(),
            password: Octets::from_text(password).unwrap(),
            interface_version: InterfaceVersion::V34,
            ..Bind::default()
        };
        link.session.bind(now(), bind).unwrap();
        timeout(DEADLINE, bound(&mut link)).await.expect("an answer to the bind")?;
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(run(link, inbox, Arc::clone(&state)));
        Ok(Self { requests, state, tasks })
    }

    /// A request and its answer; [`None`] if the session ends first.
    pub async fn try_request(&self, pdu: Pdu) -> Option<(Status, Pdu)> {
        let (answer, waiting) = oneshot::channel();
        self.requests.send((pdu, answer)).await.ok()?;
        timeout(DEADLINE, waiting).await.expect("an answer in time").ok()
    }

    /// A request and its answer.
    pub async fn request(&self, pdu: Pdu) -> (Status, Pdu) {
        self.try_request(pdu).await.expect("the session lives")
    }

    /// Submits one message: status and message id.
    pub async fn submit(&self, sm: Sm) -> (Status, String) {
        let (status, pdu) = self.request(Pdu::SubmitSm(sm)).await;
        match pdu {
            Pdu::SubmitSmResp(resp) => (status, resp.message_id.to_string()),
            _ => (status, String::new()),
        }
    }

    /// Submits all as fast as the window allows; all must be taken. Their ids in order.
    pub async fn submit_all(&self, sms: impl IntoIterator<Item = Sm>) -> Vec<String> {
        let mut waiting = Vec::new();
        for sm in sms {
            let (answer, answered) = oneshot::channel();
            self.requests.send((Pdu::SubmitSm(sm), answer)).await.unwrap();
            waiting.push(answered);
        }
        let mut ids = Vec::new();
        for answered in waiting {
            let answer = timeout(DEADLINE, answered).await.expect("an answer in time");
            match answer.expect("the session lives") {
                (Status::ROK, Pdu::SubmitSmResp(resp)) => ids.push(resp.message_id.to_string()),
                other => panic!("not taken: {other:?}"),
            }
        }
        ids
    }

    /// Everything that was delivered to it.
    #[must_use]
    pub fn delivered(&self) -> Vec<Sm> {
        self.state.delivered.lock().unwrap().clone()
    }

    /// The receipts among that: id and state word.
    #[must_use]
    pub fn receipts(&self) -> Vec<(String, String)> {
        let read = |sm: &Sm| {
            let receipt = Receipt::of(sm)?;
            let state = receipt.state.map(|state| state.to_string()).unwrap_or_default();
            Some((receipt.id?.to_string(), state))
        };
        self.delivered().iter().filter_map(read).collect()
    }

    /// Waits for so many receipts.
    pub async fn wait_receipts(&self, count: usize) -> Vec<(String, String)> {
        until(&format!("{count} receipts"), || {
            Some(self.receipts()).filter(|receipts| receipts.len() >= count)
        })
        .await
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state.gone.load(Ordering::Acquire)
    }

    /// Ends without unbinding, as a killed process does.
    pub async fn cut(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn bound(link: &mut Link<TcpStream>) -> Result<(), Status> {
    loop {
        match link.session.poll_event() {
            Some(Event::Bound { .. }) => return Ok(()),
            Some(Event::BindRefused { status }) => return Err(status),
            Some(_) => {}
            None => {
                let step = link.step(true, None).await.unwrap();
                assert_eq!(step, Step::Moved, "closed before the bind was answered");
            }
        }
    }
}

async fn run(mut link: Link<TcpStream>, mut inbox: mpsc::Receiver<Request>, state: Arc<State>) {
    let mut answers: Vec<Option<oneshot::Sender<(Status, Pdu)>>> = Vec::new();
    let ended = loop {
        let mut over = false;
        while let Some(event) = link.session.poll_event() {
            over |= handle(&mut link, event, &mut answers, &state);
        }
        if over {
            break true;
        }
        let room = link.session.window_free() > 0;
        tokio::select! {
            step = link.step(true, Some(now() + Duration::from_secs(1))) => {
                if !matches!(step, Ok(Step::Moved)) {
                    break true;
                }
            }
            request = inbox.recv(), if room => {
                let Some((pdu, answer)) = request else { break false };
                let token = u64::try_from(answers.len()).unwrap();
                answers.push(Some(answer));
                link.session.request(now(), &pdu, token).unwrap();
            }
        }
    };
    if !ended {
        link.session.unbind(now());
    }
    state.gone.store(true, Ordering::Release);
    link.close().await;
}

/// Handles one event; true if it is the last.
fn handle(
    link: &mut Link<TcpStream>,
    event: Event,
    answers: &mut [Option<oneshot::Sender<(Status, Pdu)>>],
    state: &State,
) -> bool {
    match event {
        Event::Response { token, status, pdu, .. } => {
            let answer = answers[usize::try_from(token).unwrap()].take().unwrap();
            // A test that does not wait for its answer does not want it.
            drop(answer.send((status, pdu)));
        }
        Event::Request { sequence, pdu: Pdu::DeliverSm(sm), .. } => {
            state.delivered.lock().unwrap().push(sm);
            let resp = Pdu::DeliverSmResp(MessageResp::default());
            link.session.respond(now(), sequence, Status::ROK, &resp).unwrap();
        }
        Event::Request { sequence, pdu, .. } => {
            link.session.refuse(now(), sequence, pdu.command(), Status::RSYSERR);
        }
        Event::Unbound | Event::FramingLost(_) | Event::LinkDead(_) => return true,
        _ => {}
    }
    false
}
