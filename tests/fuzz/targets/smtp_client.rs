//! A mail session from the client's side: whatever the server answers, each message has one
//! outcome with a result for every recipient.
#![no_main]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use smtp::client::{ClientConfig, Envelope, Event};
use smtp::{ClientSession, MailParams, Mailbox, RcptParams, ReversePath};

fuzz_target!(|octets: &[u8]| {
    let Some((&how, octets)) = octets.split_first() else { return };
    let now = Instant::now();
    let mut config = ClientConfig::new("gw.example.net");
    config.pipelining = how & 1 == 0;
    let mut session = ClientSession::new(Arc::new(config), now, how & 2 != 0);
    let mut sent = 0;
    let mut outcomes = 0;
    let mut closed = 0;
    for chunk in octets.chunks(usize::from(how >> 2).max(1)) {
        session.handle_bytes(now, chunk);
        work(&mut session, now, &mut outcomes, &mut closed);
        if session.is_ready() && session.send(now, envelope()).is_ok() {
            sent += 1;
        }
        drop(session.output(now).split());
    }
    session.handle_eof();
    work(&mut session, now, &mut outcomes, &mut closed);
    assert_eq!(sent, outcomes, "messages and outcomes");
    assert_eq!(closed, 1, "a session closes once");
});

fn work(session: &mut ClientSession, now: Instant, outcomes: &mut u32, closed: &mut u32) {
    while let Some(event) = session.poll_event() {
        match event {
            Event::StartTls => session.handle_tls_started(now),
            Event::Sent(outcome) => {
                assert_eq!(outcome.recipients.len(), 2);
                *outcomes += 1;
            }
            Event::Closed { .. } => *closed += 1,
            Event::Ready(_) | Event::Alive => {}
        }
    }
}

fn envelope() -> Envelope {
    let mailbox = |text| Mailbox::parse(text).expect("a mailbox");
    Envelope {
        sender: ReversePath::Null,
        params: MailParams::default(),
        recipients: vec![
            (mailbox("alice@example.org"), RcptParams::default()),
            (mailbox("bob@example.org"), RcptParams::default()),
        ],
        prefix: Bytes::new(),
        body: Bytes::from_static(b"Subject: x\r\n\r\n.\r\nhello\r\n"),
    }
}
