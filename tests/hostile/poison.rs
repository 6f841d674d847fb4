//! A message that a relay cannot stand stops its own delivery, and nobody else's.

use wirepost_tests::mailer::mail;
use wirepost_tests::relay::CLOSE;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config};
use wirepost_tests::{Relay, Smsc, World};

const POISON: usize = 5;
const GOOD: usize = 10;

#[tokio::test]
async fn recipients_at_which_a_relay_closes_stop_nobody_else() {
    for answer in [CLOSE, "421 4.3.0 not again"] {
        let (relay, smsc) = (Relay::start().await, Smsc::start().await);
        relay.refuse("poison", answer, usize::MAX);
        let text = config(relay.address, smsc.address, ROUTES);
        let world = World::start(&text).await;
        let mut mailer = world.mailer().await;
        for number in 0..POISON {
            let to = format!("poison{number}@example.test");
            let reply = mailer.send("alice@example.org", &[&to], &mail("x", "y")).await;
            assert!(reply.starts_with("250"), "{reply}");
        }
        until("the first of them to fail", || (relay.refused() > 0).then_some(())).await;
        for number in 0..GOOD {
            let to = format!("good{number}@example.test");
            let reply = mailer.send("alice@example.org", &[&to], &mail("x", "y")).await;
            assert!(reply.starts_with("250"), "{reply}");
        }
        let mails = relay.wait(GOOD).await;
        assert!(mails.iter().all(|mail| mail.recipients[0].starts_with("good")));
    }
}
