//! What is measured: from which protocol to which, and through a plugin or not.

use super::{HTTP, RELAY, SMPP, SMSC, SMTP};

/// A protocol of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Smtp,
    Smpp,
}

/// One measurement.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) from: Protocol,
    pub(super) to: Protocol,
    pub(super) plugin: bool,
    /// The generator says commands together, as mail servers do.
    pub(super) pipelining: bool,
    pub(super) count: u64,
}

const fn scenario(
    name: &'static str,
    from: Protocol,
    to: Protocol,
    plugin: bool,
    count: u64,
) -> Scenario {
    Scenario { name, from, to, plugin, pipelining: false, count }
}

const PIPELINED: Scenario = Scenario {
    pipelining: true,
    ..scenario("SMTP, pipelined -> 1 plugin -> SMTP", Protocol::Smtp, Protocol::Smtp, true, 100_000)
};

/// All of them, every one durable on disk.
pub(super) const SCENARIOS: [Scenario; 6] = [
    scenario("SMTP -> SMTP", Protocol::Smtp, Protocol::Smtp, false, 100_000),
    scenario("SMTP -> 1 plugin -> SMTP", Protocol::Smtp, Protocol::Smtp, true, 100_000),
    PIPELINED,
    scenario("SMPP -> SMPP", Protocol::Smpp, Protocol::Smpp, false, 200_000),
    scenario("SMPP -> 1 plugin -> SMPP", Protocol::Smpp, Protocol::Smpp, true, 200_000),
    scenario("SMTP -> 1 plugin -> SMPP", Protocol::Smtp, Protocol::Smpp, true, 100_000),
];

impl Scenario {
    /// The router's configuration; whatever comes goes to the connector `out`.
    pub(super) fn configuration(&self) -> String {
        let relay = format!("smtp: {{ host: 127.0.0.1, port: {RELAY}, tls: none }}");
        let smsc = format!(
            "smpp: {{ host: 127.0.0.1, port: {SMSC}, system_id: wp, password: {{ file: secret }}, binds: 4, window: 100 }}"
        );
        let out = if self.to == Protocol::Smtp { &relay } else { &smsc };
        let plugin = "plugins:\n  - { name: stop-words, module: stop_words.wasm, config: { words: [lottery] } }\n";
        format!(
            "log: {{ filter: warn }}
admin: {{ http: \"127.0.0.1:{HTTP}\", socket: wirepost.sock }}
listeners:
  mail:  {{ smtp: {{ bind: \"127.0.0.1:{SMTP}\", allow: [\"127.0.0.0/8\"], max_connections_per_ip: 200 }} }}
  esmes: {{ smpp: {{ bind: \"127.0.0.1:{SMPP}\" }} }}
domains:
  sms.bench.test: {{ phone: international }}
bounces: {{ via: bounce, from: \"postmaster@bench.test\" }}
accounts:
  load: {{ smpp: {{ system_id: test, password: {{ file: secret }} }} }}
connectors:
  out: {{ {out} }}
  bounce: {{ {relay} }}
{}routes:
  - {{ name: all, to: out }}
",
            if self.plugin { plugin } else { "" },
        )
    }

    /// How much of what it is loaded with.
    pub(super) const fn shape(&self) -> Shape {
        let Self { pipelining, count, .. } = *self;
        match self.from {
            Protocol::Smtp => Shape { sessions: 20, window: 1, pipelining, count },
            Protocol::Smpp => Shape { sessions: 4, window: 100, pipelining, count },
        }
    }

    /// The words of the command that sends the messages.
    pub(super) fn load(&self, smtp: u16, smpp: u16, shape: Shape) -> String {
        match (self.from, self.to) {
            (Protocol::Smpp, _) => load_smpp(smpp, shape),
            (Protocol::Smtp, Protocol::Smtp) => load_smtp(smtp, shape),
            (Protocol::Smtp, Protocol::Smpp) => {
                let Shape { sessions, count, .. } = shape;
                format!(
                    "load smtp --json --target 127.0.0.1:{smtp} --sessions {sessions} --count {count} --size 400 --rcpt +33612345678@sms.bench.test"
                )
            }
        }
    }
}

/// How much is sent at one time, and in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Connections.
    pub(super) sessions: u64,
    /// Unanswered requests on each, of those that allow more than one.
    pub(super) window: u64,
    /// Whether what precedes a mail is said at one time.
    pub(super) pipelining: bool,
    /// Messages in all.
    pub(super) count: u64,
}

/// The words of a command that sends short messages.
pub(super) fn load_smpp(port: u16, shape: Shape) -> String {
    let Shape { sessions, window, count, .. } = shape;
    format!(
        "load smpp --json --target 127.0.0.1:{port} --binds {sessions} --window {window} --count {count} --text-octets 100"
    )
}

/// The words of a command that sends mail of 2 KiB.
pub(super) fn load_smtp(port: u16, shape: Shape) -> String {
    let Shape { sessions, count, .. } = shape;
    let pipeline = if shape.pipelining { " --pipeline" } else { "" };
    format!(
        "load smtp --json --target 127.0.0.1:{port} --sessions {sessions} --count {count} --size 2048{pipeline}"
    )
}
