//! Text to parts: the parts make the text again, fit a short message each and cut nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use message::phone::{Country, normalize};
use message::text::{
    Carrier, SEGMENT_OCTETS_MAX, SegmentOptions, Shift, choose, count, fit, segment, transliterate,
};

fuzz_target!(|octets: &[u8]| {
    let Some((&how, octets)) = octets.split_first() else { return };
    let text = String::from_utf8_lossy(octets);
    let carriers = [Carrier::Udh8, Carrier::Udh16, Carrier::Sar];
    let carrier = carriers[usize::from(how) % carriers.len()];
    let options = SegmentOptions { carrier, ..SegmentOptions::default() };
    for text in [text.clone(), transliterate(&text)] {
        let alphabet = choose(&text);
        let counted = count(&text, alphabet, &options).expect("the chosen alphabet has all of it");
        let Ok(parts) = segment(&text, alphabet, &options) else {
            assert!(counted.parts > 255);
            continue;
        };
        assert_eq!(parts.len(), counted.parts);
        let mut whole = String::new();
        for part in &parts {
            whole.push_str(&alphabet.decode(&part.payload, Shift::DEFAULT));
            let octets = match alphabet {
                message::text::Alphabet::Gsm => (part.payload.len() * 7).div_ceil(8),
                _ => part.payload.len(),
            };
            assert!(part.udh.len() + octets <= SEGMENT_OCTETS_MAX);
        }
        assert_eq!(whole, text);
        let two = SegmentOptions { parts_max: 2, ..options };
        let beginning = fit(&text, alphabet, &two).expect("the chosen alphabet has all of it");
        assert!(text.starts_with(beginning));
    }
    let country = Country::all().nth(usize::from(how));
    if let Ok(number) = normalize(&text, country) {
        assert_eq!(
            normalize(number.as_str(), country).map(|again| again.digits().len() > 3),
            Ok(true)
        );
    }
});
