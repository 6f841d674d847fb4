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
    pub(super) count: u64,
}

const fn scenario(
    name: &'static str,
    from: Protocol,
    to: Protocol,
    plugin: bool,
    count: u64,
) -> Scenario {
    Scenario { name, from, to, plugin, count }
}

/// All of them, every one durable on disk.
pub(super) const SCENARIOS: [Scenario; 5] = [
    scenario("SMTP -> SMTP", Protocol::Smtp, Protocol::Smtp, false, 100_000),
    scenario("SMTP -> 1 plugin -> SMTP", Protocol::Smtp, Protocol::Smtp, true, 100_000),
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
  mail:  {{ smtp: {{ bind: \"127.0.0.1:{SMTP}\", allow: [\"127.0.0.0/8\"] }} }}
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

    /// The words of the command that sends the messages.
    pub(super) fn load(&self, smtp: u16, smpp: u16, count: u64) -> String {
        match (self.from, self.to) {
            (Protocol::Smpp, _) => {
                format!(
                    "load smpp --json --target 127.0.0.1:{smpp} --binds 4 --window 100 --count {count} --text-octets 100"
                )
            }
            (Protocol::Smtp, Protocol::Smtp) => {
                format!(
                    "load smtp --json --target 127.0.0.1:{smtp} --sessions 20 --count {count} --size 2048"
                )
            }
            (Protocol::Smtp, Protocol::Smpp) => format!(
                "load smtp --json --target 127.0.0.1:{smtp} --sessions 20 --count {count} --size 400 --rcpt +33612345678@sms.bench.test"
            ),
        }
    }
}
