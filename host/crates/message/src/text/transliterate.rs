//! Replaces what the GSM alphabet lacks by what reads the same, on request only: it changes what
//! somebody wrote.

use std::borrow::Cow;

use super::gsm;
use super::national::Shift;

/// The text with typographic signs and accents that GSM lacks replaced by their plain forms.
/// Characters without one are kept (the text then goes as UCS2); characters that GSM has are never
/// touched.
#[must_use]
pub fn transliterate(text: &str) -> Cow<'_, str> {
    let Some(first) = text.char_indices().find(|&(_, character)| replaceable(character)) else {
        return Cow::Borrowed(text);
    };
    let (kept, rest) = text.split_at(first.0);
    let mut out = String::with_capacity(text.len());
    out.push_str(kept);
    for character in rest.chars() {
        match plain_form(character) {
            Some(plain) if gsm::code(character, Shift::DEFAULT).is_none() => out.push_str(plain),
            _ => out.push(character),
        }
    }
    Cow::Owned(out)
}

fn replaceable(character: char) -> bool {
    gsm::code(character, Shift::DEFAULT).is_none() && plain_form(character).is_some()
}

/// The plain form of a sign or letter; empty for what shows nothing.
fn plain_form(character: char) -> Option<&'static str> {
    if character < '\u{80}' {
        return match character {
            '\t' => Some(" "),
            '`' => Some("'"),
            _ => None,
        };
    }
    signs(character).or_else(|| letters(character))
}

fn signs(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => {
            " "
        }
        '\u{200B}'..='\u{200F}' | '\u{2060}' | '\u{FEFF}' | '\u{AD}' | '\u{FE0E}' | '\u{FE0F}' => {
            ""
        }
        '\u{2028}' | '\u{2029}' | '\u{85}' => "\n",
        '‘' | '’' | '‚' | '‛' | '′' | '´' | 'ʼ' | '‹' | '›' => "'",
        '“' | '”' | '„' | '‟' | '″' | '«' | '»' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => "-",
        '…' => "...",
        '•' | '·' | '∙' | '●' | '▪' => "*",
        '×' => "x",
        '÷' => ":",
        '±' => "+/-",
        '≤' => "<=",
        '≥' => ">=",
        '→' => "->",
        '←' => "<-",
        '©' => "(C)",
        '®' => "(R)",
        '™' => "TM",
        '°' => "o",
        '¼' => "1/4",
        '½' => "1/2",
        '¾' => "3/4",
        '²' => "2",
        '³' => "3",
        '¹' => "1",
        'º' => "o",
        'ª' => "a",
        '№' => "No",
        '¢' => "c",
        '¦' => "|",
        'µ' => "u",
        _ => return None,
    })
}

fn letters(character: char) -> Option<&'static str> {
    Some(match character {
        'À' | 'Á' | 'Â' | 'Ã' | 'Ā' | 'Ă' | 'Ą' | 'Ǎ' => "A",
        'á' | 'â' | 'ã' | 'ā' | 'ă' | 'ą' | 'ǎ' => "a",
        'Ć' | 'Ĉ' | 'Ċ' | 'Č' => "C",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' => "c",
        'Ď' | 'Đ' | 'Ð' => "D",
        'ď' | 'đ' | 'ð' => "d",
        'È' | 'Ê' | 'Ë' | 'Ē' | 'Ĕ' | 'Ė' | 'Ę' | 'Ě' => "E",
        'ê' | 'ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' => "e",
        'Ĝ' | 'Ğ' | 'Ġ' | 'Ģ' => "G",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' => "g",
        'Ĥ' | 'Ħ' => "H",
        'ĥ' | 'ħ' => "h",
        'Ì' | 'Í' | 'Î' | 'Ï' | 'Ĩ' | 'Ī' | 'Į' | 'İ' => "I",
        'í' | 'î' | 'ï' | 'ĩ' | 'ī' | 'į' | 'ı' => "i",
        'Ĵ' => "J",
        'ĵ' => "j",
        'Ķ' => "K",
        'ķ' => "k",
        'Ĺ' | 'Ļ' | 'Ľ' | 'Ł' => "L",
        'ĺ' | 'ļ' | 'ľ' | 'ł' => "l",
        'Ń' | 'Ņ' | 'Ň' => "N",
        'ń' | 'ņ' | 'ň' => "n",
        'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ō' | 'Ŏ' | 'Ő' | 'Ơ' => "O",
        'ó' | 'ô' | 'õ' | 'ō' | 'ŏ' | 'ő' | 'ơ' => "o",
        'Œ' => "OE",
        'œ' => "oe",
        'Ŕ' | 'Ŗ' | 'Ř' => "R",
        'ŕ' | 'ŗ' | 'ř' => "r",
        'Ś' | 'Ŝ' | 'Ş' | 'Š' | 'Ș' => "S",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' => "s",
        'ẞ' => "SS",
        'Ţ' | 'Ť' | 'Ŧ' | 'Ț' => "T",
        'ţ' | 'ť' | 'ŧ' | 'ț' => "t",
        'Þ' => "Th",
        'þ' => "th",
        'Ù' | 'Ú' | 'Û' | 'Ũ' | 'Ū' | 'Ŭ' | 'Ů' | 'Ű' | 'Ų' | 'Ư' => "U",
        'ú' | 'û' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ư' => "u",
        'Ŵ' => "W",
        'ŵ' => "w",
        'Ý' | 'Ŷ' | 'Ÿ' => "Y",
        'ý' | 'ŷ' | 'ÿ' => "y",
        'Ź' | 'Ż' | 'Ž' => "Z",
        'ź' | 'ż' | 'ž' => "z",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        _ => return None,
    })
}
