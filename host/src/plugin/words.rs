//! Texts of plugins, made fit for a line of ours: what a plugin writes has no end and may hold anything.

use std::borrow::Cow;

/// The beginning of a text, at most so many octets and a mark behind them if there is more, in one line:
/// a space stands for each character that would break it or hide what it says.
pub(super) fn tamed(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let beginning = head(text, bytes_max);
    let cut = beginning.len() < text.len();
    if !cut && !beginning.chars().any(is_wild) {
        return Cow::Borrowed(text);
    }
    let mut tame: String = beginning.chars().map(|c| if is_wild(c) { ' ' } else { c }).collect();
    if cut {
        tame.push_str(&format!("… ({} in all)", sized(text.len())));
    }
    Cow::Owned(tame)
}

/// Control characters, line ends of Unicode, and what turns the direction of writing.
fn is_wild(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text, at most this many octets.
pub(super) fn head(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A size for people: `900 octets`, `16 MiB`. Long numbers would be taken for those of phones.
pub(super) fn sized(size: impl TryInto<u64>) -> String {
    let size: u64 = size.try_into().unwrap_or(u64::MAX);
    let (unit, name) = match size {
        0..10_240 => return format!("{size} octets"),
        10_240..1_048_576 => (1 << 10, "KiB"),
        1_048_576..1_073_741_824 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let tenths = size % unit * 10 / unit;
    let whole = size / unit;
    if tenths == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
}

#[cfg(test)]
mod tests {
    use super::{sized, tamed};

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(tamed(text, 8), expect);
    }

    #[test]
    fn texts_are_cut_and_in_one_line() {
        check("fine", "fine");
        check("a\nb\u{1b}[c", "a b [c");
        check("a\u{202e}b", "a b");
        check("12345678", "12345678");
        check("123456789", "12345678… (9 octets in all)");
        // Not in the middle of a character.
        check("1234567é", "1234567… (9 octets in all)");
        let long = "x".repeat(2 << 20);
        assert_eq!(tamed(&long, 1 << 10).len(), (1 << 10) + "… (2 MiB in all)".len());
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [0_u64, 10_239, 10_240, 16_384, 1_500_000, 16 << 20, 1 << 30, u64::MAX];
        assert_eq!(
            sizes.map(sized),
            [
                "0 octets",
                "10239 octets",
                "10 KiB",
                "16 KiB",
                "1.4 MiB",
                "16 MiB",
                "1 GiB",
                "17179869183.9 GiB",
            ]
        );
    }
}
