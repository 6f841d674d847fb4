//! Alphabets, headers and segmentation against 3GPP TS 23.038 and 23.040.

use bytes::Bytes;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::{
    Alphabet, Carrier, Coding, Concat, Language, Segment, SegmentError, SegmentOptions, Shift, Udh,
    UdhBuilder, UdhError, Waiting, choose, choose_for, count, count_parts, fit, ie, is_gsm,
    meaning, pack, segment, segment_binary, transliterate, unpack,
};

/// All of the default alphabet in the order of its septets (23.038 §6.2.1) without the escape.
const ALL: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                   ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

const SPANISH: Shift = Shift { locking: None, single: Some(Language::Spanish) };
const TURKISH: Shift = Shift { locking: Some(Language::Turkish), single: Some(Language::Turkish) };
const PORTUGUESE: Shift =
    Shift { locking: Some(Language::Portuguese), single: Some(Language::Portuguese) };

#[track_caller]
fn check_code(alphabet: Alphabet, shift: Shift, text: &str, octets: &[u8]) {
    assert_eq!(alphabet.encode(text, shift).as_deref(), Ok(octets), "encode {text:?}");
    assert_eq!(alphabet.decode(octets, shift), text, "decode {octets:02x?}");
}

#[test]
fn the_default_alphabet_is_the_table_of_23_038() {
    let septets: Vec<u8> = (0..128).filter(|&septet| septet != 0x1B).collect();
    check_code(Alphabet::Gsm, Shift::DEFAULT, ALL, &septets);
    let extension =
        b"\x1b\x0a\x1b\x14\x1b\x28\x1b\x29\x1b\x2f\x1b\x3c\x1b\x3d\x1b\x3e\x1b\x40\x1b\x65";
    check_code(Alphabet::Gsm, Shift::DEFAULT, "\u{0C}^{}\\[~]|€", extension);
    for absent in ['`', 'ç', '\t', '\0', 'ê', 'α', 'А', '\u{7f}', '😀'] {
        assert!(!is_gsm(&absent.to_string()), "{absent:?}");
    }
}

#[test]
fn an_unknown_escape_shows_the_basic_character() {
    assert_eq!(Alphabet::Gsm.decode(b"\x1bA", Shift::DEFAULT), "A");
    assert_eq!(Alphabet::Gsm.decode(b"a\x1b", Shift::DEFAULT), "a ");
    assert_eq!(Alphabet::Gsm.decode(b"\x1b\x1b", Shift::DEFAULT), " ");
    assert_eq!(Alphabet::Gsm.decode(b"\xc1", Shift::DEFAULT), "A", "the eighth bit is no text");
}

#[test]
fn national_tables_are_those_of_annex_a() {
    check_code(Alphabet::Gsm, SPANISH, "Buenos días", b"Buenos d\x1bias");
    check_code(
        Alphabet::Gsm,
        SPANISH,
        "çÁÍÓÚáíóú€",
        b"\x1b\x09\x1bA\x1bI\x1bO\x1bU\x1ba\x1bi\x1bo\x1bu\x1be",
    );
    check_code(Alphabet::Gsm, TURKISH, "€ıĞğŞşİç", b"\x04\x07\x0b\x0c\x1c\x1d\x40\x60");
    check_code(
        Alphabet::Gsm,
        Shift { locking: None, ..TURKISH },
        "ğıĞİŞşç€",
        b"\x1bg\x1bi\x1bG\x1bI\x1bS\x1bs\x1bc\x1be",
    );
    check_code(
        Alphabet::Gsm,
        PORTUGUESE,
        "êúíóçÔôÁáªÇÀ∞^\\€Ó|ÂâÊºÍÃÕÚ~ãõ`",
        &[
            0x04, 0x06, 0x07, 0x08, 0x09, 0x0B, 0x0C, 0x0E, 0x0F, 0x12, 0x13, 0x14, 0x15, 0x16,
            0x17, 0x18, 0x19, 0x1A, 0x1C, 0x1D, 0x1E, 0x24, 0x40, 0x5B, 0x5C, 0x5D, 0x60, 0x7B,
            0x7C, 0x7D,
        ],
    );
    check_code(
        Alphabet::Gsm,
        Shift { locking: None, ..PORTUGUESE },
        "êçÔôÁáÊÀÍÓÚÃÕÂíóúãõâ",
        b"\x1b\x05\x1b\x09\x1b\x0b\x1b\x0c\x1b\x0e\x1b\x0f\x1b\x1f\x1bA\x1bI\x1bO\x1bU\x1b[\x1b\\\x1ba\x1bi\x1bo\x1bu\x1b{\x1b|\x1b\x7f",
    );
}

