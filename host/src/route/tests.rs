//! Promises of the routes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use message::text::Alphabet;
use message::{
    Address, Content, Message, MessageId, Origin, Protocol, Recipient, Short, Timestamp, Tlv, Wish,
};
use proptest::prelude::*;

use super::*;
use crate::config::{CheckOptions, load_text};

/// Monday 2026-11-23, 09:22 UTC.
const NOW: Timestamp = Timestamp::from_ms(1_795_425_725_123);

const BASE: &str = "
listeners:
  esmes: { smpp: { bind: '127.0.0.1:2775' } }
accounts:
  shop: { smtp: { username: shop, password: { env: SHOP } } }
connectors:
  a: { smtp: { host: a.example.net } }
  b: { smtp: { host: b.example.net } }
  c: { smtp: { host: c.example.net } }
tables:
  ported: { rows: { '+33612': a, '+336123': b, '+44': c } }
  costs: { rows: { '+33': 'a=0.05 b=0.03', '+336': 'c=0.01 a=0.02', '+7': '' } }
";

fn table(routes: &str) -> RouteTable {
    let text = format!("{BASE}routes:\n{routes}");
    let loaded = load_text(Path::new("wirepost.yaml"), &text, CheckOptions { environment: false });
    let Some(config) = loaded.config else { panic!("{:#?}", loaded.findings) };
    RouteTable::compile(&config)
}

fn message(content: Content) -> Message {
    let origin = Origin {
        door: "esmes".into(),
        protocol: Protocol::Smpp,
        peer: "127.0.0.1:5000".into(),
        account: "shop".into(),
        session: 1,
        helo: "shop".into(),
        tls: false,
    };
    Message {
        id: MessageId::from_u64(12_345),
        parent: None,
        origin: Arc::new(origin),
        sender: Address::alphanumeric("SHOP"),
        recipients: vec![Recipient::new(Address::phone("+33612345678"), Wish::FINAL)],
        content,
        envid: None,
        ret: None,
        smtputf8: false,
        eight_bit: false,
        meta: BTreeMap::from([("class".into(), "otp".into())]),
        received: NOW,
        not_before: None,
        expires: Timestamp::NEVER,
        priority: 0,
        hops: 0,
    }
}

fn sms() -> Message {
    let mut short = Short::from_coded(Bytes::from_static(b"Your code is 1234"), 0, 0);
    short.tlvs = vec![Tlv { tag: 0x1400, value: Bytes::from_static(b"1101") }];
    message(Content::Short(short))
}

fn mail() -> Message {
    let raw = b"Subject: =?utf-8?q?Caf=C3=A9?=\r\nX-Class: Otp\r\n\r\nhello there\r\n";
    message(Content::Mail(Bytes::from_static(raw)))
}

fn decide(table: &RouteTable, message: &Message, to: &Address) -> RouteDecision {
    table.resolve(&MessageFacts::new(message, to, NOW, Alphabet::Gsm))
}

fn first_target(decision: &RouteDecision) -> Option<&str> {
    if let RouteDecision::Targets { targets, .. } = decision {
        targets.first().map(|name| &**name)
    } else {
        None
    }
}

/// Whether a condition holds for a message to a recipient.
#[track_caller]
fn check(message: &Message, to: &str, when: &str, expect: bool) {
    let table = table(&format!("- {{ name: r, when: {when}, to: a }}"));
    let decision = decide(&table, message, &Address::guess(to));
    assert_eq!(first_target(&decision).is_some(), expect, "{to} {when}");
}

