//! A network that loses, delays, stalls and cuts as the seed says.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use wirepost::platform::net::{Accept, Network, Pipe, PipeEnd};

use crate::random::Random;
use crate::trace::Trace;

/// Octets on their way in one direction before a writer waits.
const LANE_OCTETS: usize = 32 * 1024;
/// The longest way of an octet without a stall.
pub(crate) const LATENCY_MAX: Duration = Duration::from_millis(120);

/// The network of a run. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

#[derive(Debug)]
struct State {
    random: Random,
    names: BTreeMap<String, SocketAddr>,
    doors: BTreeMap<SocketAddr, Door>,
    connections: BTreeMap<u64, Connection>,
    count: u64,
    /// Connections in a thousand that are refused, and that nobody answers.
    refused: usize,
    unanswered: usize,
    /// When the host found nobody: what it meant to send so goes another time.
    failed: Vec<Instant>,
    calm: bool,
}

#[derive(Debug)]
struct Door {
    /// Which life of the host listens; none is a peer.
    life: Option<u64>,
    waiting: VecDeque<(End, SocketAddr)>,
    waker: Option<Waker>,
}

/// A connection as the network sees it.
#[derive(Debug)]
struct Connection {
    from: SocketAddr,
    to: SocketAddr,
    life: u64,
    /// From the one who connected, and to it.
    lanes: [Lane; 2],
    /// When its first trouble began; its end is one.
    trouble: Option<Instant>,
}

#[derive(Debug, Default)]
struct Lane {
    chunks: VecDeque<Chunk>,
    octets: usize,
    last: Option<Instant>,
    stalled_until: Option<Instant>,
    /// Nothing arrives any more, and nobody is told.
    hole: bool,
    /// The writer has closed: the end comes after what is on its way.
    closed: bool,
    /// The reader is gone.
    deaf: bool,
    cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Chunk {
    written: Instant,
    ready: Instant,
    octets: VecDeque<u8>,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Cut,
    Stall(Duration),
    /// Half open: one side may believe that it lives.
    Hole,
}

impl Net {
    pub(crate) fn new(random: Random, trace: Trace) -> Self {
        let state = State {
            random,
            names: BTreeMap::new(),
            doors: BTreeMap::new(),
            connections: BTreeMap::new(),
            count: 0,
            refused: 0,
            unanswered: 0,
            failed: Vec::new(),
            calm: false,
        };
        Self { state: Arc::new(Mutex::new(state)), trace }
    }

    pub(crate) fn name(&self, name: &str, address: SocketAddr) {
        self.state().names.insert(name.to_owned(), address);
    }

    pub(crate) fn set_refusals(&self, refused: usize, unanswered: usize) {
        let mut state = self.state();
        (state.refused, state.unanswered) = (refused, unanswered);
    }

    /// From now on it only takes its time; what is broken is cut, so that everybody sees it.
    pub(crate) fn calm(&self) {
        let mut state = self.state();
        state.calm = true;
        let broken: Vec<u64> = state
            .connections
            .iter()
            .filter(|(_, connection)| connection.lanes.iter().any(|lane| lane.hole))
            .map(|(number, _)| *number)
            .collect();
        for number in broken {
            state.cut(number);
        }
        for connection in state.connections.values_mut() {
            for lane in &mut connection.lanes {
                lane.stalled_until = None;
                lane.wake();
            }
        }
    }

    /// Listens for a peer.
    pub(crate) fn listen(&self, address: SocketAddr) -> Acceptor {
        let door = Door { life: None, waiting: VecDeque::new(), waker: None };
        self.state().doors.insert(address, door);
        Acceptor { net: self.clone(), address }
    }

    /// Connects for a peer.
    pub(crate) async fn connect(&self, from: SocketAddr, to: SocketAddr) -> io::Result<End> {
        self.open(from, to, 0).await
    }

    /// The host's network in one of its lives.
    pub(crate) fn of_host(&self, life: u64, address: SocketAddr) -> OfHost {
        OfHost { net: self.clone(), life, address }
    }

    /// The host's machine is gone: its peers are told by resets, or not at all.
    pub(crate) fn drop_life(&self, life: u64, silently: bool) {
        let mut state = self.state();
        // Connections that nobody accepted are dropped once the network can be told.
        let mut gone = Vec::new();
        for door in state.doors.values_mut().filter(|door| door.life == Some(life)) {
            gone.extend(door.waiting.drain(..));
        }
        state.doors.retain(|_, door| door.life != Some(life));
        let its: Vec<u64> = state
            .connections
            .iter()
            .filter(|(_, connection)| connection.life == life)
            .map(|(number, _)| *number)
            .collect();
        for number in its {
            if silently {
                state.hole(number);
            } else {
                state.cut(number);
            }
        }
        drop(state);
        drop(gone);
    }

