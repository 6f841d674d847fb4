//! Promises of the configuration.
use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod closed;

/// The configuration that the design promises to take, with literal secrets.
const EXAMPLE: &str = r#"
listeners:
  mail:  { smtp: { bind: "127.0.0.1:2525", hostname: gw.example.net, allow: ["127.0.0.0/8"] } }
  esmes: { smpp: { bind: "127.0.0.1:2775" } }
domains:                                   # mailboxes here are phone numbers, national ones of this country
  sms.example.net: { phone: FR }           # 0612345678@sms.example.net -> +33612345678
bounces: { via: relay, from: "postmaster@gw.example.net" }
accounts:
  shop:  { smpp: { system_id: shop, password: { env: SHOP_PASSWORD } }, rate: 200/s, window: 50, from: [SHOP, "33700"] }
connectors:
  smsc-a: { smpp: { host: 127.0.0.1, port: 2776, system_id: wp, password: { env: SMSC_A }, bind: transceiver, window: 50, rate: 500/s } }
  smsc-b: { smpp: { host: 127.0.0.1, port: 2777, system_id: wp, password: { env: SMSC_B }, bind: transceiver } }
  relay:  { smtp: { host: 127.0.0.1, port: 2526, tls: opportunistic } }
plugins:
  - { name: stop-words, module: stop_words.wasm, on: [mail, esmes], config: { words: [lottery] }, on_error: retry }
routes:
  - { name: french-mobiles, when: { to: { glob: "+33[67]*" } }, to: { failover: [smsc-a, smsc-b] }, convert: { text: "{subject}: {text}", parts: 3 } }
  - { name: mail-out, when: { to: { domain: example.org } }, to: relay }
tests:
  - name: mail to a French mobile
    send: { door: mail, to: "0612345678@sms.example.net", subject: Hi, text: there }
    expect: { target: smsc-a, text: "Hi: there" }
"#;

const ELSEWHERE: CheckOptions = CheckOptions { environment: false };

fn load_here(text: &str) -> Loaded {
    load_text(Path::new("wirepost.yaml"), text, ELSEWHERE)
}

/// The findings of a text, as `line: message`.
fn findings(text: &str) -> Vec<String> {
    let loaded = load_here(text);
    loaded.findings.iter().map(|found| format!("{}: {}", found.line, found.message)).collect()
}

/// The text has exactly one finding, on this line, with this in it.
#[track_caller]
fn check_one(text: &str, line: u32, part: &str) {
    let found = findings(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("{line}: ")) && found[0].contains(part), "{found:#?}");
}