#[test]
fn the_header_names_the_national_tables() {
    let udh = Udh::parse(&Bytes::from_static(b"\x06\x24\x01\x02\x25\x01\x03")).unwrap();
    let expect = Shift { locking: Some(Language::Portuguese), single: Some(Language::Spanish) };
    assert_eq!(Shift::of(&udh), expect);
    let unknown = Udh::parse(&Bytes::from_static(b"\x03\x25\x01\x0d")).unwrap();
    assert_eq!(Shift::of(&unknown), Shift::DEFAULT);
}

#[test]
fn other_alphabets_follow_their_standards() {
    check_code(Alphabet::Ucs2, Shift::DEFAULT, "Ж😀", b"\x04\x16\xd8\x3d\xde\x00");
    check_code(Alphabet::Latin1, Shift::DEFAULT, "é£ÿ", b"\xe9\xa3\xff");
    check_code(Alphabet::Ascii, Shift::DEFAULT, "a`~", b"a`~");
    check_code(Alphabet::Utf8, Shift::DEFAULT, "é", b"\xc3\xa9");
    check_code(Alphabet::Cyrillic, Shift::DEFAULT, "ЁЏАяё№§џ", b"\xa1\xaf\xb0\xef\xf1\xf0\xfd\xff");
    check_code(Alphabet::Hebrew, Shift::DEFAULT, "אתa×", b"\xe0\xfaa\xaa");
}

#[test]
fn what_cannot_be_read_becomes_the_replacement_character() {
    assert_eq!(Alphabet::Ucs2.decode(b"\xd8\x3d\x00A", Shift::DEFAULT), "\u{FFFD}A");
    assert_eq!(Alphabet::Ucs2.decode(b"\xde\x00", Shift::DEFAULT), "\u{FFFD}");
    assert_eq!(Alphabet::Ucs2.decode(b"\x00A\x00", Shift::DEFAULT), "A\u{FFFD}");
    assert_eq!(Alphabet::Ascii.decode(b"\xe9", Shift::DEFAULT), "\u{FFFD}");
    assert_eq!(Alphabet::Utf8.decode(b"\xff", Shift::DEFAULT), "\u{FFFD}");
}

#[test]
fn what_cannot_be_written_is_named() {
    let error = Alphabet::Gsm.encode("aЖ", Shift::DEFAULT).unwrap_err();
    assert_eq!((error.character, error.at), ('Ж', 1));
    assert_eq!(Alphabet::Gsm.encode_lossy("aЖ", Shift::DEFAULT), b"a?");
    assert_eq!(Alphabet::Latin1.encode_lossy("€", Shift::DEFAULT), b"?");
}

#[test]
fn septets_pack_as_in_23_038() {
    // 23.038 §6.1.2.1.1: "hellohello" is the example of every packing tutorial.
    assert_eq!(pack(b"hellohello", 0), b"\xE8\x32\x9B\xFD\x46\x97\xD9\xEC\x37");
    assert_eq!(unpack(b"\xE8\x32\x9B\xFD\x46\x97\xD9\xEC\x37", 0), b"hellohello");
    // Seven characters leave seven bits, which a carriage return fills (§6.1.2.3.1).
    assert_eq!(pack(b"1234567", 0), b"\x31\xD9\x8C\x56\xB3\xDD\x1A");
    assert_eq!(unpack(b"\x31\xD9\x8C\x56\xB3\xDD\x1A", 0), b"1234567");
    // One fill bit behind the six octets of an 8 bit concatenation header.
    assert_eq!(pack(b"A", 1), b"\x82");
    assert_eq!(unpack(b"\x82", 1), b"A");
    assert_eq!(unpack(b"", 0), b"");
}

