//! What is empty or whole in disguise: nothing of it opens a door.

use super::{EXAMPLE, findings};
use crate::config::scalar::Network;

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
