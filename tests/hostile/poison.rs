//! A message that a relay or an SMSC cannot stand stops its own delivery, and nobody else's.

use smpp::{Address, Octets, Pdu, Sm, Status, npi, ton};
use tokio::io::AsyncWriteExt;
use wirepost_tests::mailer::mail;
use wirepost_tests::relay::CLOSE;
use wirepost_tests::sms::text;
use wirepost_tests::stranger;
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

/// A strict SMSC ends the connection at a field that is too long: such fields go no further than the
/// door (SMPP v3.4 §4.4.1).
#[tokio::test]
async fn fields_that_are_too_long_reach_no_smsc() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    let long = |octets: usize| {
        let digits = "1".repeat(octets);
        Address::new(ton::INTERNATIONAL, npi::ISDN, Octets::from_text(&digits).unwrap())
    };
    let good = text("33612345678", "hello");
    let service = |octets: usize| Octets::from_text(&"s".repeat(octets)).unwrap();
    let mut socket = stranger::connect("127.0.0.1", world.address("esmes")).await;
    socket.write_all(&stranger::bind("shop", "secret")).await.unwrap();
    assert_eq!(stranger::answer(&mut socket).await, Some(Status::ROK));
    for (sm, expect) in [
        (Sm { source: long(21), ..good.clone() }, Status::RINVSRCADR),
        (Sm { source: long(60), ..good.clone() }, Status::RINVSRCADR),
        (Sm { destination: long(21), ..good.clone() }, Status::RINVDSTADR),
        (Sm { destination: long(60), ..good.clone() }, Status::RINVDSTADR),
        (Sm { service_type: service(6), ..good.clone() }, Status(0x15)),
        (Sm { source: long(20), service_type: service(5), ..good.clone() }, Status::ROK),
        (good, Status::ROK),
    ] {
        socket.write_all(&stranger::frame(&Pdu::SubmitSm(sm.clone()), 7)).await.unwrap();
        assert_eq!(stranger::answer(&mut socket).await, Some(expect), "{sm:?}");
    }
    let taken = smsc.wait(2).await;
    assert!(taken.iter().all(|sm| sm.source.addr.len() <= 20 && sm.destination.addr.len() <= 20));
}