#[track_caller]
fn check_coding(data_coding: u8, zero: Alphabet, coding: Coding, class: Option<u8>) {
    let got = meaning(data_coding, zero);
    assert_eq!((got.coding, got.class), (coding, class), "data_coding 0x{data_coding:02x}");
}

#[test]
fn data_coding_means_what_smpp_and_23_038_say() {
    let gsm = Coding::Text(Alphabet::Gsm);
    let ucs2 = Coding::Text(Alphabet::Ucs2);
    check_coding(0x00, Alphabet::Gsm, gsm, None);
    check_coding(0x00, Alphabet::Latin1, Coding::Text(Alphabet::Latin1), None);
    check_coding(0x00, Alphabet::Utf8, Coding::Text(Alphabet::Utf8), None);
    check_coding(0x01, Alphabet::Gsm, Coding::Text(Alphabet::Ascii), None);
    check_coding(0x02, Alphabet::Gsm, Coding::Binary, None);
    check_coding(0x03, Alphabet::Gsm, Coding::Text(Alphabet::Latin1), None);
    check_coding(0x04, Alphabet::Gsm, Coding::Binary, None);
    check_coding(0x05, Alphabet::Gsm, Coding::Opaque, None);
    check_coding(0x06, Alphabet::Gsm, Coding::Text(Alphabet::Cyrillic), None);
    check_coding(0x08, Alphabet::Gsm, ucs2, None);
    check_coding(0x10, Alphabet::Gsm, gsm, Some(0));
    check_coding(0x11, Alphabet::Gsm, gsm, Some(1));
    check_coding(0x15, Alphabet::Gsm, Coding::Binary, Some(1));
    check_coding(0x18, Alphabet::Gsm, ucs2, Some(0));
    check_coding(0x30, Alphabet::Gsm, Coding::Opaque, Some(0));
    check_coding(0x48, Alphabet::Gsm, ucs2, None);
    check_coding(0x80, Alphabet::Gsm, Coding::Opaque, None);
    check_coding(0xC8, Alphabet::Gsm, gsm, None);
    check_coding(0xE0, Alphabet::Gsm, ucs2, None);
    check_coding(0xF0, Alphabet::Gsm, gsm, Some(0));
    check_coding(0xF5, Alphabet::Gsm, Coding::Binary, Some(1));
    let waiting = Some(Waiting { active: true, kind: 1, store: true });
    assert_eq!(meaning(0xD9, Alphabet::Gsm).waiting, waiting);
}

#[test]
fn a_coding_finds_its_data_coding_again() {
    for zero in
        [Alphabet::Gsm, Alphabet::GsmPacked, Alphabet::Latin1, Alphabet::Ascii, Alphabet::Utf8]
    {
        for data_coding in 0..=u8::MAX {
            let understood = meaning(data_coding, zero);
            if understood.waiting.is_some() {
                continue;
            }
            if let Some(found) = understood.coding.data_coding(zero, understood.class) {
                assert_eq!(meaning(found, zero), understood, "0x{data_coding:02x} {zero}");
            }
        }
    }
    assert_eq!(Coding::Text(Alphabet::Gsm).data_coding(Alphabet::Latin1, None), None);
    assert_eq!(Coding::Text(Alphabet::Ucs2).data_coding(Alphabet::Gsm, Some(0)), Some(0x18));
}

#[test]
fn the_cheapest_alphabet_is_chosen() {
    assert_eq!(choose("Hello [you] €"), Alphabet::Gsm);
    assert_eq!(choose("ça va"), Alphabet::Ucs2);
    assert_eq!(choose_for("été", Alphabet::Latin1), Alphabet::Latin1);
    assert_eq!(choose_for("fête", Alphabet::Latin1), Alphabet::Ucs2, "no handset has Latin-1");
    assert_eq!(choose_for("Ω", Alphabet::Latin1), Alphabet::Ucs2);
    assert_eq!(choose_for("été", Alphabet::Ascii), Alphabet::Ucs2);
}

