//! The host's configuration, of which the seed chooses and a reload changes.

use std::fmt::Write as _;

use crate::facts::REPORT_WITHIN;
use crate::peers::reporter::{REPORTED, TAKEN};
use crate::plugins::Plugins;
use crate::random::Random;
use crate::scope::Scope;

/// The accounts of ESMEs.
pub(crate) const ACCOUNTS: [&str; 2] = ["shop", "bank"];

/// An account, as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) present: bool,
    /// How often its password was changed.
    pub(crate) passwords: usize,
    pub(crate) window: Option<usize>,
    pub(crate) rate: Option<usize>,
}

/// What differs between runs and reloads.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) scope: Scope,
    pub(crate) binds: usize,
    pub(crate) window: usize,
    pub(crate) connections: usize,
    pub(crate) recipients: usize,
    /// The second SMSC is there.
    pub(crate) both: bool,
    /// The first one is limited to so many a second.
    pub(crate) rate: Option<usize>,
    pub(crate) retry: &'static str,
    pub(crate) balance: &'static str,
    pub(crate) accounts: [Account; 2],
    pub(crate) plugins: Plugins,
}

impl Account {
    const fn new(name: &'static str) -> Self {
        Self { name, present: true, passwords: 0, window: None, rate: None }
    }

    pub(crate) fn password(&self) -> String {
        if self.passwords == 0 { "secret".to_owned() } else { format!("new{}", self.passwords) }
    }

    fn yaml(&self) -> String {
        let Self { name, present, window, rate, .. } = self;
        if !present {
            return String::new();
        }
        let password = self.password();
        let window = window.map_or(String::new(), |window| format!(", window: {window}"));
        let rate = rate.map_or(String::new(), |rate| format!(", rate: {rate}/s"));
        format!(
            "\n  {name}: {{ smpp: {{ system_id: {name}, password: {password} }}{window}{rate} }}"
        )
    }
}

impl Settings {
    pub(crate) fn draw(random: &mut Random, scope: Scope) -> Self {
        let connections = if random.chance(400) { 1 } else { 1 + random.below(4) };
        Self {
            scope,
            binds: if random.chance(600) { 1 } else { 2 },
            window: 1 + random.below(20),
            connections,
            recipients: 1 + random.below(10),
            both: true,
            rate: random.chance(200).then(|| 5 + random.below(20)),
            retry: "[1s, 3s, 10s]",
            balance: if random.chance(700) { "failover" } else { "round_robin" },
            accounts: ACCOUNTS.map(Account::new),
            plugins: if scope.plugins { Plugins::draw(random) } else { Plugins::default() },
        }
    }

    /// Targets that are here and not in what comes next.
    pub(crate) fn removed(&self, next: &Self) -> Vec<&'static str> {
        if self.both && !next.both { vec!["smsc-b"] } else { Vec::new() }
    }

    pub(crate) fn yaml(&self) -> String {
        let accounts: String = self.accounts.iter().map(Account::yaml).collect();
        let accounts = if accounts.is_empty() { " {}".to_owned() } else { accounts };
        let mut yaml = format!(
            "\
node: {{ hostname: gw.sim, drain_timeout: 10s{} }}
spool: {{ memory: true, free_min: 0, receipts_ttl: 1h, early_receipts_ttl: 3m }}
listeners:
  mail:
    smtp:
      {{ bind: \"10.0.0.1:2525\", hostname: gw.sim, allow: [10.0.0.0/8], tarpit: 0ms, timeouts: {{ command: 60s }} }}
  esmes: {{ smpp: {{ bind: \"10.0.0.1:2775\", enquire_link: 10s, response_timeout: 10s }} }}
domains: {{ sms.sim: {{ phone: FR }} }}
bounces: {{ via: relay, from: postmaster@gw.sim }}
accounts:{accounts}
connectors:
  relay:
    smtp:
      host: relay.sim
      port: 25
      tls: none
      connections_max: {}
      max_recipients: {}
      timeouts: {{ connect: 8s, greeting: 15s, command: 15s, data_init: 15s, data_block: 15s, data_end: 30s }}
    retry: {{ delays: {}, give_up: 2h }}
",
            if self.scope.parts { ", join_within: 20s" } else { "" },
            self.connections,
            self.recipients,
            self.retry,
        );
        self.smsc(&mut yaml, "a", self.rate);
        if self.both {
            self.smsc(&mut yaml, "b", None);
        }
        let (doors, way) = if self.both {
            ("[smsc-a, smsc-b]", format!("{{ {}: [smsc-a, smsc-b] }}", self.balance))
        } else {
            ("smsc-a", "smsc-a".to_owned())
        };
        yaml.push_str(&self.plugins.yaml(self.scope.forks));
        yaml.push_str("routes:\n");
        if self.scope.border || self.scope.parts {
            self.border(&mut yaml);
        }
        if self.accounts[0].present {
            writeln!(yaml, "  - {{ name: mobile, when: {{ door: {doors} }}, to: shop }}").unwrap();
        }
        write!(
            yaml,
            "  - {{ name: either, when: {{ to: {{ prefix: \"+336\" }} }}, to: {way}, convert: {{ text: \"{{subject}}: {{text}}\", parts: 3, on_excess: truncate }} }}
  - {{ name: one, when: {{ to: {{ prefix: \"+337\" }} }}, to: smsc-a, convert: {{ text: \"{{subject}}: {{text}}\", parts: 3, on_excess: truncate }} }}
  - {{ name: mails, when: {{ to: {{ kind: mailbox }} }}, to: relay }}
",
        )
        .unwrap();
        yaml
    }

    /// SMS that become mails.
    fn border(&self, yaml: &mut String) {
        let within = REPORT_WITHIN.as_secs();
        let reported = format!("receipt: reported, receipt_within: {within}s");
        for (prefix, receipt) in [(TAKEN, "receipt: taken"), (REPORTED, &reported)] {
            writeln!(
                yaml,
                "  - {{ name: border-{prefix}, when: {{ to: {{ prefix: \"+33{prefix}\" }} }}, to: relay, rewrite: {{ to: \"{{digits}}@border.sim\" }}, convert: {{ {receipt} }} }}",
            )
            .unwrap();
        }
    }

    fn smsc(&self, yaml: &mut String, name: &str, rate: Option<usize>) {
        let rate = rate.map_or(String::new(), |rate| format!("\n      rate: {rate}/s"));
        writeln!(
            yaml,
            "  smsc-{name}:
    smpp:
      host: smsc-{name}.sim
      system_id: wp
      password: pw
      binds: {}
      window: {}
      connect_timeout: 8s
      response_timeout: 10s
      enquire_link: 10s
      reconnect: {{ min: 200ms, max: 3s }}{rate}
    retry: {{ delays: {}, give_up: 2h }}",
            self.binds, self.window, self.retry,
        )
        .unwrap();
    }
}
