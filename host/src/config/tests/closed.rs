//! What is empty or whole in disguise: nothing of it opens a door.

use std::os::unix::fs::PermissionsExt as _;

use super::{EXAMPLE, findings};
use crate::config::scalar::Network;
use crate::config::{CheckOptions, load};

/// A value that names nothing is an error: it must not be taken for everything.
#[test]
fn what_is_empty_names_nothing() {
    #[track_caller]
    fn check(from: &str, to: &str, part: &str) {
        assert!(EXAMPLE.contains(from), "{from}");
        let found = findings(&EXAMPLE.replace(from, to));
        assert!(found.iter().any(|line| line.contains(part)), "{to}: {found:#?}");
    }
    let from = r#"from: [SHOP, "33700"]"#;
    check(from, "from: []", "accounts.shop.from is empty");
    check(from, "from:", "accounts.shop.from is empty");
    let smpp = "system_id: shop,";
    check(smpp, "system_id: shop, allow: [],", "accounts.shop.smpp.allow is empty");
    check(smpp, "system_id: shop, bind_types: [],", "accounts.shop.smpp.bind_types is empty");
    check("{ env: SHOP_PASSWORD }", "\"\"", "accounts.shop.smpp.password is empty");
    check("on: [mail, esmes]", "on: []", "on is empty");
    check("when: { to: { glob: \"+33[67]*\" } }", "when: { account: }", "account is empty");
    check("when: { to: { glob: \"+33[67]*\" } }", "when: { to: [] }", "to is empty");
    check("when: { to: { glob: \"+33[67]*\" } }", "when: { all: [] }", "all is empty");
    check("when: { to: { glob: \"+33[67]*\" } }", "when: { any: [] }", "any is empty");
    check(
        "hostname: gw.example.net, allow",
        "hostname: gw.example.net, accounts: [], allow",
        "accounts is empty",
    );
}

#[test]
fn the_whole_internet_in_pieces_is_the_whole_internet() {
    #[track_caller]
    fn check(networks: &[&str], expect: bool) {
        let networks: Vec<_> = networks.iter().map(|it| Network::parse(it).unwrap()).collect();
        assert_eq!(Network::are_everything(&networks), expect, "{networks:?}");
    }
    check(&[], false);
    check(&["0.0.0.0/0"], true);
    check(&["128.0.0.0/1", "0.0.0.0/1"], true);
    check(&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"], true);
    check(&["0.0.0.0/1", "192.0.0.0/2"], false);
    check(&["10.0.0.0/8", "::/0"], true);
    check(&["::/1", "8000::/1"], true);
    check(&["::/1", "0.0.0.0/1"], false);
    check(&["10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32"], false);
}

/// A key of return addresses is replaced without making strangers of those who still answer.
#[test]
fn a_short_key_of_return_addresses_is_warned_of_and_a_list_is_taken() {
    let bounces = "bounces: { via: relay, from: \"postmaster@gw.example.net\" }";
    assert!(EXAMPLE.contains(bounces));
    let check = |keys: &str, expect: usize| {
        let text =
            EXAMPLE.replace(bounces, &bounces.replace(" }", &format!(", secret: {keys} }}")));
        let found = findings(&text);
        let short = found.iter().filter(|line| line.contains("fewer than 32 octets")).count();
        assert_eq!(short, expect, "{found:#?}");
    };
    let long = "0123456789abcdef0123456789abcdef";
    check(long, 0);
    check(&format!("[{long}, x{long}]"), 0);
    check("short", 1);
    check(&format!("[{long}, short]"), 1);
}

#[test]
fn passwords_in_the_clear_on_public_addresses_are_warned_of() {
    #[track_caller]
    fn check(listener: &str, account: &str, expect: Option<&str>) {
        let text = format!(
            "listeners: {{ in: {listener} }}\naccounts: {{ shop: {account} }}\n\
             bounces: {{ via: relay, from: a@b.test }}\n\
             connectors: {{ relay: {{ smtp: {{ host: 127.0.0.1, tls: none }} }} }}\n\
             routes: [{{ name: all, to: relay }}]\n"
        );
        let found = findings(&text);
        let warned = found.iter().find(|line| line.contains("without TLS on"));
        match expect {
            Some(part) => assert!(warned.is_some_and(|line| line.contains(part)), "{found:#?}"),
            None => assert_eq!(warned, None, "{listener}"),
        }
    }
    let smpp = "{ smpp: { system_id: shop, password: x } }";
    let bound = "{ smpp: { system_id: shop, password: x, allow: 198.51.100.7 } }";
    let smtp = "{ smtp: { username: shop, password: x } }";
    let of = |bind: &str, more: &str| format!("{{ smpp: {{ bind: '{bind}'{more} }} }}");
    check(&of("0.0.0.0:2775", ""), smpp, Some("the password of shop without TLS on 0.0.0.0:2775"));
    check(&of("[::]:2775", ""), smpp, Some("on [::]:2775"));
    check(&of("203.0.113.1:2775", ""), smpp, Some("on 203.0.113.1:2775"));
    check(&of("0.0.0.0:2775", ""), bound, None);
    check(&of("0.0.0.0:2775", ""), smtp, None);
    for inside in ["127.0.0.1:2775", "10.1.2.3:2775", "[fd00::1]:2775", "[::ffff:10.0.0.1]:2775"] {
        check(&of(inside, ""), smpp, None);
    }
    let of = |bind: &str, more: &str| {
        format!("{{ smtp: {{ bind: '{bind}', hostname: h.test{more} }} }}")
    };
    check(
        &of("0.0.0.0:25", ", auth_without_tls: true"),
        smtp,
        Some("listeners.in takes passwords"),
    );
    check(&of("0.0.0.0:25", ""), smtp, None);
    check(&of("0.0.0.0:25", ", auth_without_tls: true"), smpp, None);
    check(&of("192.168.1.1:25", ", auth_without_tls: true"), smtp, None);
}

#[test]
fn what_others_may_change_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (main, secret) = (folder.path().join("wirepost.yaml"), folder.path().join("secret"));
    let text = EXAMPLE.replace("{ env: SHOP_PASSWORD }", "{ file: secret }");
    std::fs::write(&main, text).unwrap();
    std::fs::write(&secret, "x").unwrap();
    let warned = |mode: u32| {
        for file in [&main, &secret] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = load(&main, CheckOptions { environment: true }).findings;
        found.iter().filter(|it| it.message.contains("can change")).count()
    };
    assert_eq!((warned(0o600), warned(0o664), warned(0o666)), (0, 0, 2));
}

/// Addresses are compared with A-labels: a part of one that is written otherwise would never match, and
/// what it was to keep out would come in.
#[test]
fn a_domain_that_no_address_has_is_an_error() {
    let when = "when: { to: { glob: \"+33[67]*\" } }";
    assert!(EXAMPLE.contains(when));
    let wrong = |pattern: &str| {
        let found = findings(&EXAMPLE.replace(when, &format!("when: {{ to: {{ {pattern} }} }}")));
        found.iter().any(|line| line.contains("matches nothing") && line.contains("xn--"))
    };
    for pattern in ["glob: \"*@bücher.example\"", "prefix: \"ceo@bü\"", "regex: \"@bücher\""] {
        assert!(wrong(pattern), "{pattern}");
    }
    for pattern in ["exact: ceo@bücher.example", "domain: bücher.example", "glob: \"é*@x.example\""]
    {
        assert!(!wrong(pattern), "{pattern}");
    }
}