#[test]
fn transliteration_changes_only_what_gsm_lacks() {
    assert_eq!(transliterate("“Ça va”… l’été – œuf\u{A0}!"), "\"Ça va\"... l'été - oeuf !");
    assert_eq!(transliterate("Łódź façade"), "Lodz facade");
    assert_eq!(transliterate("àéÑ€"), "àéÑ€");
    assert_eq!(transliterate("日本"), "日本");
    assert_eq!(transliterate("zero\u{200B}width"), "zerowidth");
}

#[track_caller]
fn check_count(text: &str, parts: usize) {
    assert_eq!(count_parts(text), parts);
    let segments = segment(text, choose(text), &SegmentOptions::default()).unwrap();
    assert_eq!(segments.len(), parts);
}

#[test]
fn parts_are_those_of_23_040() {
    check_count("", 1);
    check_count(&"a".repeat(160), 1);
    check_count(&"a".repeat(161), 2);
    check_count(&"a".repeat(306), 2);
    check_count(&"a".repeat(307), 3);
    check_count(&"[".repeat(80), 1);
    check_count(&"[".repeat(81), 2);
    check_count(&"[".repeat(152), 2);
    check_count(&"[".repeat(153), 3);
    check_count(&"Ж".repeat(70), 1);
    check_count(&"Ж".repeat(71), 2);
    check_count(&"Ж".repeat(134), 2);
    check_count(&"Ж".repeat(135), 3);
    check_count(&"😀".repeat(35), 1);
    check_count(&"😀".repeat(66), 2);
    check_count(&"😀".repeat(67), 3);
}

#[test]
fn an_escape_and_a_surrogate_pair_stay_whole() {
    let text = format!("{}€{}", "a".repeat(152), "b".repeat(20));
    let segments = segment(&text, Alphabet::Gsm, &SegmentOptions::default()).unwrap();
    assert_eq!(segments[0].payload.len(), 152);
    assert_eq!(&segments[1].payload[..2], b"\x1b\x65");
    let text = format!("{}😀{}", "Ж".repeat(66), "Ж".repeat(20));
    let segments = segment(&text, Alphabet::Ucs2, &SegmentOptions::default()).unwrap();
    assert_eq!(segments[0].payload.len(), 132);
    assert_eq!(segments[1].range.start, 132);
}

#[track_caller]
fn check_first(text: &str, alphabet: Alphabet, options: SegmentOptions, udh: &[u8], octets: usize) {
    let segments = segment(text, alphabet, &options).unwrap();
    assert_eq!(segments[0].udh.as_ref(), udh);
    assert_eq!(segments[0].payload.len(), octets);
    assert!(segments.len() > 1);
}

#[test]
fn each_carrier_leaves_its_room() {
    let long = "a".repeat(400);
    let options = SegmentOptions { reference: 0x1234, ..SegmentOptions::default() };
    let wide = SegmentOptions { carrier: Carrier::Udh16, ..options };
    let sar = SegmentOptions { carrier: Carrier::Sar, ..options };
    check_first(&long, Alphabet::Gsm, options, b"\x05\x00\x03\x34\x03\x01", 153);
    check_first(&long, Alphabet::Gsm, wide, b"\x06\x08\x04\x12\x34\x03\x01", 152);
    check_first(&long, Alphabet::Gsm, sar, b"", 153);
    check_first(&long, Alphabet::GsmPacked, options, b"\x05\x00\x03\x34\x03\x01", 134);
    check_first(&long, Alphabet::GsmPacked, wide, b"\x06\x08\x04\x12\x34\x03\x01", 133);
    check_first(&long, Alphabet::Ucs2, options, b"\x05\x00\x03\x34\x06\x01", 134);
    check_first(&long, Alphabet::Ucs2, wide, b"\x06\x08\x04\x12\x34\x07\x01", 132);
    check_first(&long, Alphabet::Latin1, options, b"\x05\x00\x03\x34\x03\x01", 134);
    let recoded = SegmentOptions { recoded: true, ..options };
    check_first(&long, Alphabet::Latin1, recoded, b"\x05\x00\x03\x34\x03\x01", 153);
    let turkish = SegmentOptions { shift: TURKISH, ..options };
    let udh = b"\x0b\x00\x03\x34\x03\x01\x24\x01\x01\x25\x01\x01";
    check_first(&long, Alphabet::Gsm, turkish, udh, 146);
}

