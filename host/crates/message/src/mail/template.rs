//! Templates such as `{subject}: {text}`, checked when the configuration is read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Subject,
    Text,
    From,
    To,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Placeholder(Placeholder),
}

/// A text with places for `{subject}`, `{text}`, `{from}` and `{to}`. A brace is written twice.
///
/// Where a placeholder is empty, the punctuation that joined it goes too: `{subject}: {text}`
/// without a subject is the text alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    pieces: Vec<Piece>,
    source: String,
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No such placeholder.
    #[error(
        "{{{name}}} at octet {at} is no placeholder; there are {{subject}}, {{text}}, {{from}} and {{to}}"
    )]
    Unknown {
        /// What stands between the braces.
        name: String,
        /// Octet offset of the brace.
        at: usize,
    },
    /// An opening brace without its closing one, or the reverse.
    #[error("lone brace at octet {at}; write a brace twice to mean itself")]
    LoneBrace {
        /// Octet offset of the brace.
        at: usize,
    },
}

/// What fills a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `{subject}`
    pub subject: &'a str,
    /// `{text}`
    pub text: &'a str,
    /// `{from}`
    pub from: &'a str,
    /// `{to}`
    pub to: &'a str,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// An unknown placeholder or a lone brace.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some(found) = rest.find(['{', '}']) {
            let at = source.len() - rest.len() + found;
            let (before, brace) = rest.split_at(found);
            literal.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some((name, after)) =
                brace.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Placeholder(placeholder(name, at)?));
                rest = after;
            } else {
                return Err(TemplateError::LoneBrace { at });
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces, source: source.to_owned() })
    }

    /// The text with its places filled.
    #[must_use]
    pub fn render(&self, fields: &Fields<'_>) -> String {
        let mut out = String::new();
        // Where the literal at the end of `out` starts, if it only joins.
        let mut joint: Option<usize> = None;
        let mut drop_joint = false;
        let mut closer: Option<char> = None;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => {
                    let literal = match closer.take() {
                        Some(closer) => literal.strip_prefix(closer).unwrap_or(literal),
                        None => literal,
                    };
                    let joins = !literal.chars().any(char::is_alphanumeric);
                    if !(joins && drop_joint) {
                        joint = joins.then_some(out.len());
                        out.push_str(literal);
                    }
                    drop_joint = false;
                }
                Piece::Placeholder(placeholder) => {
                    let value = placeholder.value(fields);
                    out.push_str(value);
                    let joint = joint.take();
                    if value.is_empty() {
                        // The joint before it goes, else the one behind it.
                        let start = joint.unwrap_or(out.len());
                        closer = out.chars().last().filter(|_| joint.is_some()).and_then(closing);
                        out.truncate(start);
                        drop_joint = joint.is_none() || start == 0;
                    }
                }
            }
        }
        out
    }
}

const fn closing(opener: char) -> Option<char> {
    match opener {
        '(' => Some(')'),
        '[' => Some(']'),
        '<' => Some('>'),
        _ => None,
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        Self::parse(source)
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        Self::parse(&source)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.source
    }
}

impl Placeholder {
    const fn value<'a>(self, fields: &Fields<'a>) -> &'a str {
        match self {
            Self::Subject => fields.subject,
            Self::Text => fields.text,
            Self::From => fields.from,
            Self::To => fields.to,
        }
    }
}

fn placeholder(name: &str, at: usize) -> Result<Placeholder, TemplateError> {
    match name {
        "subject" => Ok(Placeholder::Subject),
        "text" => Ok(Placeholder::Text),
        "from" => Ok(Placeholder::From),
        "to" => Ok(Placeholder::To),
        _ => Err(TemplateError::Unknown { name: name.to_owned(), at }),
    }
}
