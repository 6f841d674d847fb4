//! YAML as a tree in which every node knows its place.
//!
//! Reading into a tree first, instead of straight into structs, is what lets the check go on after
//! a mistake and report all of them. Scalars keep the spelling of the file: `+33612345678` is not a
//! number here before somebody asks for one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Budget, Spanned};

/// The largest file that is read, in octets.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Nodes in one file; a route has about fifteen.
const NODES_MAX: usize = 20_000_000;
/// How deep lists and maps may nest.
const DEPTH_MAX: usize = 32;
/// Stack of the thread that parses: a level takes up to 40 KiB of it, too much for a thread of the
/// runtime that is in the middle of something.
const STACK_OCTETS: usize = 8 << 20;

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Index of the file.
    pub(super) source: u16,
    /// From 1; 0 is the file as a whole.
    pub(super) line: u32,
    /// In characters, from 1.
    pub(super) column: u32,
    /// In characters.
    pub(super) length: u32,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    /// Where the text is defined, in octets: for an alias that is the anchor's node.
    offset: u32,
    octets: u32,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A scalar as spelled.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: Box<str>,
    /// Not in quotes, so that it may be a number or a truth value.
    pub(super) plain: bool,
}

/// Why a file is no YAML that we read.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Reads one document.
pub(super) fn parse(text: &str, source: u16) -> Result<Node, SyntaxError> {
    let failed = |message: &str| SyntaxError {
        place: Place { source, ..Place::default() },
        message: message.to_owned(),
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("yaml".to_owned())
            .stack_size(STACK_OCTETS)
            .spawn_scoped(scope, || parse_here(text, source));
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => Err(failed("the parser panicked at this file")),
            Err(error) => Err(failed(&format!("cannot start a thread to read it: {error}"))),
        }
    })
}

fn parse_here(text: &str, source: u16) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
        budget: budget(),
    };
    match serde_saphyr::from_str_with_options::<Node>(text, options) {
        Ok(mut root) => {
            let mut tagged = None;
            root.restore(text, source, &mut tagged);
            match tagged {
                None => Ok(root),
                Some(place) => Err(SyntaxError {
                    place,
                    message: "YAML tags are not used here; write the value without one".to_owned(),
                }),
            }
        }
        Err(error) => {
            let place =
                error.location().map_or(Place { source, ..Place::default() }, |location| Place {
                    source,
                    line: narrow(location.line()),
                    column: narrow(location.column()),
                    length: narrow(location.span().len()),
                });
            Err(SyntaxError { place, message: plain_message(&error) })
        }
    }
}

fn budget() -> Option<Budget> {
    let file_bytes_max = usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX);
    serde_saphyr::budget! {
        max_nodes: NODES_MAX,
        max_events: NODES_MAX.saturating_mul(2),
        max_total_scalar_bytes: file_bytes_max,
        max_depth: DEPTH_MAX,
        flow_nesting_limit: DEPTH_MAX,
    }
}

/// The parser's sentence without the place, which a finding has anyway.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line.split(", set DuplicateKeyPolicy").next().unwrap_or(line);
    let line = line.split("; use from_str_multiple").next().unwrap_or(line);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Node {
    /// Gives scalars the spelling of the file, places their file, and finds tags.
    fn restore(&mut self, text: &str, source: u16, tagged: &mut Option<Place>) {
        self.place.source = source;
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        if tagged.is_none() && follows_tag(text.get(..offset).unwrap_or_default()) {
            *tagged = Some(self.place);
        }
        match &mut self.value {
            Value::Null => {}
            Value::Scalar(scalar) => {
                let end = offset.saturating_add(usize::try_from(self.octets).unwrap_or(usize::MAX));
                let spelled = text.get(offset..end).unwrap_or_default();
                let quoted = spelled.starts_with(['"', '\'', '|', '>']);
                // A block scalar's span begins behind its `|`, so its text differs from the file's.
                if scalar.text.is_empty() && !quoted {
                    scalar.text = spelled.into();
                    scalar.plain = true;
                } else {
                    scalar.plain = !quoted && &*scalar.text == spelled;
                }
            }
            Value::List(items) => {
                for item in items {
                    item.restore(text, source, tagged);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.restore(text, source, tagged);
                    value.restore(text, source, tagged);
                }
            }
        }
    }

    /// A node with nothing in it, to read the defaults of a section from.
    pub(super) fn nothing(place: Place) -> Self {
        Self { place, offset: u32::MAX, octets: 0, value: Value::Null }
    }

    /// What the node is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Scalar(scalar) = &self.value { Some(&scalar.text) } else { None }
    }

    /// The entries of a map; nothing at all is an empty map.
    pub(super) fn entries(&self) -> Option<&[(Self, Self)]> {
        match &self.value {
            Value::Null => Some(&[]),
            Value::Map(entries) => Some(entries),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    /// The items of a list; anything else is a list of itself.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(self),
        }
    }
}

/// Whether what stands before a node on its line ends in a tag, with or without an anchor behind it.
/// Standard tags such as `!!str` pass the parser, and would silently do nothing here.
fn follows_tag(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.rsplit([' ', '\t', '[', '{', ','])
        .find(|word| !word.is_empty() && !word.starts_with('&'))
        .is_some_and(|word| word.starts_with('!'))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let (offset, octets) = {
            let span = spanned.defined.span();
            (span.byte_offset().map_or(u32::MAX, narrow), span.byte_len().map_or(0, narrow))
        };
        let place = Place {
            source: 0,
            line: narrow(spanned.referenced.line()),
            column: narrow(spanned.referenced.column()),
            length: narrow(spanned.referenced.span().len()),
        };
        Ok(Self { place, offset, octets, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

/// A scalar whose spelling is restored from the file afterwards.
const SPELLED: fn() -> Value = || Value::Scalar(Scalar { text: "".into(), plain: true });

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(SPELLED())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(SPELLED())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(SPELLED())
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(SPELLED())
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(SPELLED())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(SPELLED())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar { text: text.into(), plain: false }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