#[test]
fn conditions_on_the_recipient() {
    let sms = sms();
    let number = "+33612345678";
    for (when, expect) in [
        ("{ to: '+33612345678' }", true),
        ("{ to: +33612345678 }", true),
        ("{ to: '+33612345679' }", false),
        ("{ to: [nobody, '+33612345678'] }", true),
        ("{ to: { prefix: '+336' } }", true),
        ("{ to: { prefix: ['+44', '+336'] } }", true),
        ("{ to: { prefix: '+3361234567890' } }", false),
        ("{ to: { glob: '+33[67]*' } }", true),
        ("{ to: { glob: '*5678' } }", true),
        ("{ to: { glob: '+33[89]*' } }", false),
        ("{ to: { regex: '^\\+33[67]\\d{8}$' } }", true),
        ("{ to: { regex: '^33' } }", false),
        ("{ to: { table: ported } }", true),
        ("{ to: { table: ported, value: b } }", true),
        ("{ to: { table: ported, value: a } }", false),
        ("{ to: { kind: phone } }", true),
        ("{ to: { kind: [mailbox, short_code] } }", false),
        ("{ to: { domain: example.org } }", false),
    ] {
        check(&sms, number, when, expect);
    }
    for (when, expect) in [
        ("{ to: alice@example.org }", true),
        ("{ to: { domain: EXAMPLE.org } }", true),
        ("{ to: { domain: .example.org } }", false),
        ("{ to: { domain: .org } }", true),
        ("{ to: { prefix: ALICE@ } }", true),
        ("{ to: { glob: '*@example.*' } }", true),
        ("{ to: { kind: mailbox } }", true),
    ] {
        check(&sms, "Alice@Example.org", when, expect);
    }
    check(&sms, "a@b.c.example.org", "{ to: { domain: .example.org } }", true);
    check(&sms, "a@notexample.org", "{ to: { domain: .example.org } }", false);
}

#[test]
fn conditions_on_the_rest_of_the_envelope() {
    let sms = sms();
    for (when, expect) in [
        ("{ door: esmes }", true),
        ("{ door: a }", false),
        ("{ account: shop }", true),
        ("{ protocol: smpp }", true),
        ("{ protocol: smtp }", false),
        ("{ from: shop }", true),
        ("{ from: { prefix: x } }", false),
        ("{ time: 'mon 09:00-10:00' }", true),
        ("{ time: ['sun', '10:00-11:00 +01:00'] }", true),
        ("{ time: 'tue-sun' }", false),
        ("{ percentage: 100 }", true),
        ("{ percentage: 0 }", false),
        ("{ meta: { class: otp } }", true),
        ("{ meta: { class: { present: false } } }", false),
        ("{ meta: { other: { present: false } } }", true),
        ("{ meta: { other: x } }", false),
        ("{ fork: false }", true),
        ("{ fork: true }", false),
    ] {
        check(&sms, "+33612345678", when, expect);
    }
    let to = Address::phone("+33612345678");
    let table = table("- { name: r, when: { fork: true }, to: a }");
    let fork = MessageFacts::new(&sms, &to, NOW, Alphabet::Gsm).fork(true);
    assert_eq!(first_target(&table.resolve(&fork)), Some("a"));
}

#[test]
fn conditions_on_the_content() {
    for (when, expect) in [
        ("{ data_coding: 0 }", true),
        ("{ data_coding: [4, 0x08] }", false),
        ("{ tlv: { 0x1400: '1101' } }", true),
        ("{ tlv: { 0x1400: true } }", true),
        ("{ tlv: { 0x1400: 'hex:31313031' } }", true),
        ("{ tlv: { 0x1401: true } }", false),
        ("{ text: { contains: CODE } }", true),
        ("{ text: { regex: '\\d{4}$' } }", true),
        ("{ text: { prefix: 'Your code' } }", true),
        ("{ subject: { present: true } }", false),
        ("{ size: { min: 17, max: 17 } }", true),
        ("{ size: { max: 16 } }", false),
    ] {
        check(&sms(), "+33612345678", when, expect);
    }
    for (when, expect) in [
        ("{ subject: café }", true),
        ("{ subject: { glob: '?af*' } }", true),
        ("{ header: { X-Class: otp } }", true),
        ("{ header: { x-class: { prefix: O } } }", true),
        ("{ header: { X-Other: { present: true } } }", false),
        ("{ text: { contains: there } }", true),
        ("{ data_coding: 0 }", false),
        ("{ tlv: { 0x1400: true } }", false),
    ] {
        check(&mail(), "+33612345678", when, expect);
    }
}

