//! The text of a receipt: fields in any order and case, with any of them missing.
use bytes::Bytes;

use super::{MessageState, Receipt, date_ms};
use crate::octets::Octets;

/// The names of the fields, lower case.
const FIELDS: &[(&str, Field)] = &[
    ("submit date", Field::Submitted),
    ("submitdate", Field::Submitted),
    ("submit_date", Field::Submitted),
    ("done date", Field::Done),
    ("donedate", Field::Done),
    ("done_date", Field::Done),
    ("dlvrd", Field::Ignored),
    ("sub", Field::Ignored),
    ("stat", Field::State),
    ("text", Field::Text),
    ("err", Field::Error),
    ("id", Field::Id),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Submitted,
    Done,
    State,
    Error,
    Text,
    Ignored,
}

/// Reads what there is; a text without any field gives an empty receipt.
pub(super) fn parse(body: &Bytes) -> Receipt {
    let mut receipt = Receipt::default();
    let mut at = 0;
    while let Some((start, field, value)) = next_field(body, at) {
        let end = if field == Field::Text {
            body.len() // The text is the last field, and anything may stand in it.
        } else {
            next_field(body, value).map_or(body.len(), |(next, _, _)| next)
        };
        debug_assert!(start < value);
        let raw = trim(body, value, end);
        if !raw.is_empty() || field == Field::Text {
            take(&mut receipt, field, raw);
        }
        at = end;
    }
    receipt
}

fn take(receipt: &mut Receipt, field: Field, value: Octets) {
    match field {
        Field::Id => receipt.id = receipt.id.take().or(Some(value)),
        Field::Submitted => receipt.submitted_ms = date_ms(value.as_bytes()),
        Field::Done => receipt.done_ms = date_ms(value.as_bytes()),
        Field::State => {
            receipt.state = MessageState::from_word(&value.to_text());
            receipt.state_word = Some(value);
        }
        Field::Error => receipt.error = Some(value),
        Field::Text => receipt.text = Some(value),
        Field::Ignored => {}
    }
}

/// The next `name:` at or after `at` that stands at the beginning or after a space: where it
/// starts, what it is, and where its value starts.
fn next_field(body: &[u8], at: usize) -> Option<(usize, Field, usize)> {
    (at..body.len()).find_map(|start| {
        let after_gap = start == 0
            || body.get(start - 1).is_some_and(|&before| !before.is_ascii_alphanumeric());
        if !after_gap {
            return None;
        }
        let rest = body.get(start..)?;
        FIELDS.iter().find_map(|(name, field)| {
            let (head, tail) = rest.split_at_checked(name.len())?;
            let named = head.eq_ignore_ascii_case(name.as_bytes());
            (named && tail.first() == Some(&b':')).then(|| (start, *field, start + name.len() + 1))
        })
    })
}

/// The octets from `start` to `end` without what surrounds a value.
fn trim(body: &Bytes, start: usize, end: usize) -> Octets {
    let Some(mut value) = body.get(start..end) else { return Octets::new() };
    let is_gap = |octet: &u8| octet.is_ascii_whitespace() || matches!(octet, 0 | b',' | b';');
    while let Some((_, rest)) = value.split_first().filter(|(first, _)| is_gap(first)) {
        value = rest;
    }
    while let Some((_, rest)) = value.split_last().filter(|(last, _)| is_gap(last)) {
        value = rest;
    }
    Octets::from(body.slice_ref(value))
}
