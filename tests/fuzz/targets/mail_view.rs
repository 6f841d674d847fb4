//! Reading a mail: no octet panics, nothing found is outside of its limits.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use message::mail::{
    MailView, PARTS_MAX, Strip, TEXT_OCTETS_MAX, Template, delivery_status, to_sms_text,
};

fuzz_target!(|octets: &[u8]| {
    let view = MailView::new(Bytes::copy_from_slice(octets));
    let parts = view.parts();
    assert!((1..=PARTS_MAX).contains(&parts.len()));
    for part in &parts {
        assert!(part.parent.is_none_or(|parent| parent < part.index));
        if let Some(octets) = view.part(part.index) {
            assert_eq!(octets.len(), part.size_bytes);
        }
    }
    assert!(view.text().is_none_or(|text| text.len() <= TEXT_OCTETS_MAX));
    assert!(view.headers().count() >= view.hops());
    for name in ["From", "To", "Cc"] {
        drop(view.addresses(name));
    }
    let _automatic = view.is_automatic();
    if let Some(status) = delivery_status(&view) {
        assert!(!status.recipients.is_empty());
    }
    let template = Template::parse("{from} {subject}: {text} ({to})").expect("a good template");
    let strip = Strip { quotes: true, separators: vec!["---".to_owned()], ..Strip::default() };
    drop(to_sms_text(&view, &template, &strip));
});
