//! A mail session from the server's side: no octet panics, and what is answered and accepted does
//! not depend on how the stream was cut. Two readers that disagree about that is SMTP smuggling.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use smtp::server::{Auth, Event, ServerConfig, StartTls};
use smtp::{BareNewline, Reply, ServerSession};

fuzz_target!(|octets: &[u8]| {
    let Some((&how, octets)) = octets.split_first() else { return };
    let mut config = ServerConfig::new("mx.example.net");
    config.extensions.auth = Auth::Always;
    config.extensions.starttls = if how & 1 == 0 { StartTls::Off } else { StartTls::Offered };
    if how & 2 != 0 {
        config.bare_newline = BareNewline::Normalize;
    }
    config.limits.message_bytes_max = 2048;
    // Nobody waits here.
    config.limits.tarpit_delay = Duration::ZERO;
    let config = Arc::new(config);
    let step = usize::from(how >> 2).max(1);
    let whole = run(&config, octets.chunks(octets.len().max(1)));
    let cut = run(&config, octets.chunks(step));
    // Whether octets behind STARTTLS are there before its answer is chance, and refused if so.
    if config.extensions.starttls == StartTls::Off {
        assert_eq!(whole, cut, "cut at every {step}");
    }
});

/// Accepts whatever is asked; what was written and what happened.
fn run<'a>(
    config: &Arc<ServerConfig>,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> (Vec<u8>, Vec<Event>) {
    let now = Instant::now();
    let mut session = ServerSession::new(Arc::clone(config), now, false);
    session.greet(now);
    let mut output = Vec::new();
    let mut events = Vec::new();
    for chunk in chunks {
        session.handle_bytes(now, chunk);
        while let Some(event) = session.poll_event(now) {
            match &event {
                Event::Auth(_) => session.reply(now, &Reply::new(235, (2, 7, 0), "ok")),
                Event::Data => session.reply(now, &Reply::plain(354, "go on")),
                Event::Mail { .. } | Event::Rcpt { .. } | Event::Message { .. } => {
                    session.reply(now, &Reply::new(250, (2, 0, 0), "ok"));
                }
                // What follows is for the handshake, and how much of it is here is chance.
                Event::StartTls => {
                    output.extend_from_slice(&session.output().split());
                    return (output, events);
                }
                Event::Hello { .. } | Event::Reset | Event::Closed(_) => {}
            }
            events.push(event);
        }
        output.extend_from_slice(&session.output().split());
    }
    (output, events)
}
