//! An SMSC whose every answer a test decides.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smpp::pdu::MessageResp;
use smpp::session::{Config, Role};
use smpp::{Event, Octets, Pdu, Session, Sm, Status};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wirepost::sms::link::{Link, Step, now};

use crate::wait::until;

/// What happens to one submit_sm.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// command_status.
    pub status: Status,
    /// The id in the answer; left out, the number of the submit.
    pub id: Option<String>,
    /// A deliver_sm that goes out before the answer, a receipt as a rule.
    pub before: Option<Sm>,
    /// One that goes out after it.
    pub after: Option<Sm>,
    /// How late the answer is.
    pub delay: Duration,
    /// No answer at all.
    pub silent: bool,
    /// The connection is closed at once, without an answer.
    pub cut: bool,
}

type Decide = Box<dyn FnMut(usize, &Sm) -> Answer + Send>;

struct State {
    taken: Mutex<Vec<Sm>>,
    refused: AtomicUsize,
    numbers: AtomicUsize,
    binds: AtomicUsize,
    decide: Mutex<Decide>,
    outbox: Mutex<VecDeque<Sm>>,
    wake: Notify,
}

/// A running SMSC.
pub struct Smsc {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

impl fmt::Debug for Smsc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smsc").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Smsc {
    /// Takes everything and says nothing more.
    pub async fn start() -> Self {
        Self::start_with(|_, _| Answer::default()).await
    }

    /// Asks `decide` about each submit, which are numbered from 1 over all links.
    pub async fn start_with(decide: impl FnMut(usize, &Sm) -> Answer + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), decide).await
    }

    /// The same, here.
    pub async fn start_at(
        address: SocketAddr,
        decide: impl FnMut(usize, &Sm) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            taken: Mutex::default(),
            refused: AtomicUsize::new(0),
            numbers: AtomicUsize::new(0),
            binds: AtomicUsize::new(0),
            decide: Mutex::new(Box::new(decide)),
            outbox: Mutex::default(),
            wake: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut links = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                        links.spawn(serve(Arc::clone(&shared), socket));
                    },
                    Some(_) = links.join_next() => {}
                }
            }
        });
        Self { address, state, tasks }
    }

    /// Stops as a killed process does, and returns where it listened.
    pub async fn stop(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }

    /// What was answered with ESME_ROK, in order.
    #[must_use]
    pub fn taken(&self) -> Vec<Sm> {
        self.state.taken.lock().unwrap().clone()
    }

    /// How many submits were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// How many binds there were.
    #[must_use]
    pub fn binds(&self) -> usize {
        self.state.binds.load(Ordering::Relaxed)
    }

    /// Sends this as a deliver_sm over the link that is free first.
    pub fn deliver(&self, sm: Sm) {
        self.state.outbox.lock().unwrap().push_back(sm);
        self.state.wake.notify_one();
    }

    /// Waits for so many messages.
    pub async fn wait(&self, count: usize) -> Vec<Sm> {
        until(&format!("{count} messages at the SMSC"), || {
            Some(self.taken()).filter(|taken| taken.len() >= count)
        })
        .await
    }
}

/// Answers that wait: when, sequence number, status, answer, what follows it.
type Late = VecDeque<(Instant, u32, Status, Pdu, Option<Sm>)>;

async fn serve(state: Arc<State>, socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    let config = Config { window: 1000, ..Config::new(Role::Smsc) };
    let mut link = Link::new(socket, Session::new(config, now()));
    let mut late = Late::new();
    loop {
        while let Some(event) = link.session.poll_event() {
            if over(&state, &mut link, event, &mut late) {
                link.close().await;
                return;
            }
        }
        answer(&mut link, &mut late);
        let bound = link.session.mode().is_some();
        while bound && link.session.window_free() > 0 {
            let Some(sm) = state.outbox.lock().unwrap().pop_front() else { break };
            link.session.request(now(), &Pdu::DeliverSm(sm), 0).unwrap();
        }
        let until = late.front().map(|(at, ..)| *at);
        tokio::select! {
            step = link.step(true, until) => if !matches!(step, Ok(Step::Moved)) { return },
            () = state.wake.notified(), if bound => {}
        }
    }
}

fn answer(link: &mut Link<TcpStream>, late: &mut Late) {
    while late.front().is_some_and(|(at, ..)| *at <= now()) {
        let (_, sequence, status, pdu, after) = late.pop_front().unwrap();
        link.session.respond(now(), sequence, status, &pdu).unwrap();
        if let Some(sm) = after {
            link.session.request(now(), &Pdu::DeliverSm(sm), 0).unwrap();
        }
    }
}

/// Handles one event; true if the link ends.
fn over(state: &State, link: &mut Link<TcpStream>, event: Event, late: &mut Late) -> bool {
    match event {
        Event::Request { sequence, pdu: Pdu::Bind(bind), .. } => {
            state.binds.fetch_add(1, Ordering::Relaxed);
            let name = Octets::from_static(b"smsc");
            link.session.accept_bind(now(), sequence, &bind, name).unwrap();
        }
        Event::Request { sequence, pdu: Pdu::SubmitSm(sm), .. } => {
            let number = state.numbers.fetch_add(1, Ordering::Relaxed) + 1;
            let decided = (state.decide.lock().unwrap())(number, &sm);
            if decided.cut {
                return true;
            }
            if let Some(sm) = decided.before {
                link.session.request(now(), &Pdu::DeliverSm(sm), 0).unwrap();
            }
            if decided.silent {
                return false;
            }
            let id = match (decided.status, decided.id) {
                (Status::ROK, Some(id)) => Octets::from_text(&id).unwrap(),
                (Status::ROK, None) => Octets::from_text(&number.to_string()).unwrap(),
                _ => Octets::new(),
            };
            if decided.status == Status::ROK {
                state.taken.lock().unwrap().push(sm);
            } else {
                state.refused.fetch_add(1, Ordering::Relaxed);
            }
            let pdu = Pdu::SubmitSmResp(MessageResp::new(id));
            let due = now() + decided.delay;
            late.push_back((due, sequence, decided.status, pdu, decided.after));
        }
        Event::Request { sequence, pdu, .. } => {
            link.session.refuse(now(), sequence, pdu.command(), Status::RINVCMDID);
        }
        Event::Unbound | Event::FramingLost(_) | Event::LinkDead(_) => return true,
        _ => {}
    }
    false
}