#[test]
fn the_example_of_the_design_is_taken() {
    let loaded = load_here(EXAMPLE);
    assert_eq!(loaded.findings, []);
    let config = loaded.config.unwrap();
    assert_eq!(config.accounts["shop"].rate.unwrap().to_string(), "200/s");
    assert_eq!(config.plugins.list[0].config_json.as_ref(), r#"{"words":["lottery"]}"#);
    assert_eq!(
        config.routes[0].targets().map(|name| &**name).collect::<Vec<_>>(),
        ["smsc-a", "smsc-b"]
    );
    let ListenerKind::Smtp(mail) = &config.listeners["mail"].kind else { panic!("mail is SMTP") };
    assert_eq!(mail.decide_within, Duration::from_millis(250));
    assert_eq!(
        config.domains.resolve("0612345678@SMS.example.net"),
        Resolved::Number(message::Address::phone("+33612345678"))
    );
    assert_eq!(config.domains.resolve("alice@example.net"), Resolved::Mailbox);
    assert!(matches!(config.domains.resolve("alice@sms.example.net"), Resolved::NotANumber(_)));
}

#[test]
fn a_price_list_of_numbers_without_plus_is_warned_of() {
    let list = "\ntables: { prices: { rows: { \"336\": smsc-a=2 smsc-b=1 } } }\n";
    let text = EXAMPLE.replace("{ failover: [smsc-a, smsc-b] }", "{ least_cost: prices }") + list;
    let line =
        1 + u32::try_from(EXAMPLE.split("french-mobiles").next().unwrap().matches('\n').count())
            .unwrap();
    check_one(&text, line, "no prefix of tables.prices begins with +");
    let with_default = text.replace("\"336\":", "\"\":");
    assert_eq!(findings(&with_default), Vec::<String>::new());
    assert_eq!(findings(&text.replace("\"336\"", "\"+336\"")), Vec::<String>::new());
}

#[test]
fn a_password_that_is_not_there_hides_no_other_mistake() {
    let text = EXAMPLE
        .replace("{ env: SMSC_B }, bind: transceiver", "{ file: nowhere }, window: fifty")
        .replace("to: relay }", "to: smsc-b }");
    let here = CheckOptions { environment: true };
    let found = load_text(Path::new("wirepost.yaml"), &text, here).findings;
    let of_smsc_b: Vec<_> = found.iter().filter(|one| one.message.contains("smsc-b")).collect();
    let [password, window] = of_smsc_b.as_slice() else { panic!("{found:#?}") };
    assert!(password.message.contains("password: cannot read"), "{password}");
    assert!(window.message.contains("window"), "{window}");
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let text = r#"
listeners:
  mail:
    smtp:
      bnid: 127.0.0.1:2525
      allow: [10.0.0.1/8]
      decide_within: 5 minutes
      max_recipients: 0
bounces: { via: relais, from: postmaster }
connectors:
  relay: { smtp: { host: mx.example.net, tls: maybe } }
  relay-2: { smtp: {}, retries: 3 }
routes:
  - { name: a, when: { to: { regex: "(" } }, to: nowhere }
  - { name: a, when: { to: { domain: example.org } }, to: [relay] }
  - { name: b, when: { time: "25:00" }, to: { reject: "no", hold: "no" } }
"#;
    let expected = [
        (5, "unknown key \"bnid\" in listeners.mail.smtp"),
        (5, "listeners.mail.smtp.bind is missing"),
        (6, "10.0.0.1 has bits set behind /8"),
        (7, "a duration is a number and a unit"),
        (8, "0 is not in 1 to 50000"),
        (9, "bounces.via: there is no connector that speaks SMTP \"relais\""),
        (9, "\"postmaster\" is not a mailbox"),
        (11, "\"maybe\" is none of none, opportunistic, required, verify"),
        (12, "connectors.relay-2.smtp.host is missing"),
        (12, "unknown key \"retries\" in connectors.relay-2"),
        (14, "routes.a.when.to.regex: not a regular expression"),
        (14, "there is no connector or account \"nowhere\""),
        (15, "there are two routes called \"a\""),
        (15, "routes.a.to does not say how its targets are chosen"),
        (16, "routes.b.when.time"),
        (16, "routes.b.to says one thing"),
    ];
    let mut found = findings(text);
    for (line, part) in expected {
        let at = found
            .iter()
            .position(|found| found.starts_with(&format!("{line}: ")) && found.contains(part))
            .unwrap_or_else(|| panic!("line {line}: {part}\nis not in {found:#?}"));
        found.remove(at);
    }
    assert!(found.is_empty(), "more than expected: {found:#?}");
    assert!(load_here(text).config.is_none());
}

#[test]
fn syntax_errors_have_their_place() {
    check_one("node:\n  id: 1\n  id: 2\n", 3, "duplicate mapping key: id");
    check_one("node: [1\n", 1, "");
    check_one("node: { hostname: !Env HOST }\n", 1, "unsupported tag `!Env`");
    check_one("node: { id: !!int \"1\" }\n", 1, "YAML tags are not used here");
    check_one("- a\n", 1, "the file is a map of keys, not a list");
    check_one("---\nnode: {}\n---\nlog: {}\n", 4, "multiple YAML documents");
}

#[test]
fn aliases_cannot_blow_up_the_file() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in "abcdefghi".chars().zip("bcdefghij".chars()) {
        let items = vec![format!("*{from}"); 10].join(", ");
        text.push_str(&format!("{to}: &{to} [{items}]\n"));
    }
    assert!(load_here(&text).config.is_none());
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("\n- ", ""), ("!!map {a: ", "}")] {
        for depth in [20, 31, 32, 33, 64, 200, 5000] {
            let text = format!("plugins: {}{}", open.repeat(depth), close.repeat(depth));
            assert!(load_here(&text).config.is_none(), "{depth} {open}");
        }
    }
    let mut text = String::new();
    for depth in 0..5000 {
        text.push_str(&format!("{}- \n", " ".repeat(depth)));
    }
    assert!(load_here(&text).config.is_none());
}

#[test]
fn an_account_sends_as_itself() {
    let config = load_here(EXAMPLE).config.unwrap();
    let shop = &config.accounts["shop"];
    for (sender, may) in
        [("SHOP", true), ("shop", true), ("33700", true), ("OTHER", false), ("", true)]
    {
        assert_eq!(shop.may_send_as(&message::Address::guess(sender)), may, "{sender}");
    }
}