#[test]
fn a_national_table_is_declared_in_a_single_part_too() {
    let options = SegmentOptions { shift: SPANISH, ..SegmentOptions::default() };
    let segments = segment(&"í".repeat(77), Alphabet::Gsm, &options).unwrap();
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].udh.as_ref(), b"\x03\x24\x01\x02");
    assert_eq!(segment(&"a".repeat(155), Alphabet::Gsm, &options).unwrap().len(), 1);
    assert_eq!(segment(&"a".repeat(156), Alphabet::Gsm, &options).unwrap().len(), 2);
    let ucs2 = segment("Ж", Alphabet::Ucs2, &options).unwrap();
    assert!(ucs2[0].udh.is_empty(), "the tables are for septets only");
}

#[test]
fn a_payload_is_one_piece_but_counts_its_parts() {
    let options = SegmentOptions { carrier: Carrier::Payload, ..SegmentOptions::default() };
    let segments = segment(&"a".repeat(400), Alphabet::Gsm, &options).unwrap();
    assert_eq!((segments.len(), segments[0].payload.len()), (1, 400));
    let options = SegmentOptions { parts_max: 2, ..options };
    let error = segment(&"a".repeat(400), Alphabet::Gsm, &options).unwrap_err();
    assert_eq!(error, SegmentError::TooManyParts { needed: 3, max: 2 });
}

#[test]
fn too_many_parts_is_an_error_that_says_how_many() {
    let options = SegmentOptions { parts_max: 3, ..SegmentOptions::default() };
    let error = segment(&"a".repeat(460), Alphabet::Gsm, &options).unwrap_err();
    assert_eq!(error, SegmentError::TooManyParts { needed: 4, max: 3 });
    let fitting = fit(&"ab".repeat(230), Alphabet::Gsm, &options).map(str::len);
    assert_eq!(fitting, Ok(459));
    let one = SegmentOptions { parts_max: 1, ..options };
    assert_eq!(fit(&"a".repeat(400), Alphabet::Gsm, &one).map(str::len), Ok(160));
    let huge = segment(&"a".repeat(153 * 255 + 1), Alphabet::Gsm, &SegmentOptions::default());
    assert_eq!(huge.unwrap_err(), SegmentError::TooManyParts { needed: 256, max: 255 });
}

#[test]
fn binary_is_cut_at_its_octets() {
    let data = Bytes::from(vec![7; 300]);
    let segments = segment_binary(&data, &SegmentOptions::default()).unwrap();
    let sizes: Vec<_> = segments.iter().map(|segment| segment.payload.len()).collect();
    assert_eq!(sizes, [134, 134, 32]);
    let one = segment_binary(&data.slice(..140), &SegmentOptions::default()).unwrap();
    assert_eq!((one.len(), one[0].udh.len()), (1, 0));
    let wide = SegmentOptions { carrier: Carrier::Udh16, ..SegmentOptions::default() };
    assert_eq!(segment_binary(&data, &wide).unwrap()[0].payload.len(), 133);
}

