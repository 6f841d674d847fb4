//! Message ids of next hops: the same number may be spelled in decimal in one place and in
//! hexadecimal in another, with or without leading zeros.
//!
//! Which spelling goes where is learned from the first id that tells: to try all spellings for ever
//! would take the receipt of 16 for that of 0x10 wherever both are under way.

use smpp::receipt::IdRelation;

/// How an id is spelled as a key: without leading zeros, letters in lower case.
#[must_use]
pub fn canonical(id: &str) -> String {
    let trimmed = id.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let short = trimmed.trim_start_matches('0');
    let kept = if short.is_empty() && !trimmed.is_empty() { "0" } else { short };
    // An id that long is no id; its start still tells it from others.
    kept.chars().take(128).collect::<String>().to_ascii_lowercase()
}

/// How the answer spelled the id that a receipt spells so; none if it cannot have.
#[must_use]
pub fn in_answer(receipt_id: &str, relation: IdRelation) -> Option<String> {
    let id = canonical(receipt_id);
    match relation {
        IdRelation::Same => Some(id),
        IdRelation::ReceiptIsDecimal => id.parse::<u128>().ok().map(|number| format!("{number:x}")),
        IdRelation::ReceiptIsHex => {
            u128::from_str_radix(&id, 16).ok().map(|number| number.to_string())
        }
    }
}

/// How a receipt spells the id that an answer spells so; none if it cannot.
#[must_use]
pub fn in_receipt(answer_id: &str, relation: IdRelation) -> Option<String> {
    // What the one has in decimal, the other has in hexadecimal.
    let inverse = match relation {
        IdRelation::Same => IdRelation::Same,
        IdRelation::ReceiptIsDecimal => IdRelation::ReceiptIsHex,
        IdRelation::ReceiptIsHex => IdRelation::ReceiptIsDecimal,
    };
    in_answer(answer_id, inverse)
}

/// Receipts in a row that contradict what was learned, after which it is learned again.
const CONTRADICTIONS_MAX: u8 = 20;

/// What is known of how a next hop spells ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    relation: Option<IdRelation>,
    fixed: bool,
    contradictions: u8,
}

impl Learned {
    /// The spelling that `known` has, by what was learned so far; `spell` says how an id is spelled
    /// under a relation. Learns from it.
    ///
    /// # Errors
    /// Those of `known`.
    pub fn find<T, E>(
        &mut self,
        spell: impl Fn(IdRelation) -> Option<String>,
        mut known: impl FnMut(&str) -> Result<Option<T>, E>,
    ) -> Result<Option<(String, T)>, E> {
        let learned = self.relation;
        if let Some(spelled) = learned.and_then(&spell)
            && let Some(value) = known(&spelled)?
        {
            self.contradictions = 0;
            return Ok(Some((spelled, value)));
        }
        if self.fixed {
            return Ok(None);
        }
        let own = spell(IdRelation::Same).unwrap_or_default();
        let mut found: Option<(IdRelation, String, T)> = None;
        let mut hits = 0;
        for relation in IdRelation::ALL {
            let Some(spelled) = spell(relation).filter(|_| learned != Some(relation)) else {
                continue;
            };
            // Without a letter it may be any other id of the same digits.
            let tells = has_letter(&own) || has_letter(&spelled);
            if relation != IdRelation::Same && (spelled == own || !tells) {
                continue;
            }
            if let Some(value) = known(&spelled)? {
                hits += 1;
                found.get_or_insert((relation, spelled, value));
            }
        }
        let Some((relation, spelled, value)) = found else { return Ok(None) };
        if learned.is_some() {
            self.contradictions += 1;
            if self.contradictions < CONTRADICTIONS_MAX {
                return Ok(None);
            }
            *self = Self::default();
        }
        let other = if has_letter(&own) {
            spell(IdRelation::ReceiptIsHex)
        } else {
            spell(IdRelation::ReceiptIsDecimal)
        };
        if hits == 1 && other.is_some_and(|other| other != own) {
            self.relation = Some(relation);
        }
        Ok(Some((spelled, value)))
    }

    /// What the operator has said; none to learn it, from what is known so far.
    pub const fn fix(&mut self, relation: Option<IdRelation>) {
        match relation {
            Some(_) => *self = Self { relation, fixed: true, contradictions: 0 },
            None => self.fixed = false,
        }
    }
}

fn has_letter(id: &str) -> bool {
    id.bytes().any(|octet| octet.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(in_response: &str, receipt: &str, same: bool) {
        let known = canonical(in_response);
        let found = |relation| in_answer(receipt, relation).as_ref() == Some(&known);
        let back = |relation| in_receipt(in_response, relation) == Some(canonical(receipt));
        for relation in IdRelation::ALL {
            assert_eq!(found(relation), back(relation), "{in_response} and {receipt}");
        }
        assert_eq!(IdRelation::ALL.into_iter().any(found), same, "{in_response} and {receipt}");
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

    /// Looks receipts up among answers, in order; says which were found as which.
    #[track_caller]
    fn learn(steps: &[(&[&str], &str, Option<&str>)]) {
        let mut learned = Learned::default();
        for (answers, receipt, want) in steps {
            let found = learned.find(
                |relation| in_answer(receipt, relation),
                |key| Ok::<_, ()>(answers.contains(&key).then_some(())),
            );
            let found = found.unwrap().map(|(key, ())| key);
            assert_eq!(found.as_deref(), *want, "{receipt}");
        }
    }

    #[test]
    fn an_early_receipt_is_not_taken_for_another_ones() {
        // 16 is not answered yet; 10 is, but it is not 0x10.
        learn(&[(&["40"], "64", None)]);
        learn(&[(&["9"], "9", Some("9")), (&["10"], "10", Some("10")), (&["10"], "16", None)]);
        learn(&[
            (&["a"], "10", Some("a")),
            (&["a", "10"], "16", Some("10")),
            (&["a", "16"], "16", None),
        ]);
    }

    #[test]
    fn what_was_learned_by_mistake_is_unlearned() {
        let mut steps: Vec<(&[&str], &str, Option<&str>)> = vec![(&["16"], "16", Some("16"))];
        steps.extend((1..CONTRADICTIONS_MAX).map(|_| (&["ff"][..], "255", None)));
        steps.push((&["ff"], "255", Some("ff")));
        learn(&steps);
    }

    #[test]
    fn nothing_panics_on_nonsense() {
        for id in ["", "0", "zzzz", &"9".repeat(500), "\u{e9}", "-1"] {
            for relation in IdRelation::ALL {
                let _spelled = (in_answer(id, relation), in_receipt(id, relation));
            }
        }
    }
}
