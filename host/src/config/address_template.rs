//! Addresses with places to fill in: `{digits}@sms.example.net`. Texts have `message::mail::Template`,
//! which knows what to do with the punctuation around an empty place.

use std::borrow::Cow;
use std::sync::Arc;

/// A checked template for an address. `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressTemplate {
    source: Arc<str>,
    pieces: Arc<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Place(Box<str>),
}

impl AddressTemplate {
    /// Reads a template in which only the places in `known` may stand.
    ///
    /// # Errors
    ///
    /// A sentence about an unknown place or a brace without its partner.
    pub fn parse(source: &str, known: &[&str]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at_checked(at).unwrap_or((rest, ""));
            text.push_str(before);
            if let Some(behind) = brace.strip_prefix("{{") {
                text.push('{');
                rest = behind;
            } else if let Some(behind) = brace.strip_prefix("}}") {
                text.push('}');
                rest = behind;
            } else if let Some(behind) = brace.strip_prefix('{') {
                let (name, behind) = behind
                    .split_once('}')
                    .ok_or_else(|| "\"{\" without \"}\"; write {{ for a brace".to_owned())?;
                if !known.contains(&name) {
                    let known = known.join("}, {");
                    return Err(format!("nothing is called {{{name}}} here; there is {{{known}}}"));
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text).into_boxed_str()));
                }
                pieces.push(Piece::Place(name.into()));
                rest = behind;
            } else {
                return Err("\"}\" without \"{\"; write }} for a brace".to_owned());
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into_boxed_str()));
        }
        Ok(Self { source: source.into(), pieces: pieces.into() })
    }

    /// The text as written in the configuration.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the place is used at all, so that a caller may spare the work of finding its value.
    #[must_use]
    pub fn uses(&self, place: &str) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Place(name) if &**name == place))
    }

    /// Fills in every place with what `value` gives for its name.
    pub fn render<'a>(&self, value: impl Fn(&str) -> Cow<'a, str>) -> String {
        let mut text = String::with_capacity(self.source.len());
        for piece in self.pieces.iter() {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Place(name) => text.push_str(&value(name)),
            }
        }
        text
    }
}
