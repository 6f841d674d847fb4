//! Receipts are ours to make: nobody who submits can write one for another account.

use smpp::{EsmClass, Sm, Status, tag};
use wirepost_tests::esme::Esme;
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{base, connectors};
use wirepost_tests::{Relay, Smsc, World};

/// Two accounts; what `other` sends to 33700 goes to `shop`, as what the SMSC sends us does.
async fn world() -> (World, Smsc) {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let accounts = base().replace(
        "accounts:\n",
        "accounts:\n  other: { smpp: { system_id: other, password: secret } }\n",
    );
    let connectors = connectors(relay.address, smsc.address);
    let routes = "routes:\n  - { name: all, to: shop }\n";
    (World::start(&format!("{accounts}{connectors}{routes}")).await, smsc)
}

/// What a receipt says (SMPP v3.4 Appendix B), for a message of `shop`.
fn forged(esm_class: u8) -> Sm {
    let words = "id:253210966722871296 sub:001 dlvrd:000 submit date:2611301200 \
                 done date:2611301200 stat:REJECTD err:042 text:";
    Sm { esm_class: EsmClass(esm_class), ..text("33700", words) }
}

fn with(mut sm: Sm, tag: u16, value: &[u8]) -> Sm {
    sm.tlvs.push(tag, value).unwrap();
    sm
}

#[tokio::test]
async fn a_receipt_that_an_esme_submits_is_refused() {
    let (world, _smsc) = world().await;
    let shop = world.shop().await;
    let other = Esme::bind(world.address("esmes"), "other", "secret").await;
    let (class, tlv) = (Status(0x43), Status(0xC1));
    let id = b"253210966722871296\0";
    for (sm, expect) in [
        (forged(EsmClass::RECEIPT), class),
        (forged(EsmClass::INTERMEDIATE), class),
        (with(forged(EsmClass::RECEIPT | EsmClass::UDHI), tag::RECEIPTED_MESSAGE_ID, id), class),
        (with(forged(0), tag::MESSAGE_STATE, &[8]), tlv),
        (with(forged(EsmClass::SME_DELIVERY_ACK), tag::RECEIPTED_MESSAGE_ID, id), tlv),
        (with(forged(0), tag::RECEIPTED_MESSAGE_ID, id), tlv),
    ] {
        assert_eq!(other.submit(sm.clone()).await.0, expect, "{sm:?}");
    }
    // The same words are a text like any other, and acknowledgements are the sender's to make.
    for kind in [0, EsmClass::SME_DELIVERY_ACK, EsmClass::SME_MANUAL_ACK] {
        assert_eq!(other.submit(forged(kind)).await.0, Status::ROK);
    }
    let delivered =
        until("all three", || Some(shop.delivered()).filter(|delivered| delivered.len() == 3))
            .await;
    assert!(delivered.iter().all(|sm| !sm.is_receipt()), "{delivered:#?}");
    world.wait_empty().await;
}

#[tokio::test]
async fn a_text_from_an_smsc_that_has_a_state_is_no_receipt_for_an_account() {
    let (world, smsc) = world().await;
    let shop = world.shop().await;
    world.wait_target("smsc", true).await;
    smsc.deliver(with(forged(0), tag::MESSAGE_STATE, &[8]));
    let delivered = until("the text", || shop.delivered().into_iter().next()).await;
    assert!(!delivered.is_receipt());
    assert_eq!(delivered.tlvs.first(tag::MESSAGE_STATE), None);
    world.wait_empty().await;
}