#[test]
fn conditions_are_joined() {
    let sms = sms();
    for (when, expect) in [
        ("{ door: esmes, account: shop }", true),
        ("{ door: esmes, protocol: smtp }", false),
        ("{ not: { protocol: smtp } }", true),
        ("{ any: [{ protocol: smtp }, { account: shop }] }", true),
        ("{ any: [{ protocol: smtp }, { account: shop, door: a }] }", false),
        ("{ all: [{ protocol: smpp }, { not: { any: [{ door: a }] } }] }", true),
        ("{ any: [{ to: { prefix: '+44' } }, { to: { prefix: '+33' } }] }", true),
        ("{ not: { to: { prefix: '+33' } } }", false),
    ] {
        check(&sms, "+33612345678", when, expect);
    }
}

#[test]
fn the_first_route_wins_whatever_the_index_finds_first() {
    let routes = "
- { name: glob, when: { to: { glob: '+336*' }, account: shop }, to: a }
- { name: exact, when: { to: '+33612345678' }, to: b }
- { name: short, when: { to: { prefix: '+33' } }, to: b }
- { name: rest, to: c }
";
    let table = table(routes);
    for (to, expect) in [("+33612345678", "a"), ("+33112345678", "b"), ("+441234", "c")] {
        let decision = decide(&table, &sms(), &Address::guess(to));
        assert_eq!(first_target(&decision), Some(expect), "{to}");
    }
}

#[test]
fn other_ends_than_a_target() {
    let routes = "
- { name: d, when: { to: '+1' }, to: { drop: delivered } }
- { name: r, when: { to: '+2' }, to: { reject: { text: no thanks, smtp: 450, enhanced: 4.7.1, smpp: 0x58 } } }
- { name: t, when: { to: '+3' }, to: { reject: no thanks } }
- { name: h, when: { to: '+4' }, to: { hold: ask Bob } }
";
    let table = table(routes);
    let decide = |to: &str| decide(&table, &sms(), &Address::phone(to));
    assert!(matches!(decide("+1"), RouteDecision::Drop { answer: DropAnswer::Delivered, .. }));
    let RouteDecision::Reject { reply, .. } = decide("+2") else { panic!("a refusal") };
    assert_eq!((reply.smtp_code, &*reply.enhanced, reply.smpp_status), (450, "4.7.1", 0x58));
    let RouteDecision::Reject { reply, .. } = decide("+3") else { panic!("a refusal") };
    assert_eq!((reply.smtp_code, &*reply.text, reply.smpp_status), (550, "no thanks", 0x45));
    assert!(matches!(decide("+4"), RouteDecision::Hold { reason, .. } if &*reason == "ask Bob"));
    assert_eq!(decide("+5"), RouteDecision::NoRoute);
}

#[test]
fn strategies_choose_who_is_first_and_keep_the_others_behind() {
    let order = |table: &RouteTable, id: u64, to: &str| {
        let mut message = sms();
        message.id = MessageId::from_u64(id);
        match decide(table, &message, &Address::guess(to)) {
            RouteDecision::Targets { targets, .. } => targets.join(" "),
            other => panic!("{other:?}"),
        }
    };
    let turn = table("- { name: r, to: { round_robin: [a, b, c] } }");
    let turns: Vec<String> = (0..4).map(|_| order(&turn, 1, "+1")).collect();
    assert_eq!(turns, ["a b c", "b c a", "c a b", "a b c"]);

    let weighted = table("- { name: r, to: { weighted: { a: 1, b: 3, c: 0 } } }");
    let drawn: Vec<String> = (0..4000).map(|id| order(&weighted, id, "+1")).collect();
    let share = drawn.iter().filter(|order| *order == "b a c").count();
    assert!((2800..3200).contains(&share), "{share} of 4000 begin with b");
    assert!(drawn.iter().all(|order| order == "b a c" || order == "a b c"));
    assert_eq!(order(&weighted, 7, "+1"), order(&weighted, 7, "+1"));

    let hash = table("- { name: r, to: { hash: [a, b, c] } }");
    let fewer = table("- { name: r, to: { hash: [a, b] } }");
    let mut firsts = BTreeMap::new();
    for number in 0..3000 {
        let to = format!("+33{number}");
        let (all, some) = (order(&hash, 1, &to), order(&fewer, 2, &to));
        assert!(all.starts_with('c') || all.get(..1) == some.get(..1), "{to} moved without need");
        *firsts.entry(all).or_insert(0) += 1;
    }
    assert!(firsts.values().all(|count| (900..1100).contains(count)), "{firsts:?}");

    let costs = table("- { name: r, to: { least_cost: costs } }\n- { name: s, to: b }");
    assert_eq!(order(&costs, 1, "+3361"), "c a");
    assert_eq!(order(&costs, 1, "+3311"), "b a");
    assert_eq!(order(&costs, 1, "+44"), "b");
    assert_eq!(order(&costs, 1, "+7"), "b");
}

