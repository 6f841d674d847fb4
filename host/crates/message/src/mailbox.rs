//! The normal form of mailboxes: `<"ceo"@Example.ORG>` is the mailbox `ceo@example.org`.

use std::borrow::Cow;

/// A mailbox without needless quotes and escapes in its local part, its domain in lower case and as
/// A-labels (RFC 5321 §2.3.5 and §4.1.2, RFC 5890 §2.3.2.1).
///
/// Two mailboxes are the same if these are, but for the case of ASCII letters in the local part. What
/// is no mailbox, or has a domain that is none, stays as far as it cannot be read.
#[must_use]
pub fn normal_mailbox(mailbox: &str) -> Cow<'_, str> {
    let Some((local, domain)) = mailbox.rsplit_once('@') else { return Cow::Borrowed(mailbox) };
    let normal = (normal_local(local), normal_domain(domain));
    if let (Cow::Borrowed(_), Cow::Borrowed(_)) = normal {
        return Cow::Borrowed(mailbox);
    }
    Cow::Owned(format!("{}@{}", normal.0, normal.1))
}

/// A domain in lower case and as A-labels. An address literal only becomes lower case.
#[must_use]
pub fn normal_domain(domain: &str) -> Cow<'_, str> {
    if domain.bytes().all(|octet| octet.is_ascii() && !octet.is_ascii_uppercase()) {
        return Cow::Borrowed(domain);
    }
    if domain.is_ascii() {
        return Cow::Owned(domain.to_ascii_lowercase());
    }
    idna::domain_to_ascii(domain).map_or(Cow::Borrowed(domain), Cow::Owned)
}

fn normal_local(local: &str) -> Cow<'_, str> {
    let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(quoted) = quoted else { return Cow::Borrowed(local) };
    let mut content = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(character) = rest.next() {
        let escaped = if character == '\\' { rest.next() } else { None };
        content.push(escaped.unwrap_or(character));
    }
    if needs_no_quotes(&content) {
        return Cow::Owned(content);
    }
    let mut again = String::with_capacity(local.len());
    again.push('"');
    for character in content.chars() {
        if matches!(character, '"' | '\\') {
            again.push('\\');
        }
        again.push(character);
    }
    again.push('"');
    if again == local { Cow::Borrowed(local) } else { Cow::Owned(again) }
}

/// Whether a door takes it without quotes (RFC 5321 §4.1.2; RFC 6531 §3.3 adds what is not ASCII). Some
/// carriers hand out mailboxes with dots at their ends or side by side, and doors take them as they are:
/// with quotes they are the same.
fn needs_no_quotes(text: &str) -> bool {
    let is_atom = |character: char| {
        !character.is_ascii()
            || character.is_ascii_alphanumeric()
            || ".!#$%&'*+-/=?^_`{|}~".contains(character)
    };
    !text.is_empty() && text.chars().all(is_atom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(mailbox: &str, expect: &str) {
        assert_eq!(normal_mailbox(mailbox), expect, "{mailbox}");
        assert_eq!(normal_mailbox(expect), expect, "it is normal");
    }

    #[test]
    fn mailboxes_that_are_one_have_one_form() {
        for same in [
            "ceo@example.org",
            "\"ceo\"@example.org",
            "\"c\\eo\"@example.org",
            "\"\\c\\e\\o\"@EXAMPLE.org",
            "ceo@Example.Org",
        ] {
            check(same, "ceo@example.org");
        }
        check("CEO@example.org", "CEO@example.org");
        check("\"a.b\"@example.org", "a.b@example.org");
        check("\"a\\.b\"@example.org", "a.b@example.org");
        check("\"a..b\"@example.org", "a..b@example.org");
        check("\"a.\"@example.org", "a.@example.org");
        check("\"dé\"@example.org", "dé@example.org");
        check("x@BÜCHER.example", "x@xn--bcher-kva.example");
        check("x@xn--BCHER-kva.example", "x@xn--bcher-kva.example");
        check("x@bücher。example", "x@xn--bcher-kva.example");
        check("x@[IPv6:2001:DB8::1]", "x@[ipv6:2001:db8::1]");
    }

    #[test]
    fn quotes_that_are_needed_stay() {
        check("\"a b\"@example.org", "\"a b\"@example.org");
        check("\"a\\ b\"@example.org", "\"a b\"@example.org");
        check("\"\"@example.org", "\"\"@example.org");
        check("\"a@b\"@example.org", "\"a@b\"@example.org");
        check("\"a\\\"b\"@example.org", "\"a\\\"b\"@example.org");
        check("\"a\\\\b\"@example.org", "\"a\\\\b\"@example.org");
    }

    #[test]
    fn what_is_no_mailbox_stays() {
        for text in ["", "postmaster", "+33612345678", "@", "\"", "\"@x", "a@", "@x"] {
            check(text, text);
        }
        // U+0378 is assigned to nothing: no domain has it.
        check("x@\u{378}.example", "x@\u{378}.example");
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(text in any::<String>()) {
            let once = normal_mailbox(&text).into_owned();
            prop_assert_eq!(&*normal_mailbox(&once), &*once);
        }

        #[test]
        fn quoting_changes_nothing(local in "[a-zA-Z0-9.+é_-]{1,20}", escape in any::<bool>()) {
            let escaped: String = local.chars().flat_map(|c| ['\\', c]).collect();
            let quoted = format!("\"{}\"@x.example", if escape { &escaped } else { &local });
            let plain = format!("{local}@x.example");
            prop_assert_eq!(&*normal_mailbox(&quoted), &*plain);
        }
    }
}