    /// Connections that live, with how many octets are on their way.
    pub(crate) fn alive(&self) -> Vec<(u64, usize)> {
        let state = self.state();
        let alive = state.connections.iter().filter(|(_, connection)| connection.is_whole());
        alive.map(|(number, c)| (*number, c.lanes.iter().map(|lane| lane.octets).sum())).collect()
    }

    /// Something happens to a connection.
    pub(crate) fn trouble(&self, number: u64, trouble: Trouble) {
        let mut state = self.state();
        let Some(connection) = state.connections.get_mut(&number) else { return };
        let (from, to) = (connection.from, connection.to);
        self.trace.note("net", format_args!("#{number} {from} -> {to}: {trouble:?}"));
        match trouble {
            Trouble::Cut => state.cut(number),
            Trouble::Hole => state.hole(number),
            Trouble::Stall(time) => {
                let until = Instant::now() + time;
                connection.trouble.get_or_insert(Instant::now());
                for lane in &mut connection.lanes {
                    lane.stalled_until = Some(until);
                }
            }
        }
    }

    /// When the first trouble of a connection began, if there was any.
    pub(crate) fn troubled(&self, number: u64) -> Option<Instant> {
        self.state().connections.get(&number).and_then(|connection| connection.trouble)
    }

    /// Whether any connection ended, had trouble or did not come about in this time.
    pub(crate) fn troubled_in(&self, window: &RangeInclusive<Instant>) -> bool {
        let state = self.state();
        let troubles = state.connections.values().filter_map(|connection| connection.trouble);
        troubles.chain(state.failed.iter().copied()).any(|at| window.contains(&at))
    }