#[test]
fn shares_are_as_large_as_they_say() {
    let table = table("- { name: r, when: { percentage: 12.5 }, to: a }");
    let mut message = sms();
    let to = Address::phone("+33612345678");
    let taken = (0..10_000).filter(|id| {
        message.id = MessageId::from_u64(*id);
        first_target(&decide(&table, &message, &to)).is_some()
    });
    let taken = taken.count();
    assert!((1150..1350).contains(&taken), "{taken}");
}

#[test]
fn the_envelope_is_enough_where_no_earlier_route_asks_for_more() {
    let routes = "
- { name: a, when: { to: { prefix: '+33' } }, to: a }
- { name: b, when: { to: { prefix: '+44' }, text: { contains: x } }, to: b }
- { name: c, when: { to: { prefix: ['+44', '+45'] }, account: shop }, to: c }
- { name: d, when: { to: { prefix: '+46' }, meta: { k: v } }, to: c }
- { name: e, when: { any: [{ to: '+47' }, { text: x }], to: { prefix: '+47' } }, to: c }
";
    let table = table(routes);
    let check = |to: &str, expect: &str| {
        let envelope = Envelope {
            door: "esmes",
            account: "shop",
            protocol: Protocol::Smpp,
            sender: Cow::Owned(Address::alphanumeric("SHOP")),
            recipient: Cow::Owned(Address::phone(to)),
            now: NOW,
        };
        let found = match table.resolve_envelope(&envelope) {
            EnvelopeDecision::Certain(decision) => first_target(&decision).unwrap().to_owned(),
            EnvelopeDecision::NeedsContent => "?".to_owned(),
            EnvelopeDecision::NoRoute => "none".to_owned(),
        };
        assert_eq!(found, expect, "{to}");
    };
    check("+331", "a");
    check("+441", "?");
    check("+451", "c");
    check("+461", "?");
    check("+47", "c");
    check("+471", "?");
    check("+48", "none");
}

