//! One link of a simulated SMSC.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use message::text::{Alphabet, Coding, Shift, Udh, meaning};
use serde_json::json;
use smpp::pdu::{Bind, CancelSm, DataSm, Destination, MessageResp, QuerySmResp, SubmitMulti};
use smpp::pdu::{SubmitMultiResp, Unsuccess};
use smpp::receipt::{MessageState, ReceiptToSend};
use smpp::session::{Config, Role, WINDOW_MAX, empty_response};
use smpp::{Address, CommandId, Event, Octets, Pdu, Session, Sm, Status, npi, ton};
use tokio::net::TcpStream;

use super::SmscArgs;
use super::shared::{Shared, print, wall_ms};
use crate::cli::parts::parts;
use crate::sms::link::{Link, Step, now};

/// Requests that may wait for a late answer before nothing more is read.
const LATE_MAX: usize = 100_000;

/// The message that is sent to ESMEs, in as many parts as it takes; nothing if it takes too many.
fn parts_of(args: &SmscArgs, reference: u16) -> Vec<Sm> {
    let octets = |text: &str| Octets::from_text(text).unwrap_or_default();
    let parts = parts(&args.mo_text, reference).unwrap_or_default().into_iter();
    let addressed = parts.map(|part| Sm {
        source: Address::new(ton::INTERNATIONAL, npi::ISDN, octets(&args.mo_from)),
        destination: Address::new(ton::NETWORK_SPECIFIC, npi::UNKNOWN, octets(&args.mo_to)),
        ..part
    });
    addressed.collect()
}

/// One link.
struct Serving {
    /// The message that is sent to ESMEs, in its parts.
    parts: Vec<Sm>,
    shared: Arc<Shared>,
    link: Link<TcpStream>,
    number: u64,
    peer: SocketAddr,
    who: String,
    submits: u64,
    /// Answers that wait: (due, sequence, status, answer).
    late: VecDeque<(Instant, u32, Status, Pdu)>,
    /// Receipts that wait: (due, receipt).
    receipts: VecDeque<(Instant, Sm)>,
    /// Lines for the record, printed once per read.
    record: String,
    /// When messages to send are due next.
    wait: Option<Instant>,
    cut: bool,
}

/// Serves a link to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    socket: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let config = Config {
        window: shared.args.window.clamp(1, WINDOW_MAX),
        long_credentials: true,
        session_init: Duration::from_secs(30),
        ..Config::new(Role::Smsc)
    };
    let link = Link::new(socket, Session::new(config, now()));
    let mut serving = Serving {
        parts: parts_of(&shared.args, 0),
        number: shared.next_link(),
        shared,
        link,
        peer,
        who: String::new(),
        submits: 0,
        late: VecDeque::new(),
        receipts: VecDeque::new(),
        record: String::new(),
        wait: None,
        cut: false,
    };
    let served = serving.run().await;
    let Serving { link, shared, receipts, .. } = serving;
    for (due, receipt) in receipts {
        shared.keep_orphan(due, receipt);
    }
    link.close().await;
    served
}

impl Serving {
    async fn run(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut leaving = false;
        loop {
            let mut ended = false;
            while let Some(event) = self.link.session.poll_event() {
                ended |= self.handle(event);
            }
            if !self.record.is_empty() {
                print(&self.record);
                self.record.clear();
            }
            if self.cut {
                return Ok(());
            }
            let now = now();
            self.answer_late(now);
            self.deliver(now);
            if ended {
                return Ok(());
            }
            let until =
                [self.wait, self.late.front().map(|late| late.0)].into_iter().flatten().min();
            let may_read = self.late.len() < LATE_MAX;
            let receives = self.receives();
            tokio::select! {
                step = self.link.step(may_read, until) => if step? == Step::Gone {
                    return Ok(());
                },
                () = shared.wake.notified(), if receives => {}
                () = shared.stop.cancelled(), if !leaving => {
                    leaving = true;
                    if self.link.session.mode().is_none() {
                        return Ok(());
                    }
                    self.link.session.unbind(now);
                }
            }
        }
    }