    async fn open(&self, from: SocketAddr, to: SocketAddr, life: u64) -> io::Result<End> {
        let (latency, refused, unanswered) = {
            let mut state = self.state();
            let latency = state.random.time(0..40);
            let calm = state.calm;
            let (refused, unanswered) = (state.refused, state.unanswered);
            let refused = state.random.chance(refused) && !calm;
            let unanswered = state.random.chance(unanswered) && !calm;
            (latency, refused, unanswered)
        };
        if unanswered {
            self.state().failed.push(Instant::now());
            self.trace.note("net", format_args!("{from} -> {to}: no answer to the connect"));
            std::future::pending::<()>().await;
        }
        sleep(latency).await;
        let mut state = self.state();
        let listens = state.doors.contains_key(&to) && !refused;
        if !listens {
            state.failed.push(Instant::now());
            self.trace.note("net", format_args!("{from} -> {to}: refused"));
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        state.count += 1;
        let number = state.count;
        let door_life = state.doors.get(&to).and_then(|door| door.life);
        let connection = Connection {
            from,
            to,
            life: door_life.unwrap_or(life),
            lanes: [Lane::default(), Lane::default()],
            trouble: None,
        };
        state.connections.insert(number, connection);
        self.trace.note("net", format_args!("#{number} {from} -> {to}: connected"));
        let end = |out| End { net: self.clone(), number, out, timer: None, written: None };
        if let Some(door) = state.doors.get_mut(&to) {
            door.waiting.push_back((end(1), from));
            if let Some(waker) = door.waker.take() {
                waker.wake();
            }
        }
        drop(state);
        Ok(end(0))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn cut(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.trouble.get_or_insert(Instant::now());
        for lane in &mut connection.lanes {
            lane.cut = true;
            lane.hole = false;
            lane.wake();
        }
    }

    fn hole(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.trouble.get_or_insert(Instant::now());
        for lane in &mut connection.lanes {
            lane.hole = true;
        }
    }
}

impl Connection {
    fn is_whole(&self) -> bool {
        self.lanes.iter().all(|lane| !lane.cut && !lane.hole && !lane.closed)
    }
}

impl Lane {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Where a peer is connected to.
#[derive(Debug)]
pub(crate) struct Acceptor {
    net: Net,
    address: SocketAddr,
}

impl Acceptor {
    pub(crate) async fn accept(&mut self) -> (End, SocketAddr) {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(End, SocketAddr)> {
        let mut state = self.net.state();
        let Some(door) = state.doors.get_mut(&self.address) else { return Poll::Pending };
        match door.waiting.pop_front() {
            Some(connected) => Poll::Ready(connected),
            None => {
                door.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Accept for Acceptor {
    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(PipeEnd, SocketAddr)>> {
        let accepted = self.poll(context);
        accepted.map(|(end, peer)| Ok((Box::pin(end) as PipeEnd, peer)))
    }
}

/// What the host sees of it.
#[derive(Debug)]
pub(crate) struct OfHost {
    net: Net,
    life: u64,
    address: SocketAddr,
}

impl Network for OfHost {
    fn bind(&self, address: SocketAddr) -> io::Result<(Box<dyn Accept>, SocketAddr)> {
        let door = Door { life: Some(self.life), waiting: VecDeque::new(), waker: None };
        let before = self.net.state().doors.insert(address, door);
        drop(before);
        Ok((Box::new(Acceptor { net: self.net.clone(), address }), address))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<PipeEnd>> {
        let (net, from, life) = (self.net.clone(), self.address, self.life);
        Box::pin(async move {
            let end = net.open(from, address, life).await?;
            Ok(Box::pin(end) as PipeEnd)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let state = self.net.state();
        let address = state.names.get(host).ok_or(io::ErrorKind::NotFound)?;
        Ok(vec![SocketAddr::new(address.ip(), port)])
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    net: Net,
    number: u64,
    /// The lane that is written to; the other one is read.
    out: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the octets that were read last were written.
    written: Option<Instant>,
}

impl End {
    /// The connection's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// When the octets that were read last were written.
    pub(crate) fn written(&self) -> Instant {
        self.written.unwrap_or_else(Instant::now)
    }
}

impl Pipe for End {}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let now = Instant::now();
        let ready = {
            let mut state = this.net.state();
            let state = &mut *state;
            let Some(connection) = state.connections.get_mut(&this.number) else {
                return Poll::Ready(Ok(()));
            };
            let lane = &mut connection.lanes[1 - this.out];
            lane.reader = Some(context.waker().clone());
            if lane.cut {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if lane.hole {
                return Poll::Pending;
            }
            let stalled = lane.stalled_until.filter(|until| *until > now);
            match lane.chunks.front_mut() {
                Some(chunk) => match stalled.into_iter().chain([chunk.ready]).max() {
                    Some(ready) if ready > now => ready,
                    _ => {
                        let most = chunk.octets.len().min(buffer.remaining());
                        // Reads end anywhere.
                        let some = if state.random.chance(300) {
                            1 + state.random.below(most)
                        } else {
                            most
                        };
                        let octets: Vec<u8> = chunk.octets.drain(..some.min(most)).collect();
                        this.written = Some(chunk.written);
                        if chunk.octets.is_empty() {
                            lane.chunks.pop_front();
                        }
                        lane.octets -= octets.len();
                        buffer.put_slice(&octets);
                        if let Some(writer) = lane.writer.take() {
                            writer.wake();
                        }
                        return Poll::Ready(Ok(()));
                    }
                },
                None if lane.closed => match stalled {
                    Some(until) => until,
                    None => return Poll::Ready(Ok(())),
                },
                None => return Poll::Pending,
            }
        };
        let mut timer = Box::pin(sleep_until(ready));
        let polled = timer.as_mut().poll(context);
        this.timer = Some(timer);
        if polled.is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let mut state = self.net.state();
        let state = &mut *state;
        let Some(connection) = state.connections.get_mut(&self.number) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let lane = &mut connection.lanes[self.out];
        if lane.cut || lane.deaf || lane.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = LANE_OCTETS.saturating_sub(lane.octets);
        if room == 0 {
            lane.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let most = octets.len().min(room);
        let some = if state.random.chance(250) { 1 + state.random.below(most) } else { most };
        let latency = if state.random.chance(50) {
            state.random.time(40..120)
        } else {
            state.random.time(0..20)
        };
        let ready = lane.last.unwrap_or(now).max(now + latency);
        lane.last = Some(ready);
        lane.octets += some;
        if !lane.hole {
            lane.chunks.push_back(Chunk {
                written: now,
                ready,
                octets: octets[..some].iter().copied().collect(),
            });
            if let Some(reader) = lane.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(some))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.net.state();
        if let Some(connection) = state.connections.get_mut(&self.number) {
            connection.trouble.get_or_insert(Instant::now());
            let lane = &mut connection.lanes[self.out];
            lane.closed = true;
            lane.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.net.state();
        let Some(connection) = state.connections.get_mut(&self.number) else { return };
        connection.trouble.get_or_insert(Instant::now());
        let unread = !connection.lanes[1 - self.out].chunks.is_empty();
        for (number, lane) in connection.lanes.iter_mut().enumerate() {
            if number == self.out {
                lane.closed = true;
                // A socket that is closed with unread octets is reset.
                lane.cut |= unread;
            } else {
                lane.deaf = true;
            }
            lane.wake();
        }
    }
}
