//! Passwords and tokens: `{ env: NAME }`, `{ file: PATH }`, or written into the file itself.

use super::check::{Check, Text};
use super::exposed;
use super::keys::{Kind, Schema, key};
use super::scalar::Secret;
use super::section::Section;
use super::yaml::Node;

/// The keys of a secret that is kept elsewhere.
pub(super) static KEYS: Schema = Schema {
    about: "A secret that is kept outside of the configuration.",
    keys: &[
        key("env", Kind::Text, "The environment variable that holds it."),
        key("file", Kind::Path, "The file that holds it; a line break at its end does not count."),
    ],
};

/// The largest secret that is read from a file, in octets.
const OCTETS_MAX: u64 = 64 << 10;

/// Reads a secret. `path` is where it stands, for messages.
pub(super) fn read(check: &mut Check, node: &Node, path: &str) -> Option<Secret> {
    if let Some(text) = node.text() {
        return literal(check, node, text, path);
    }
    let section = Section::open(check, &KEYS, node, path.to_owned());
    let (env, file) = (section.opt_text(check, "env"), section.opt_path(check, "file"));
    match (env, file) {
        (Some(name), None) => {
            if !check.options.environment {
                return Some(Secret::new(""));
            }
            match std::env::var(&*name) {
                Ok(value) if !value.is_empty() => Some(Secret::new(value)),
                Ok(_) | Err(_) => {
                    check.error_with(
                        node.place,
                        format!("{path}: the environment variable {name} is not set"),
                        format!("set {name}, or check with --no-environment"),
                    );
                    None
                }
            }
        }
        (None, Some(file)) => {
            if !check.options.environment {
                return Some(Secret::new(""));
            }
            let Text { text, world_readable } = match check.read_secret(&file, OCTETS_MAX) {
                Ok(read) => read,
                Err(problem) => {
                    let file = file.display();
                    check.error(node.place, format!("{path}: cannot read {file}: {problem}"));
                    return None;
                }
            };
            exposed::check_writable(check, node.place, &file);
            if world_readable {
                let file = file.display();
                check.warning(
                    node.place,
                    format!("{path}: everybody on this machine can read {file}"),
                    format!("chmod o-r {file}"),
                );
            }
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                // A full disk or a rotation that was cut short leaves such a file.
                let file = file.display();
                check.error_with(
                    node.place,
                    format!("{path}: {file} is empty"),
                    "write the secret into it",
                );
                return None;
            }
            Some(Secret::new(text))
        }
        (None, None) | (Some(_), Some(_)) => {
            check.error(node.place, format!("{path} is {{ env: NAME }} or {{ file: PATH }}"));
            None
        }
    }
}

fn literal(check: &mut Check, node: &Node, text: &str, path: &str) -> Option<Secret> {
    const REMEDY: &str = "keep it elsewhere: { env: NAME } or { file: PATH }";
    if text.is_empty() {
        check.error_with(node.place, format!("{path} is empty"), REMEDY);
        return None;
    }
    if check.is_world_readable(node.place) {
        check.error_with(
            node.place,
            format!("{path} is written into a file that everybody on this machine can read"),
            "chmod o-r the file, or keep the secret elsewhere: { env: NAME } or { file: PATH }",
        );
        return None;
    }
    check.warning(node.place, format!("{path} is written into the configuration"), REMEDY);
    Some(Secret::new(text))
}