#[test]
fn a_header_is_kept_byte_for_byte() {
    let data = Bytes::from_static(b"\x0b\x05\x04\x0b\x84\x23\xf0\x00\x03\xab\x02\x01text");
    let (udh, rest) = Udh::split(&data).unwrap();
    assert_eq!(rest.as_ref(), b"text");
    assert_eq!(udh.octets().as_ref(), &data[..12]);
    let concat = Concat { reference: 0xAB, wide: false, total: 2, sequence: 1 };
    assert_eq!(udh.concat(), Some(concat));
    assert_eq!(udh.without_concat().octets().as_ref(), b"\x06\x05\x04\x0b\x84\x23\xf0");
    let built = UdhBuilder::default().element(ie::PORTS_16, b"\x0b\x84\x23\xf0").concat(concat);
    assert_eq!(built.build().unwrap(), udh);
}

#[test]
fn impossible_part_numbers_are_ignored() {
    for octets in
        [b"\x05\x00\x03\x01\x00\x00", b"\x05\x00\x03\x01\x02\x00", b"\x05\x00\x03\x01\x02\x03"]
    {
        assert_eq!(Udh::parse(&Bytes::from_static(octets)).unwrap().concat(), None);
    }
    let wide = Udh::parse(&Bytes::from_static(b"\x06\x08\x04\x12\x34\x02\x02")).unwrap();
    assert_eq!(wide.concat().map(|concat| concat.reference), Some(0x1234));
}

#[test]
fn a_broken_header_says_where() {
    let truncated = UdhError::Truncated { announced: 5, available: 2 };
    assert_eq!(Udh::split(&Bytes::from_static(b"\x05\x00\x03")).unwrap_err(), truncated);
    let overrun = UdhError::Overrun { id: 0x24 };
    assert_eq!(Udh::split(&Bytes::from_static(b"\x03\x24\x02\x01")).unwrap_err(), overrun);
    assert_eq!(Udh::split(&Bytes::from_static(b"\x01\x24")).unwrap_err(), overrun);
    let long = UdhBuilder::default().element(1, &[0; 138]).build();
    assert_eq!(long.unwrap_err(), UdhError::TooLong);
}

/// What a handset shows: the parts decoded one by one and put together.
fn reassemble(segments: &[Segment], alphabet: Alphabet) -> String {
    segments
        .iter()
        .map(|segment| {
            let udh = Udh::parse(&segment.udh).unwrap();
            alphabet.decode_behind(&segment.payload, udh.fill_bits(), Shift::of(&udh))
        })
        .collect()
}

fn carriers() -> impl Strategy<Value = Carrier> {
    prop::sample::select(vec![Carrier::Udh8, Carrier::Udh16, Carrier::Sar])
}

