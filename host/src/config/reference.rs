//! The reference of all keys, printed from the tables that the reader reads by: as Markdown for
//! `docs/OPERATING.md`, and as JSON Schema for editors.

use serde_json::{Map, Value, json};

use super::keys::{Key, Kind, Schema};
use super::load::TOP;
use super::scalar::{spell_duration, spell_size};

/// Every key with type, default, range and meaning, as Markdown tables; one for each section.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::new();
    let mut done: Vec<*const Schema> = Vec::new();
    let mut waiting: Vec<(String, &'static Schema)> = vec![(String::new(), &TOP)];
    while let Some((path, schema)) = waiting.pop() {
        if done.contains(&std::ptr::from_ref(schema)) {
            continue;
        }
        done.push(schema);
        write_section(&mut text, &path, schema);
        for key in schema.keys.iter().rev() {
            let path =
                if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            inner(&key.kind, &path, &mut waiting);
        }
    }
    text
}

fn write_section(text: &mut String, path: &str, schema: &Schema) {
    // Writing to a string cannot fail.
    let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
    text.push_str(&format!("### {title}\n\n{}\n\n", schema.about));
    text.push_str("| key | value | default | restart | meaning |\n|---|---|---|---|---|\n");
    for key in schema.keys {
        let default = match (key.required, key.default) {
            (true, _) => "required".to_owned(),
            (false, "") => "–".to_owned(),
            (false, default) => format!("`{default}`"),
        };
        let restart = if key.restart { "yes" } else { "" };
        let kind = describe(&key.kind).replace('|', "\\|");
        text.push_str(&format!(
            "| `{}` | {kind} | {default} | {restart} | {} |\n",
            key.name, key.about
        ));
    }
    text.push('\n');
}

/// Sections within a kind, with the paths that they get.
fn inner(kind: &Kind, path: &str, found: &mut Vec<(String, &'static Schema)>) {
    match kind {
        Kind::Section(schema) => found.push((path.to_owned(), schema)),
        Kind::Named(schema) => found.push((format!("{path}.NAME"), schema)),
        Kind::Listed(schema) => found.push((format!("{path}[]"), schema)),
        Kind::ListOf(kind) => inner(kind, &format!("{path}[]"), found),
        Kind::Secret => found.push((path.to_owned(), &super::secret::KEYS)),
        Kind::AddressPattern => found.push((path.to_owned(), &super::pattern::ADDRESS)),
        Kind::TextPattern => found.push((path.to_owned(), &super::pattern::TEXT)),
        Kind::Several(kind) | Kind::MapOf(_, kind) => inner(kind, path, found),
        Kind::Either(first, second) => {
            inner(second, path, found);
            inner(first, path, found);
        }
        _ => {}
    }
}

/// The kind of a value in a few words, with its range.
fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Octets(max) => format!("text, at most {max} octets"),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Int(min, max) => format!("number, {min} to {max}"),
        Kind::Decimal(min, max) => format!("decimal number, {min} to {max}"),
        Kind::Duration(min, max) => format!("duration, {} to {}", millis(*min), millis(*max)),
        Kind::Size(min, max) => format!("size, {} to {}", spell_size(*min), spell_size(*max)),
        Kind::Rate => "rate, such as `200/s`".to_owned(),
        Kind::Word(words) => {
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Path => "path".to_owned(),
        Kind::Secret => "secret: `{ env: NAME }` or `{ file: PATH }`".to_owned(),
        Kind::Socket => "`ADDRESS:PORT`".to_owned(),
        Kind::Network => "network in CIDR notation".to_owned(),
        Kind::Name(of) => format!("name from {of}"),
        Kind::Template(places) => {
            let places: Vec<String> = places.iter().map(|place| format!("`{{{place}}}`")).collect();
            format!("text with {}", places.join(", "))
        }
        Kind::AddressPattern => "address pattern".to_owned(),
        Kind::TextPattern => "text pattern".to_owned(),
        Kind::Hours => "hours of the week".to_owned(),
        Kind::Several(kind) => format!("{}; one or a list", describe(kind)),
        Kind::Section(_) => "map, see below".to_owned(),
        Kind::Named(_) => "map from names to maps, see below".to_owned(),
        Kind::Listed(_) | Kind::ListOf(_) => "list of maps, see below".to_owned(),
        Kind::MapOf(key, kind) => format!("map from {key} to: {}", describe(kind)),
        Kind::Either(first, second) => format!("{}; or {}", describe(first), describe(second)),
        Kind::Free => "anything".to_owned(),
    }
}

