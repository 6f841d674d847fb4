//! What people write, and what it means.

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::{Country, E164, Number, PhoneError, normalize, normalize_or_short};

#[track_caller]
fn check(raw: &str, country: &str, expect: &str) {
    let country = (!country.is_empty()).then(|| country.parse().unwrap());
    let got = match normalize(raw, country) {
        Ok(number) => number.to_string(),
        Err(error) => format!("{error:?}"),
    };
    assert_eq!(got, expect, "{raw:?} in {country:?}");
}

#[test]
fn national_numbers_get_their_calling_code() {
    check("0612345678", "FR", "+33612345678");
    check("612345678", "FR", "+33612345678");
    check("06 12 34 56 78", "FR", "+33612345678");
    check("06.12.34.56.78", "FR", "+33612345678");
    check("07911 123456", "GB", "+447911123456");
    check("(212) 555-0123", "US", "+12125550123");
    check("1-212-555-0123", "US", "+12125550123");
    check("347 123 4567", "IT", "+393471234567");
    check("06 12345678", "IT", "+390612345678");
    check("8 912 345-67-89", "RU", "+79123456789");
    check("812 345-67-89", "RU", "+78123456789");
    check("06 20 123 4567", "HU", "+36201234567");
    check("0151/12345678", "DE", "+4915112345678");
    check("090-1234-5678", "JP", "+819012345678");
}

#[test]
fn international_numbers_keep_theirs() {
    check("+33612345678", "FR", "+33612345678");
    check("+33612345678", "", "+33612345678");
    check("+33 (0)6 12 34 56 78", "", "+33612345678");
    check("+33 06 12 34 56 78", "", "+33612345678");
    check("+39 06 12345678", "", "+390612345678");
    check("0033612345678", "FR", "+33612345678");
    check("0033612345678", "", "+33612345678");
    check("0044 7911 123456", "FR", "+447911123456");
    check("011 44 7911 123456", "US", "+447911123456");
    check("0044 7911 123456", "US", "+447911123456");
    check("0011 44 7911 123456", "AU", "+447911123456");
    check("810 33 612345678", "RU", "+33612345678");
    check("33612345678", "FR", "+33612345678");
    check("p33612345678", "", "+33612345678");
    check("P33612345678", "US", "+33612345678");
}

#[test]
fn what_is_no_number_says_why() {
    check("", "FR", "Empty");
    check("+", "FR", "Empty");
    check("alice", "FR", "Character('a')");
    check("06123x5678", "FR", "Character('x')");
    check("06+12", "FR", "Character('+')");
    check("0612345678", "", "NoCountry");
    check("06123456789", "FR", "National { country: FR, digits: 10, min: 9, max: 9 }");
    check("061234567", "FR", "National { country: FR, digits: 8, min: 9, max: 9 }");
    check("+0612345678", "", "International(10)");
    check("+1234567890123456", "", "International(16)");
    check("+12", "", "International(2)");
    check(&"1".repeat(65), "FR", "TooLong");
}

#[test]
fn short_codes_stay_short_codes_when_asked() {
    let france = Some("fr".parse().unwrap());
    assert_eq!(normalize_or_short("33700", france), Ok(Number::ShortCode("33700".to_owned())));
    assert_eq!(normalize_or_short("3 22", None), Ok(Number::ShortCode("322".to_owned())));
    let number = E164::from_digits("33612345678").unwrap();
    assert_eq!(normalize_or_short("0612345678", france), Ok(Number::E164(number)));
    assert!(matches!(normalize("33700", france), Err(PhoneError::National { .. })));
}

#[test]
fn countries_are_known_by_their_code() {
    assert!(Country::all().count() >= 60);
    assert!(Country::all().map(Country::iso).is_sorted());
    assert_eq!("fr".parse::<Country>().unwrap().calling_code(), "33");
    assert!("XX".parse::<Country>().is_err());
    for country in Country::all() {
        assert_eq!(country.iso().parse::<Country>().unwrap(), country);
    }
}

proptest! {
    #[test]
    fn no_text_panics(raw in any::<String>(), index in any::<prop::sample::Index>()) {
        let countries: Vec<_> = Country::all().collect();
        let country = *index.get(&countries);
        for country in [None, Some(country)] {
            if let Ok(number) = normalize(&raw, country) {
                prop_assert_eq!(normalize(number.as_str(), None).map(|n| n.digits().len() > 3), Ok(true));
            }
        }
    }

    #[test]
    fn digits_and_separators_give_a_number_or_a_reason(raw in "[+p0-9 ().-]{0,24}", index in any::<prop::sample::Index>()) {
        let countries: Vec<_> = Country::all().collect();
        if let Ok(number) = normalize(&raw, Some(*index.get(&countries))) {
            prop_assert!(number.as_str().starts_with('+'));
            prop_assert!((4..=15).contains(&number.digits().len()));
        }
    }
}

#[test]
fn an_only_length_is_told_as_one() {
    let told = |raw, country: &str| normalize(raw, country.parse().ok()).unwrap_err().to_string();
    assert_eq!(told("0142", "FR"), "3 digits: a national number of FR has 9");
    assert_eq!(told("030", "DE"), "2 digits: a national number of DE has 5 to 13");
}