#[test]
fn quiet_hours_end() {
    let text = |hours: &str| EXAMPLE.replace("convert: {", &format!("quiet: {hours}, convert: {{"));
    let not_before = |hours: &str, now: u64| {
        let config = load_here(&text(hours)).config.unwrap();
        config.routes[0].options.not_before(message::Timestamp::from_ms(now)).to_string()
    };
    let monday = 1_795_425_725_123;
    assert_eq!(not_before("['20:00-08:00']", monday), "2026-11-23T09:22:05.123Z");
    assert_eq!(not_before("['09:00-10:30']", monday), "2026-11-23T10:30:00.000Z");
    assert_eq!(
        not_before("['mon 09:00-10:00', '10:00-11:00 +00:00']", monday),
        "2026-11-23T11:00:00.000Z"
    );
    assert_eq!(not_before("['mon', 'tue']", monday), "2026-11-25T00:00:00.000Z");
    assert_eq!(not_before("['00:00-24:00']", monday), "2026-11-23T09:22:05.123Z");
}

#[test]
fn an_open_relay_is_refused_unless_it_is_meant() {
    let text = |more: &str| {
        EXAMPLE.replace(r#"allow: ["127.0.0.0/8"]"#, &format!("allow: [\"0.0.0.0/0\"]{more}"))
    };
    check_one(&text(""), 3, "lets the whole Internet send mail through here");
    assert_eq!(findings(&text(", open_relay: true")), Vec::<String>::new());
}

#[test]
fn mail_without_bounces_is_refused() {
    let text = EXAMPLE.replace("bounces: {", "#");
    check_one(&text, 3, "bounces is missing");
}

#[test]
fn routes_that_nothing_reaches_are_pointed_at() {
    let routes = |routes: &str| {
        let (head, _) = EXAMPLE.split_once("routes:").unwrap();
        format!("{head}routes:\n{routes}")
    };
    let first =
        "- { name: all, to: relay }\n- { name: late, when: { to: { prefix: '+33' } }, to: smsc-a }";
    check_one(&routes(first), 18, "no message reaches the route \"late\"");
    let prefix = "- { name: fr, when: { to: { prefix: '+33' } }, to: smsc-a }\n\
                  - { name: one, when: { account: shop, to: '+33612345678' }, to: smsc-b }";
    check_one(&routes(prefix), 18, "no message reaches the route \"one\"");
    let apart = "- { name: fr, when: { account: shop, to: { prefix: '+33' } }, to: smsc-a }\n\
                 - { name: one, when: { to: '+33612345678' }, to: smsc-b }";
    assert_eq!(findings(&routes(apart)), Vec::<String>::new());
    let domain = "- { name: sms, when: { to: { domain: sms.example.net } }, to: relay }";
    check_one(&routes(domain), 17, "which are numbers by then");
    let mailbox = "- { name: sms, when: { to: { domain: example.org } }, to: smsc-a }";
    check_one(&routes(mailbox), 17, "sends mailboxes to smsc-a");
}

#[test]
fn routes_between_mail_and_sms_are_checked_for_what_cannot_come_true() {
    let (head, _) = EXAMPLE.split_once("routes:").unwrap();
    let check = |keys: &str, part: &str| {
        let route = format!("- {{ name: desk, when: {{ protocol: smpp }}, to: relay, {keys} }}");
        check_one(&format!("{head}routes:\n{route}\nspool: {{ receipts_ttl: 1h }}"), 17, part);
    };
    check("rewrite: { to: '{digits}' }", "rewrite.to: \"{digits}\" makes no mailbox");
    check("convert: { receipt: reported }", "waits longer for reports than they are taken");
    check("convert: { conversation: 7d }", "can answer only what comes from a known sender");
}

#[test]
fn names_are_told_apart() {
    check_one(
        &EXAMPLE.replace("  esmes: {", "  relay: {").replace(", esmes]", "]"),
        13,
        "in listeners and in connectors",
    );
    check_one(&EXAMPLE.replace("smsc-b]", "smsc-a]"), 17, "names \"smsc-a\" twice");
    check_one(
        &EXAMPLE.replace("[smsc-a, smsc-b]", "[smsc-a, smsc-c]"),
        17,
        "no connector or account \"smsc-c\"",
    );
}

#[test]
fn secrets_do_not_show() {
    let text = "accounts:\n  a: { smpp: { system_id: a, password: hunter2, oops: 1 } }\n";
    let loaded = load_here(text);
    for found in &loaded.findings {
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }
    assert!(loaded.findings.iter().any(|found| found.severity == Severity::Warning));
    let broken = "accounts:\n  a: { smpp: { password: hunter2, oops: : } }\n";
    for found in &load_here(broken).findings {
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }
    let config = load_here("accounts: { a: { smtp: { username: u, password: hunter2 } } }").config;
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_literal_secret_in_a_file_for_everybody_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wirepost.yaml");
    fs::write(&path, "accounts: { a: { smtp: { username: u, password: hunter2 } } }").unwrap();
    for (mode, severity) in [(0o644, Severity::Error), (0o640, Severity::Warning)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = load(&path, CheckOptions::default());
        assert_eq!(loaded.findings.len(), 1, "{:#?}", loaded.findings);
        assert_eq!(loaded.findings[0].severity, severity);
    }
}

#[test]
fn secrets_come_from_the_environment_and_from_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "s3cret\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let path = folder.path().join("wirepost.yaml");
    fs::write(&path, "accounts: { a: { smtp: { username: u, password: { env: PATH } } }, b: { smtp: { username: b, password: { file: secret } } } }").unwrap();
    let loaded = load(&path, CheckOptions::default());
    assert_eq!(loaded.findings, []);
    let config = loaded.config.unwrap();
    assert_eq!(config.accounts["b"].smtp.as_ref().unwrap().password.reveal(), "s3cret");
    let account = config.accounts["a"].smtp.as_ref().unwrap();
    assert_eq!(account.password.reveal(), std::env::var("PATH").unwrap());
    assert_eq!(config.files, [secret, path.clone()]);
    fs::write(
        &path,
        "accounts: { a: { smtp: { username: u, password: { env: WIREPOST_TEST_UNSET } } } }",
    )
    .unwrap();
    let loaded = load(&path, CheckOptions::default());
    assert!(loaded.findings[0].message.contains("WIREPOST_TEST_UNSET is not set"));
}