fn millis(millis: u64) -> String {
    spell_duration(std::time::Duration::from_millis(millis))
}

/// A JSON Schema (draft 2020-12) of the configuration, for editors.
#[must_use]
pub fn json_schema() -> Value {
    let mut sections = Sections::default();
    let mut root = sections.body(&TOP);
    root.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    root.insert("title".to_owned(), "Wirepost configuration".into());
    root.insert("$defs".to_owned(), Value::Object(sections.definitions));
    Value::Object(root)
}

#[derive(Default)]
struct Sections {
    known: Vec<*const Schema>,
    definitions: Map<String, Value>,
}

impl Sections {
    /// A reference to the definition of a section, which is made on the first use: sections refer to
    /// one another and to themselves.
    fn refer(&mut self, schema: &'static Schema) -> Value {
        let at = self.known.iter().position(|known| std::ptr::eq(*known, schema));
        let number = at.unwrap_or_else(|| {
            self.known.push(schema);
            let number = self.known.len() - 1;
            let body = self.body(schema);
            self.definitions.insert(format!("section{number}"), Value::Object(body));
            number
        });
        json!({ "$ref": format!("#/$defs/section{number}") })
    }

    fn body(&mut self, schema: &'static Schema) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in schema.keys {
            properties.insert(key.name.to_owned(), self.property(key));
        }
        let required: Vec<&str> =
            schema.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        let mut body = Map::new();
        body.insert("type".to_owned(), "object".into());
        body.insert("description".to_owned(), schema.about.into());
        body.insert("properties".to_owned(), Value::Object(properties));
        body.insert("additionalProperties".to_owned(), false.into());
        if !required.is_empty() {
            body.insert("required".to_owned(), required.into());
        }
        body
    }

    fn property(&mut self, key: &'static Key) -> Value {
        let mut about = key.about.to_owned();
        if !key.default.is_empty() {
            // Writing to a string cannot fail.
            about.push_str(&format!(" Default: {}.", key.default));
        }
        if key.restart {
            about.push_str(" A change needs a restart.");
        }
        let mut value = self.kind(&key.kind);
        if let Value::Object(value) = &mut value {
            value.insert("description".to_owned(), about.into());
        }
        value
    }

    fn kind(&mut self, kind: &'static Kind) -> Value {
        match kind {
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Int(min, max) => json!({ "anyOf": [
                { "type": "integer", "minimum": min, "maximum": max },
                { "type": "string", "pattern": "^0x[0-9a-fA-F]+$" },
            ] }),
            Kind::Decimal(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
            Kind::Duration(..) => {
                json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|min|h|d))+$" })
            }
            Kind::Size(..) => json!({
                "type": ["integer", "string"],
                "pattern": "^[0-9]+(B|kB|KB|KiB|MB|MiB|GB|GiB)?$",
            }),
            Kind::Rate => json!({ "type": "string", "pattern": "^[0-9]+/(s|m|min|h|d)$" }),
            Kind::Word(words) => json!({ "enum": words }),
            Kind::Secret => {
                json!({ "anyOf": [{ "type": "string" }, self.refer(&super::secret::KEYS)] })
            }
            Kind::AddressPattern => {
                json!({ "anyOf": [{ "type": ["string", "number"] }, self.refer(&super::pattern::ADDRESS)] })
            }
            Kind::TextPattern => {
                json!({ "anyOf": [{ "type": ["string", "number"] }, self.refer(&super::pattern::TEXT)] })
            }
            Kind::Several(kind) => {
                let one = self.kind(kind);
                json!({ "anyOf": [one.clone(), { "type": "array", "items": one }] })
            }
            Kind::Section(schema) => json!({ "allOf": [self.refer(schema)] }),
            Kind::Named(schema) => {
                json!({ "type": "object", "additionalProperties": self.refer(schema) })
            }
            Kind::ListOf(kind) => json!({ "type": "array", "items": self.kind(kind) }),
            Kind::Listed(schema) => json!({ "type": "array", "items": self.refer(schema) }),
            Kind::MapOf(_, kind) => {
                json!({ "type": "object", "additionalProperties": self.kind(kind) })
            }
            Kind::Either(first, second) => {
                json!({ "anyOf": [self.kind(first), self.kind(second)] })
            }
            Kind::Free => json!({}),
            Kind::Text
            | Kind::Octets(_)
            | Kind::Path
            | Kind::Socket
            | Kind::Network
            | Kind::Name(_)
            | Kind::Template(_)
            | Kind::Hours => json!({ "type": ["string", "number", "boolean"] }),
        }
    }
}
