//! Message ids of next hops: the same number may be spelled in decimal in one place and in
//! hexadecimal in another, with or without leading zeros.

/// How an id is spelled as a key: without leading zeros, letters in lower case.
#[must_use]
pub fn canonical(id: &str) -> String {
    let trimmed = id.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let short = trimmed.trim_start_matches('0');
    let kept = if short.is_empty() && !trimmed.is_empty() { "0" } else { short };
    // An id that long is no id; its start still tells it from others.
    kept.chars().take(128).collect::<String>().to_ascii_lowercase()
}

/// The keys under which an id may be known, the likeliest first: as it is, the hexadecimal of a
/// decimal number, the decimal of a hexadecimal one.
#[must_use]
pub fn spellings(id: &str) -> Vec<String> {
    let exact = canonical(id);
    let mut all = vec![exact.clone()];
    if let Ok(number) = exact.parse::<u128>() {
        all.push(format!("{number:x}"));
    }
    if let Ok(number) = u128::from_str_radix(&exact, 16) {
        all.push(number.to_string());
    }
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(in_response: &str, in_receipt: &str, same: bool) {
        let known = canonical(in_response);
        assert_eq!(spellings(in_receipt).contains(&known), same, "{in_response} and {in_receipt}");
    }

    #[test]
    fn ids_meet_across_spellings() {
        check("123", "123", true);
        check("0000000123", "123", true);
        check("7B", "123", true);
        check("7b", "0000000123", true);
        check("123", "7B", true);
        check("a6d1f7c4-1", "A6D1F7C4-1", true);
        check("124", "123", false);
        check("", "0", false);
        check("\u{0}12\u{0}", "12", true);
    }

    #[test]
    fn nothing_panics_on_nonsense() {
        for id in ["", "0", "zzzz", &"9".repeat(500), "é", "-1"] {
            assert!(!spellings(id).is_empty());
        }
    }
}