    fn receives(&self) -> bool {
        self.link.session.mode().is_some_and(smpp::pdu::BindMode::receives)
    }

    /// Handles one event; true if it is the last.
    fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Request { sequence, pdu, .. } => self.request(sequence, pdu),
            Event::Response { token: RECEIPT, status, .. } if status.is_ok() => {
                self.shared.receipts.fetch_add(1, Ordering::Relaxed);
            }
            Event::Response { token: MESSAGE, status, latency, .. } if status.is_ok() => {
                self.shared.count_delivered(latency);
            }
            Event::Response { status, .. } => {
                self.shared.note(&json!({ "event": "refused", "link": self.number,
                    "status": status.to_string() }));
            }
            Event::Timeout { .. } | Event::Orphan { .. } | Event::Bound { .. } => {}
            Event::BindRefused { .. } => {}
            Event::Refused { command, status, fault, .. } => {
                self.shared.note(&json!({ "event": "answered", "link": self.number,
                    "command": command.to_string(), "status": status.to_string(),
                    "fault": fault.map(|fault| fault.to_string()) }));
            }
            Event::Unbound => return true,
            Event::FramingLost(lost) => {
                let error = lost.to_string();
                self.shared.note(&json!({ "event": "link", "link": self.number, "error": error }));
                return true;
            }
            Event::LinkDead(dead) => {
                let error = dead.to_string();
                self.shared.note(&json!({ "event": "link", "link": self.number, "error": error }));
                return true;
            }
        }
        false
    }

    fn request(&mut self, sequence: u32, pdu: Pdu) {
        let command = pdu.command();
        match pdu {
            Pdu::SubmitSm(sm) => self.submit(sequence, command, &sm),
            Pdu::DataSm(data) => self.data(sequence, data),
            Pdu::SubmitMulti(multi) => self.multi(sequence, multi),
            Pdu::Bind(bind) => self.bind(sequence, &bind),
            Pdu::QuerySm(query) => {
                let resp = QuerySmResp {
                    message_id: query.message_id,
                    final_date: Octets::new(),
                    message_state: MessageState::Enroute.number(),
                    error_code: 0,
                };
                self.respond(sequence, Status::ROK, Pdu::QuerySmResp(resp));
            }
            Pdu::CancelSm(CancelSm { .. }) => {
                self.respond(sequence, Status::RCANCELFAIL, Pdu::CancelSmResp);
            }
            Pdu::ReplaceSm(_) => {
                self.respond(sequence, Status::RREPLACEFAIL, Pdu::ReplaceSmResp);
            }
            _ if command.is_unanswered() => {}
            _ => self.respond(sequence, Status::RINVCMDID, empty_response(command)),
        }
    }

    fn bind(&mut self, sequence: u32, bind: &Bind) {
        let args = &self.shared.args;
        let wrong = |wanted: &Option<String>, given: &Octets| {
            wanted.as_ref().is_some_and(|wanted| *given != wanted.as_str())
        };
        let status = if wrong(&args.system_id, &bind.system_id) {
            Status::RINVSYSID
        } else if wrong(&args.password, &bind.password) {
            Status::RINVPASWD
        } else {
            Status::ROK
        };
        self.who = bind.system_id.to_string();
        self.shared.note(
            &json!({ "event": "bind", "link": self.number, "peer": self.peer.to_string(),
            "system_id": self.who, "mode": format!("{:?}", bind.mode).to_lowercase(),
            "status": status.to_string() }),
        );
        let name = Octets::from_text(&self.shared.args.name).unwrap_or_default();
        let now = now();
        if !status.is_ok() {
            self.link.session.refuse(now, sequence, bind.mode.command(), status);
        } else if self.link.session.accept_bind(now, sequence, bind, name).is_err() {
            self.link.session.refuse(now, sequence, bind.mode.command(), Status::RSYSERR);
        }
        self.wait = Some(now);
    }

    fn submit(&mut self, sequence: u32, command: CommandId, sm: &Sm) {
        let now = now();
        let Some((status, id)) = self.take(sm, now) else { return };
        let resp = MessageResp::new(id);
        let pdu = if command == CommandId::DATA_SM {
            Pdu::DataSmResp(resp)
        } else {
            Pdu::SubmitSmResp(resp)
        };
        self.respond(sequence, status, pdu);
    }

    fn data(&mut self, sequence: u32, data: DataSm) {
        self.submit(sequence, CommandId::DATA_SM, &data.into_sm());
    }

    fn multi(&mut self, sequence: u32, multi: SubmitMulti) {
        let (now, mut resp) = (now(), SubmitMultiResp::default());
        for destination in multi.destinations {
            let address = match destination {
                Destination::Address(address) => address,
                Destination::List(addr) => {
                    let address = Address { addr, ..Address::default() };
                    resp.unsuccess.push(Unsuccess { address, status: Status::RINVNUMDESTS });
                    continue;
                }
            };
            let sm = Sm { destination: address.clone(), ..multi.sm.clone() };
            match self.take(&sm, now) {
                Some((Status::ROK, id)) => resp.message_id = id,
                Some((status, _)) => resp.unsuccess.push(Unsuccess { address, status }),
                None => return,
            }
        }
        self.respond(sequence, Status::ROK, Pdu::SubmitMultiResp(resp));
    }

    /// Takes one message: its status and id; `None` if it shall get no answer.
    fn take(&mut self, sm: &Sm, now: Instant) -> Option<(Status, Octets)> {
        let shared = Arc::clone(&self.shared);
        let number = shared.submits.fetch_add(1, Ordering::Relaxed) + 1;
        self.submits += 1;
        self.cut |= shared.args.drop_after.is_some_and(|most| self.submits >= most);
        let silent = self.cut || shared.args.never_answer;
        let status = shared.status(&sm.destination.addr, now);
        let (id, receipt_id) = if status.is_ok() { shared.next_id() } else { Default::default() };
        shared.count(status);
        if !shared.args.quiet {
            self.write_record(number, sm, status, &id);
        }
        if silent {
            return None;
        }
        if status.is_ok() && !shared.args.no_receipts {
            self.plan_receipt(sm, &receipt_id, now);
        }
        Some((status, id))
    }

    fn plan_receipt(&mut self, sm: &Sm, id: &Octets, now: Instant) {
        let args = &self.shared.args;
        let delivered = args.receipt_state == MessageState::Delivered;
        let wish = sm.registered_delivery;
        if !(if delivered { wish.wants_success() } else { wish.wants_failure() }) {
            return;
        }
        let wait = i64::try_from(args.receipt_delay.as_millis()).unwrap_or(0);
        let submitted_ms = wall_ms();
        let receipt = ReceiptToSend {
            id,
            state: args.receipt_state,
            submitted_ms,
            done_ms: submitted_ms + wait,
            error: u16::from(!delivered),
            text: &sm.short_message,
        };
        if let Ok(receipt) = receipt.into_sm(sm.destination.clone(), sm.source.clone()) {
            let due = now + args.receipt_delay + args.response_delay;
            if self.receives() {
                self.receipts.push_back((due, receipt));
            } else {
                self.shared.keep_orphan(due, receipt);
            }
        }
    }

    fn respond(&mut self, sequence: u32, status: Status, pdu: Pdu) {
        let now = now();
        if !self.shared.args.response_delay.is_zero() {
            let due = now + self.shared.args.response_delay;
            return self.late.push_back((due, sequence, status, pdu));
        }
        self.respond_now(now, sequence, status, &pdu);
    }

    fn respond_now(&mut self, now: Instant, sequence: u32, status: Status, pdu: &Pdu) {
        if self.link.session.respond(now, sequence, status, pdu).is_err() {
            let request = pdu.command().request();
            self.link.session.refuse(now, sequence, request, Status::RSYSERR);
        }
    }

    fn answer_late(&mut self, now: Instant) {
        while self.late.front().is_some_and(|late| late.0 <= now) {
            if let Some((_, sequence, status, pdu)) = self.late.pop_front() {
                self.respond_now(now, sequence, status, &pdu);
            }
        }
    }

    /// Sends receipts and messages that are due, as far as the window goes.
    fn deliver(&mut self, now: Instant) {
        self.wait = None;
        if !self.receives() {
            return;
        }
        while self.receipts.front().is_some_and(|(due, _)| *due <= now)
            && self.link.session.window_free() > 0
        {
            if let Some((_, receipt)) = self.receipts.pop_front() {
                self.send(now, receipt, RECEIPT);
            }
        }
        let (orphans, next_orphan) = self.shared.take_orphans(now, self.link.session.window_free());
        for receipt in orphans {
            self.send(now, receipt, RECEIPT);
        }
        let room = self.link.session.window_free() / self.parts.len().max(1);
        let (due, next_mo) = self.shared.due_mo(now, room);
        for _ in 0..due {
            self.send_message(now);
        }
        let window = self.link.session.window_free() > 0;
        let next_receipt = self.receipts.front().map(|(due, _)| *due);
        let next = [next_receipt, next_orphan, next_mo].into_iter().flatten().min();
        // A full window is looked at again when an answer comes.
        self.wait = next.filter(|_| window);
    }

    fn send(&mut self, now: Instant, sm: Sm, token: u64) {
        if let Err(error) = self.link.session.request(now, &Pdu::DeliverSm(sm), token) {
            let error = error.to_string();
            self.shared.note(&json!({ "event": "deliver", "link": self.number, "error": error }));
        }
    }

    fn send_message(&mut self, now: Instant) {
        let mut parts = self.parts.clone();
        if parts.len() > 1 {
            parts = parts_of(&self.shared.args, self.shared.next_reference());
        }
        for part in parts {
            self.send(now, part, MESSAGE);
        }
    }

    fn write_record(&mut self, number: u64, sm: &Sm, status: Status, id: &Octets) {
        let body = sm.text();
        let (udh, text) = if sm.esm_class.has_udh() {
            Udh::split(&body).unwrap_or_else(|_no_header| (Udh::default(), body.clone()))
        } else {
            (Udh::default(), body.clone())
        };
        let text = match meaning(sm.data_coding, Alphabet::Gsm).coding {
            Coding::Text(alphabet) => alphabet.decode(&text, Shift::of(&udh)),
            Coding::Binary | Coding::Opaque => hex(&text),
        };
        let tlvs: Vec<_> = sm
            .tlvs
            .iter()
            .map(|tlv| json!({ "tag": format!("0x{:04x}", tlv.tag), "value": hex(tlv.value) }))
            .collect();
        let record = json!({
            "event": "message", "number": number, "time_ms": wall_ms(), "link": self.number,
            "system_id": self.who, "source": sm.source.addr.to_text(),
            "source_ton": sm.source.ton, "source_npi": sm.source.npi,
            "destination": sm.destination.addr.to_text(), "text": text,
            "data_coding": sm.data_coding, "esm_class": sm.esm_class.0,
            "registered_delivery": sm.registered_delivery.0, "udh": hex(udh.octets()),
            "tlvs": tlvs, "status": status.0, "id": id.to_text(),
        });
        // A string takes everything.
        if writeln!(self.record, "{record}").is_err() {
            self.record.clear();
        }
    }
}

/// Token of a receipt that was sent.
const RECEIPT: u64 = 1;
/// Token of a message that was sent.
const MESSAGE: u64 = 2;

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        for nibble in [octet >> 4, octet & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('?'));
        }
        text
    })
}