fn gsm_text() -> impl Strategy<Value = String> {
    let all: Vec<char> = ALL.chars().chain("^{}\\[~]|€".chars()).collect();
    prop::collection::vec(prop::sample::select(all), 0..900).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn parts_make_the_text_again(text in ".{0,400}", carrier in carriers(), reference in any::<u16>()) {
        let options = SegmentOptions { carrier, reference, ..SegmentOptions::default() };
        let alphabet = choose(&text);
        let segments = segment(&text, alphabet, &options).unwrap();
        prop_assert_eq!(count(&text, alphabet, &options).unwrap().parts, segments.len());
        prop_assert_eq!(reassemble(&segments, alphabet), text.as_str());
        let mut end = 0;
        for segment in &segments {
            prop_assert_eq!(segment.range.start, end);
            end = segment.range.end;
            let single: String = alphabet.decode(&segment.payload, Shift::DEFAULT);
            prop_assert_eq!(single.as_str(), text.get(segment.range.clone()).unwrap());
        }
        prop_assert_eq!(end, text.len());
    }

    #[test]
    fn parts_never_exceed_a_short_message(text in gsm_text(), carrier in carriers()) {
        let options = SegmentOptions { carrier, ..SegmentOptions::default() };
        let segments = segment(&text, Alphabet::Gsm, &options).unwrap();
        for part in &segments {
            prop_assert!((part.udh.len() * 8).div_ceil(7) + part.payload.len() <= 160);
            check_whole_escapes(&part.payload);
        }
        prop_assert_eq!(reassemble(&segments, Alphabet::Gsm), text.as_str());
        for part in segment(&text, Alphabet::GsmPacked, &options).unwrap() {
            prop_assert!(part.udh.len() + part.payload.len() <= 140);
        }
        for part in segment(&text, Alphabet::Ucs2, &options).unwrap() {
            prop_assert!(part.udh.len() + part.payload.len() <= 140);
        }
    }

    #[test]
    fn packed_parts_make_the_text_again(text in gsm_text(), carrier in carriers()) {
        // A closing "@" or carriage return that fills the last octet reads as padding.
        let text = text.replace(['@', '\r'], "x");
        let options = SegmentOptions { carrier, ..SegmentOptions::default() };
        let segments = segment(&text, Alphabet::GsmPacked, &options).unwrap();
        prop_assert_eq!(reassemble(&segments, Alphabet::GsmPacked), text);
    }

    #[test]
    fn national_parts_make_the_text_again(text in "[a-zçğışöüİĞŞÇ€ ]{0,400}") {
        let options = SegmentOptions { shift: TURKISH, ..SegmentOptions::default() };
        if let Ok(segments) = segment(&text, Alphabet::Gsm, &options) {
            prop_assert_eq!(reassemble(&segments, Alphabet::Gsm), text);
        }
    }

    #[test]
    fn every_alphabet_reads_back_what_it_wrote(text in ".{0,100}", shift in prop::sample::select(vec![Shift::DEFAULT, SPANISH, TURKISH, PORTUGUESE])) {
        for alphabet in [Alphabet::Gsm, Alphabet::Ascii, Alphabet::Latin1, Alphabet::Cyrillic, Alphabet::Hebrew, Alphabet::Ucs2, Alphabet::Utf8] {
            if let Ok(octets) = alphabet.encode(&text, shift) {
                prop_assert_eq!(alphabet.decode(&octets, shift), text.as_str());
            }
            let lossy = alphabet.decode(&alphabet.encode_lossy(&text, shift), shift);
            prop_assert_eq!(lossy.chars().count(), text.chars().count());
        }
    }

    #[test]
    fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..300), fill in 0usize..9) {
        let octets = Bytes::from(octets);
        for alphabet in [Alphabet::Gsm, Alphabet::GsmPacked, Alphabet::Ascii, Alphabet::Latin1, Alphabet::Cyrillic, Alphabet::Hebrew, Alphabet::Ucs2, Alphabet::Utf8] {
            drop(alphabet.decode_behind(&octets, fill, PORTUGUESE));
        }
        for end in 0..octets.len() {
            if let Ok((udh, rest)) = Udh::split(&octets.slice(..end)) {
                prop_assert_eq!(udh.octets().len() + rest.len(), end);
                let mut builder = UdhBuilder::default();
                for element in udh.elements() {
                    builder = builder.element(element.id, element.data);
                }
                if udh.octets().len() > 1 && udh.octets().len() <= Udh::OCTETS_MAX {
                    prop_assert_eq!(&builder.build().unwrap(), &udh);
                }
                prop_assert_eq!(udh.without_concat().concat(), None);
            }
        }
    }

    #[test]
    fn the_beginning_that_fits_is_the_longest(text in gsm_text(), parts_max in 1u8..5) {
        let options = SegmentOptions { parts_max, ..SegmentOptions::default() };
        let fitting = fit(&text, Alphabet::Gsm, &options).unwrap();
        prop_assert!(count(fitting, Alphabet::Gsm, &options).unwrap().parts <= usize::from(parts_max));
        if let Some(next) = text.chars().nth(fitting.chars().count()) {
            let longer = format!("{fitting}{next}");
            prop_assert!(count(&longer, Alphabet::Gsm, &options).unwrap().parts > usize::from(parts_max));
        }
    }

    #[test]
    fn transliteration_keeps_gsm_text(text in gsm_text()) {
        prop_assert_eq!(transliterate(&text), text.as_str());
    }
}

#[track_caller]
fn check_whole_escapes(payload: &[u8]) {
    assert_ne!(payload.last(), Some(&0x1B), "an escape was cut from its septet");
}
