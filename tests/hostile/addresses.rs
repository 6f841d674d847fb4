//! A rule about an address holds for every way to write it, and what goes out is what came in.

use wirepost_tests::mailer::mail;
use wirepost_tests::world::config;
use wirepost_tests::{Relay, Smsc, World};

/// Ways to write `ceo@bücher.test` that mean the same (RFC 5321 §4.1.2, RFC 6531 §3.3).
const SAME: [&str; 6] = [
    "ceo@xn--bcher-kva.test",
    "CEO@XN--BCHER-KVA.test",
    "\"ceo\"@xn--bcher-kva.test",
    "\"c\\eo\"@xn--bcher-kva.test",
    "ceo@bücher.test",
    "\"ceo\"@BÜCHER.test",
];

async fn world(routes: &str, more: &str) -> (World, Relay) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let text = config(relay.address, smsc.address, routes);
    (World::start(&format!("{text}{more}")).await, relay)
}

async fn rcpt(world: &World, to: &str) -> String {
    let mut mailer = world.mailer().await;
    mailer.say("EHLO client.test").await;
    mailer.say("MAIL FROM:<alice@example.org> SMTPUTF8").await;
    mailer.say(&format!("RCPT TO:<{to}>")).await
}

#[tokio::test]
async fn a_rule_about_a_mailbox_holds_for_every_way_to_write_it() {
    let rules = [
        ("{ to: ceo@bücher.test }", ""),
        ("{ to: '\"ceo\"@xn--bcher-kva.test' }", ""),
        ("{ to: { prefix: \"ceo@\" } }", ""),
        ("{ to: { domain: bücher.test } }", ""),
        ("{ to: { glob: \"ceo@*\" } }", ""),
        ("{ to: { regex: \"^ceo@xn--bcher-kva[.]test$\" } }", ""),
        (
            "{ to: { table: blocked } }",
            "tables: { blocked: { rows: { '\"ceo\"@bücher.test': x } } }\n",
        ),
    ];
    for (rule, more) in rules {
        let routes = format!(
            "  - {{ name: no, when: {rule}, to: {{ reject: no }} }}\n  - {{ name: rest, to: relay }}\n"
        );
        let (world, _relay) = world(&routes, more).await;
        for to in SAME {
            let upper = rule.contains("regex") || rule.contains("table");
            if upper && to.starts_with("CEO") {
                // These decide about the case of letters themselves.
                continue;
            }
            let reply = rcpt(&world, to).await;
            assert!(reply.starts_with('5'), "{rule}, {to}: {reply}");
        }
        let reply = rcpt(&world, "\"c eo\"@elsewhere.test").await;
        assert!(reply.starts_with("250"), "{rule}: {reply}");
    }
}

#[tokio::test]
async fn an_address_goes_out_as_it_came_in() {
    let (world, relay) = world("  - { name: rest, to: relay }\n", "").await;
    for to in ["\"c\\eo\"@Example.TEST", "\"a b\"@example.test"] {
        let mut mailer = world.mailer().await;
        let reply = mailer.send("\"alice\"@example.org", &[to], &mail("x", "y")).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    let mails = relay.wait(2).await;
    let mut seen: Vec<_> = mails.iter().map(|mail| mail.recipients[0].clone()).collect();
    seen.sort();
    assert_eq!(seen, ["\"a b\"@example.test", "\"c\\eo\"@Example.TEST"]);
    assert_eq!(mails[0].sender, "\"alice\"@example.org");
}