#[test]
fn certificates_are_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wirepost.yaml");
    fs::write(folder.path().join("cert.pem"), "no certificate").unwrap();
    let text = "accounts: {}
listeners: { s: { smpp: { bind: '127.0.0.1:1', tls: { cert: cert.pem, key: key.pem } } } }
connectors: { r: { smtp: { host: h, tls_files: { ca: cert.pem } } } }
";
    fs::write(&path, text).unwrap();
    let found = load(&path, CheckOptions::default()).findings;
    let found: Vec<String> =
        found.iter().map(|found| format!("{}: {}", found.line, found.message)).collect();
    assert!(
        found
            .iter()
            .any(|found| found.starts_with("2: listeners.s.smpp.tls.key: there is no file")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|found| found.starts_with("3: connectors.r.smtp.tls_files: ")),
        "{found:#?}"
    );
    fs::write(folder.path().join("key.pem"), "no key").unwrap();
    let found = load(&path, CheckOptions::default()).findings;
    assert!(
        found.iter().any(|found| found.message.starts_with("listeners.s.smpp.tls: ")),
        "{found:#?}"
    );
}

#[test]
fn a_listener_that_takes_mail_from_nobody_is_pointed_at() {
    let text = EXAMPLE.replace(r#", allow: ["127.0.0.0/8"]"#, "");
    check_one(&text, 3, "nobody can send mail to listeners.mail");
}

#[test]
fn routes_come_from_other_files_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes.d");
    fs::create_dir(&routes).unwrap();
    fs::write(
        routes.join("20-b.yaml"),
        "- { name: b, when: { to: { prefix: '+33' } }, to: relay }",
    )
    .unwrap();
    fs::write(routes.join("10-a.yaml"), "- { name: a, when: { to: { prefix: '+32' } }, to: relay }\n- { name: a2, when: { to: { prefix: '+31' } }, to: oops }").unwrap();
    fs::write(routes.join("30-c.yaml.bak"), "- nonsense").unwrap();
    let path = folder.path().join("wirepost.yaml");
    let main = "connectors: { relay: { smtp: { host: localhost } } }\nroutes: { include: routes.d/*.yaml }\n";
    fs::write(&path, main).unwrap();
    let loaded = load(&path, CheckOptions::default());
    assert_eq!(loaded.findings.len(), 1, "{:#?}", loaded.findings);
    assert_eq!(loaded.findings[0].file, routes.join("10-a.yaml"));
    assert_eq!(loaded.findings[0].line, 2);
    fs::write(routes.join("10-a.yaml"), "- { name: a, to: { hold: later }, when: { to: '+32' } }")
        .unwrap();
    let loaded = load(&path, CheckOptions::default());
    let config = loaded.config.unwrap();
    assert_eq!(config.routes.iter().map(|route| &*route.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(config.folders, std::slice::from_ref(&routes));
    assert_eq!(config.files, [routes.join("10-a.yaml"), routes.join("20-b.yaml"), path]);
}

#[test]
fn what_a_reload_cannot_change_is_named() {
    let running = load_here(EXAMPLE).config.unwrap();
    let same = EXAMPLE
        .replace("200/s", "300/s")
        .replace("gw.example.net, allow", "other.example.net, allow");
    assert_eq!(load_here(&same).config.unwrap().needs_restart(&running), Vec::<String>::new());
    let moved = format!("{}\nspool: {{ path: elsewhere }}", EXAMPLE.replace(":2775", ":2780"));
    let changed = load_here(&moved).config.unwrap().needs_restart(&running);
    assert_eq!(changed, ["spool.path", "listeners.esmes"]);
}

#[test]
fn plugin_settings_become_json() {
    let text =
        |config: &str| format!("plugins:\n- name: p\n  module: p.wasm\n  config: {config}\n");
    for (yaml, json) in [
        (
            "[1, -2.5, true, '1', +33612345678, 007, ~, x y]",
            r#"[1,-2.5,true,"1","+33612345678","007",null,"x y"]"#,
        ),
        ("{ a: { b: [] }, 1: 2 }", r#"{"1":2,"a":{"b":[]}}"#),
        ("word", "\"word\""),
        ("0x10", "\"0x10\""),
    ] {
        let config = load_here(&text(yaml)).config.unwrap();
        assert_eq!(&*config.plugins.list[0].config_json, json);
    }
}

#[test]
fn small_values_are_read_as_documented() {
    for (text, millis) in [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
    ] {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "5", "5x", "-5s", "5 s", "99999999999999999999s", "4000d", "s"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    for (text, octets) in
        [("0", 0), ("512", 512), ("64KiB", 65_536), ("10MiB", 10 << 20), ("10MB", 10_000_000)]
    {
        assert_eq!(parse_size(text), Ok(octets), "{text}");
    }
    for text in ["", "10XB", "10MiB5", "MiB", "99999999999GiB"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
    assert_eq!(parse_rate("100/m").map(|rate| rate.to_string()), Ok("100/m".to_owned()));
    for text in ["100", "0/s", "-1/s", "1/y", "/s"] {
        assert!(parse_rate(text).is_err(), "{text}");
    }
}

#[test]
fn networks_contain_their_addresses() {
    #[track_caller]
    fn check(network: &str, address: &str, expect: bool) {
        assert_eq!(Network::parse(network).unwrap().contains(address.parse().unwrap()), expect);
    }
    check("10.0.0.0/8", "10.255.255.255", true);
    check("10.0.0.0/8", "11.0.0.0", false);
    check("10.0.0.0/8", "::ffff:10.0.0.1", true);
    check("0.0.0.0/0", "192.0.2.1", true);
    check("0.0.0.0/0", "2001:db8::1", false);
    check("2001:db8::/32", "2001:db8:ffff::1", true);
    check("192.0.2.1", "192.0.2.1", true);
    check("192.0.2.1", "192.0.2.2", false);
    for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0", "::/129", "x/8", "10.0.0.0/"] {
        assert!(Network::parse(text).is_err(), "{text}");
    }
}

#[test]
fn globs_cover_the_whole_text() {
    #[track_caller]
    fn check(glob: &str, text: &str, expect: bool) {
        assert_eq!(Glob::parse(glob).unwrap().matches(text), expect, "{glob} {text}");
    }
    check("+33[67]*", "+33612345678", true);
    check("+33[67]*", "+33112345678", false);
    check("+33[67]*", "+336", true);
    check("*@Example.org", "alice@example.ORG", true);
    check("a?c", "abc", true);
    check("a?c", "ac", false);
    check("*a*b*c", "xxaxxbxxc", true);
    check("*a*b*c", "xxaxxbxx", false);
    check("[!0-9]*", "a1", true);
    check("[!0-9]*", "1a", false);
    check("[]a]", "]", true);
    check(r"\*", "*", true);
    check(r"\*", "a", false);
    check("", "", true);
    check("", "a", false);
    check("*", "", true);
    assert!(Glob::parse("[a").is_err());
    assert!(Glob::parse("[z-a]").is_err());
    assert!(Glob::parse("a\\").is_err());
    assert_eq!(Glob::parse("+33[67]*").unwrap().literal_prefix(), "+33");
}

/// Compares a text that is printed from the tables of keys with a file in `docs`; with
/// `WIREPOST_UPDATE_DOCS=1` it is written there instead.
#[track_caller]
fn check_document(name: &str, expect: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let found = fs::read_to_string(&path).unwrap_or_default();
    let expect = expect(&found);
    if std::env::var_os("WIREPOST_UPDATE_DOCS").is_some() {
        fs::write(&path, expect).unwrap();
    } else if found != expect {
        panic!("docs/{name} is not up to date; run this test with WIREPOST_UPDATE_DOCS=1");
    }
}

#[test]
fn every_key_is_in_the_operators_guide() {
    check_document("OPERATING.md", |found| {
        let (head, tail) = found.split_once("### The file\n").unwrap_or((found, ""));
        // Chapters behind the keys stay.
        let behind = tail.find("\n## ").and_then(|at| tail.get(at..)).unwrap_or_default();
        format!("{head}{}{behind}", reference_markdown())
    });
}

#[test]
fn the_schema_for_editors_is_up_to_date() {
    check_document("wirepost.schema.json", |_| format!("{:#}\n", json_schema()));
}

#[test]
fn every_default_is_within_its_range() {
    // A section that is there but empty reads the default of each of its keys.
    let text = "
node: {}
spool: {}
journal: { path: j }
admin: {}
log: {}
logins: {}
retry: {}
bounces: { via: r, from: a@example.org }
listeners:
  m: { smtp: { bind: '127.0.0.1:1', timeouts: {}, tls: { cert: c, key: k } } }
  s: { smpp: { bind: '127.0.0.1:2', tls: { cert: c, key: k } } }
domains: { sms.example.org: { phone: international } }
accounts: { a: { smpp: { system_id: a, password: { env: A } }, smtp: { username: a, password: { env: A } }, source: {}, dest: {} } }
connectors:
  c: { smpp: { host: h, system_id: c, password: { env: A }, reconnect: {}, tls: {}, data_coding_0: {}, status: {} }, retry: {} }
  r: { smtp: { host: [{ host: h }], timeouts: {}, tls_files: {}, auth: { username: u, password: { env: A } } } }
plugins: { list: [{ name: p, module: p.wasm, grants: {}, limits: {} }] }
routes:
  - { name: a, when: { size: {} }, to: r, convert: {}, rewrite: {}, retry: {} }
  - { name: b, to: { reject: {} } }
tests: [{ name: t, send: { door: m, to: '+1' }, expect: { outcome: sent } }]
";
    assert_eq!(findings(text), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let loaded = load_here(&text);
        prop_assert_eq!(loaded.config.is_none(), loaded.errors() > 0);
        for found in &loaded.findings {
            let _: String = found.to_string();
        }
    }

    #[test]
    fn no_change_of_the_example_panics(at in 0..EXAMPLE.len(), with in "[ -~]{0,3}|\n  |: |\\{|\\[", length in 0_usize..20) {
        let head = EXAMPLE.get(..at).unwrap();
        let tail = EXAMPLE.get(at + length..).unwrap_or_default();
        let loaded = load_here(&format!("{head}{with}{tail}"));
        prop_assert_eq!(loaded.config.is_none(), loaded.errors() > 0);
        for found in &loaded.findings {
            let _: String = found.to_string();
        }
    }

    #[test]
    fn a_glob_of_stars_and_letters_agrees_with_a_regular_expression(glob in "[ab*?]{0,8}", text in "[ab]{0,10}") {
        let regex = format!("^{}$", glob.replace('*', ".*").replace('?', "."));
        let expect = regex::Regex::new(&regex).unwrap().is_match(&text);
        prop_assert_eq!(Glob::parse(&glob).unwrap().matches(&text), expect);
    }

    #[test]
    fn a_duration_reads_as_it_is_spelled(millis in 0_u64..10_000_000_000) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(parse_duration(&spell_duration(duration)), Ok(duration));
    }
}