#[test]
fn what_is_possible_ends_with_what_is_certain() {
    let table = table(
        "
- { name: stop, when: { to: { prefix: '+33' }, text: { prefix: stop } }, to: a }
- { name: other, when: { protocol: smtp }, to: b }
- { name: french, when: { to: { prefix: '+33' } }, to: { failover: [b, c] } }
- { name: rest, when: { to: { prefix: '+3' } }, to: a }
",
    );
    let (sms, to) = (sms(), Address::phone("+33612345678"));
    let envelope = Envelope {
        door: "esmes",
        account: "shop",
        protocol: Protocol::Smpp,
        sender: sms.sender.normal(),
        recipient: to.normal(),
        now: NOW,
    };
    let names: Vec<&str> = table.possible_targets(&envelope).iter().map(|it| &***it).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn a_decision_is_explained() {
    let routes = "
- { name: mail, when: { protocol: smtp }, to: a }
- { name: german, when: { to: { prefix: '+49' } }, to: a }
- { name: french, when: { to: { prefix: '+33' }, text: { contains: lottery } }, to: b }
- { name: rest, to: c }
";
    let table = table(routes);
    let (message, to) = (sms(), Address::phone("+33612345678"));
    let explanation = table.explain(&MessageFacts::new(&message, &to, NOW, Alphabet::Gsm));
    let steps: Vec<(&str, bool, &str)> = explanation
        .steps
        .iter()
        .map(|step| (&*step.route.name, step.takes, &*step.because))
        .collect();
    assert_eq!(
        steps,
        [
            ("mail", false, "protocol: smtp does not hold"),
            ("french", false, "text: contains lottery does not hold"),
            ("rest", true, ""),
        ]
    );
    assert_eq!(explanation.skipped, 1);
    assert_eq!(first_target(&explanation.decision), Some("c"));
}

/// Prints how long many routes take to load and to resolve; the time itself is not a promise.
#[test]
fn twenty_thousand_routes_are_one_look_up() {
    const ROUTES: u32 = 20_000;
    let mut routes = String::new();
    for number in 0..ROUTES {
        let target = ["a", "b", "c"][usize::try_from(number % 3).unwrap()];
        writeln!(
            routes,
            "- {{ name: r{number}, when: {{ to: {{ prefix: '+{}' }} }}, to: {target} }}",
            100_000 + number
        )
        .unwrap();
    }
    let text = format!("{BASE}routes:\n{routes}");
    let (loaded, loading) =
        timed(|| load_text(Path::new("wirepost.yaml"), &text, CheckOptions { environment: false }));
    assert_eq!(loaded.findings, []);
    let config = loaded.config.unwrap();
    let (table, compiling) = timed(|| RouteTable::compile(&config));
    let message = sms();
    let recipients: Vec<Address> =
        (0..ROUTES).map(|number| Address::phone(format!("+{}55", 100_000 + number))).collect();
    let (found, resolving) = timed(|| {
        let found =
            recipients.iter().filter(|to| first_target(&decide(&table, &message, to)).is_some());
        found.count()
    });
    assert_eq!(found, recipients.len());
    println!(
        "{ROUTES} routes: load {loading:?}, compile {compiling:?}, resolve {:?} each",
        resolving / ROUTES
    );
}

#[expect(clippy::disallowed_methods, reason = "the time is printed and decides nothing")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, std::time::Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_changes_no_decision(
        patterns in prop::collection::vec(
            prop_oneof![
                "\\+[12]{1,4}".prop_map(|text| format!("'{text}'")),
                "\\+[12]{1,3}".prop_map(|text| format!("{{ prefix: '{text}' }}")),
                "\\+[12]{0,2}\\*[12]{0,2}".prop_map(|text| format!("{{ glob: '{text}' }}")),
                "[ab]\\.x".prop_map(|text| format!("{{ domain: {text} }}")),
                "\\.[abx]".prop_map(|text| format!("{{ domain: '{text}' }}")),
                "[12]{1,2}".prop_map(|text| format!("{{ regex: '{text}' }}")),
            ],
            1..12,
        ),
        recipients in prop::collection::vec(prop_oneof!["\\+[12]{0,5}", "[12AB]{1,2}@[abAB]\\.x", "1@[ab]\\.[ab]\\.x"], 1..20),
    ) {
        let mut routes = String::new();
        for (number, pattern) in patterns.iter().enumerate() {
            writeln!(routes, "- {{ name: r{number}, when: {{ to: {pattern} }}, to: a }}").unwrap();
        }
        let table = table(&routes);
        let message = sms();
        for recipient in &recipients {
            let to = Address::guess(recipient);
            let facts = MessageFacts::new(&message, &to, NOW, Alphabet::Gsm);
            let slow = table.entries.iter().find(|entry| evaluate(&entry.route.when, &facts) == Truth::Yes);
            let fast = table.resolve(&facts);
            prop_assert_eq!(fast.route().map(|route| &route.name), slow.map(|entry| &entry.route.name));
        }
    }
}
