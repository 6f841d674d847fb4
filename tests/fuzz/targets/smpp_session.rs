//! A whole link in either role: no octet panics, and every request of ours has one outcome.
#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use smpp::pdu::{Bind, BindMode};
use smpp::session::{Config, empty_response};
use smpp::{Event, InterfaceVersion, Octets, Pdu, Role, Session, Sm, Status};

fuzz_target!(|octets: &[u8]| {
    let Some((&how, octets)) = octets.split_first() else { return };
    let step = usize::from(how >> 1).max(1);
    let mut link = if how & 1 == 0 { Link::new(Role::Smsc) } else { Link::new(Role::Esme) };
    for chunk in octets.chunks(step) {
        link.session.handle_bytes(link.now, chunk);
        link.work();
    }
    link.now += Duration::from_secs(31);
    link.session.handle_timeout(link.now);
    link.work();
    link.session.unbind(link.now);
    for token in link.session.close() {
        assert!(link.open.remove(&token), "token {token} has two outcomes");
    }
    assert!(link.open.is_empty(), "requests without an outcome: {:?}", link.open);
});

struct Link {
    session: Session,
    now: Instant,
    /// Tokens of requests without an outcome.
    open: BTreeSet<u64>,
    next: u64,
}

impl Link {
    fn new(role: Role) -> Self {
        let now = Instant::now();
        let mut session = Session::new(Config::new(role), now);
        if role == Role::Esme {
            let bind = Bind {
                mode: BindMode::Transceiver,
                system_id: Octets::from_static(b"fuzz"),
                password: Octets::new(),
                system_type: Octets::new(),
                interface_version: InterfaceVersion::V34,
                addr_ton: 0,
                addr_npi: 0,
                address_range: Octets::new(),
            };
            session.bind(now, bind).expect("a fresh session binds");
        }
        Self { session, now, open: BTreeSet::new(), next: 0 }
    }

    /// Accepts whatever is asked, and asks whenever it may.
    fn work(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Request { sequence, pdu, .. } => self.answer(sequence, &pdu),
                Event::Response { token, .. } | Event::Timeout { token } => {
                    assert!(self.open.remove(&token), "token {token} has two outcomes");
                }
                _ => {}
            }
            self.ask();
        }
        drop(self.session.take_output());
    }

    fn ask(&mut self) {
        let pdu = Pdu::DataSm(smpp::pdu::DataSm::default());
        let submit = Pdu::SubmitSm(Sm::default());
        for pdu in [submit, pdu] {
            if self.session.request(self.now, &pdu, self.next).is_ok() {
                self.open.insert(self.next);
                self.next += 1;
            }
        }
    }

    fn answer(&mut self, sequence: u32, pdu: &Pdu) {
        let command = pdu.command();
        if command.is_unanswered() {
            return;
        }
        let id = Octets::from_static(b"smsc");
        let answered = match pdu {
            Pdu::Bind(bind) => self.session.accept_bind(self.now, sequence, bind, id),
            _ => self.session.respond(self.now, sequence, Status::ROK, &empty_response(command)),
        };
        if answered.is_err() {
            self.session.refuse(self.now, sequence, command, Status::RSYSERR);
        }
    }
}
