//! HTML to text in one linear pass: what a mail without a plain text part says. Not a browser: no
//! style is obeyed, nothing is fetched.

use mail_parser::decoders::html::add_html_token;

/// Octets of HTML that are looked at; style sheets and the like come first in many mails.
pub const HTML_OCTETS_MAX: usize = 1024 * 1024;

/// Longest link target that is shown behind its text; longer ones are for counting readers.
const LINK_OCTETS_MAX: usize = 128;
/// Longest entity, `&` and `;` included.
const ENTITY_OCTETS_MAX: usize = 40;

/// The text of an HTML document: blocks on lines of their own, list items with a dash, links with
/// their target behind them, images by their alternative text.
#[must_use]
pub fn html_to_text(html: &str) -> String {
    let html = html.get(..floor_boundary(html, HTML_OCTETS_MAX)).unwrap_or_default();
    let mut reader = Reader { rest: html, quotes_end: true, tags_end: true };
    let mut page = Page::default();
    while !reader.rest.is_empty() {
        let text_end = reader.rest.find('<').unwrap_or(reader.rest.len());
        page.text(reader.take(text_end));
        if reader.rest.is_empty() {
            break;
        }
        match reader.tag() {
            Some(tag) => {
                page.tag(&tag);
                if !tag.closing && matches!(tag.kind, Kind::Hidden) {
                    reader.skip_element(tag.name);
                }
            }
            None => page.text(reader.take(1)),
        }
    }
    page.finish()
}

/// The largest character boundary of `text` that is at most `at`.
pub(super) fn floor_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// What an element does to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Inline,
    /// It stands on lines of its own, with so many empty lines around it.
    Block(usize),
    LineBreak,
    Item,
    Cell,
    Link,
    Image,
    Preformatted,
    /// Its content is no text.
    Hidden,
}

fn kind(name: &str) -> Kind {
    let mut lower = [0; 10];
    let Some(place) = lower.get_mut(..name.len()) else { return Kind::Inline };
    place.copy_from_slice(name.as_bytes());
    place.make_ascii_lowercase();
    match &*place {
        b"br" => Kind::LineBreak,
        b"p" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"table" | b"blockquote" | b"hr" => {
            Kind::Block(1)
        }
        b"div" | b"tr" | b"ul" | b"ol" | b"dl" | b"dt" | b"dd" | b"section" | b"article"
        | b"header" | b"footer" | b"address" | b"form" | b"body" | b"center" | b"figure" => {
            Kind::Block(0)
        }
        b"li" => Kind::Item,
        b"td" | b"th" => Kind::Cell,
        b"a" => Kind::Link,
        b"img" => Kind::Image,
        b"pre" => Kind::Preformatted,
        b"script" | b"style" | b"title" | b"template" => Kind::Hidden,
        _ => Kind::Inline,
    }
}

struct Tag<'a> {
    name: &'a str,
    kind: Kind,
    closing: bool,
    attributes: &'a str,
}

struct Reader<'a> {
    rest: &'a str,
    /// False once a quoted attribute was found to have no end: from there on quotes mean nothing,
    /// so that no later tag searches for one in vain.
    quotes_end: bool,
    /// False once a tag was found to have no end: from there on `<` is text.
    tags_end: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, octets: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(octets);
        self.rest = rest;
        taken
    }

    /// The tag at the next `<`, comments and declarations included; none if it is text.
    fn tag(&mut self) -> Option<Tag<'a>> {
        if !self.tags_end {
            return None;
        }
        if self.rest.starts_with("<!--") {
            let end = self.rest.find("-->").map_or(self.rest.len(), |at| at + 3);
            self.take(end);
            return Some(Tag { name: "", kind: Kind::Inline, closing: false, attributes: "" });
        }
        let opener = *self.rest.as_bytes().get(1)?;
        if !(opener.is_ascii_alphabetic() || matches!(opener, b'/' | b'!' | b'?')) {
            return None;
        }
        let Some(end) = self.tag_end() else {
            self.tags_end = false;
            return None;
        };
        let inside = self.take(end + 1);
        let inside = inside.trim_start_matches('<').trim_end_matches('>');
        let (closing, inside) = match inside.strip_prefix('/') {
            Some(inside) => (true, inside),
            None => (false, inside),
        };
        let name_end = inside
            .find(|character: char| !character.is_ascii_alphanumeric())
            .unwrap_or(inside.len());
        let (name, attributes) = inside.split_at(name_end);
        Some(Tag { name, kind: kind(name), closing, attributes })
    }

    /// Offset of the `>` that ends the tag here.
    fn tag_end(&mut self) -> Option<usize> {
        if self.quotes_end {
            let mut quote = None;
            let mut value = false;
            for (at, octet) in self.rest.bytes().enumerate() {
                match (quote, octet) {
                    (Some(open), _) if open == octet => quote = None,
                    (Some(_), _) => {}
                    (None, b'>') => return Some(at),
                    (None, b'"' | b'\'') if value => quote = Some(octet),
                    (None, b'=') => value = true,
                    (None, b' ' | b'\t' | b'\r' | b'\n') => {}
                    (None, _) => value = false,
                }
            }
            self.quotes_end = false;
        }
        self.rest.find('>')
    }

    /// Skips to behind the end tag of `name`, or to the end.
    fn skip_element(&mut self, name: &str) {
        while let Some(at) = self.rest.find("</") {
            self.take(at + 2);
            let found =
                self.rest.get(..name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name));
            if found {
                let end = self.rest.find('>').map_or(self.rest.len(), |at| at + 1);
                self.take(end);
                return;
            }
        }
        self.take(self.rest.len());
    }
}

/// The value of an attribute; quotes around it are removed.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        let key_end =
            rest.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(rest.len());
        let (key, after) = rest.split_at(key_end);
        let after = after.trim_start();
        let Some(after) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let after = after.trim_start();
        let (value, after) = match after.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let inside = after.strip_prefix(quote).unwrap_or(after);
                inside.split_once(quote).unwrap_or((inside, ""))
            }
            _ => {
                after.split_at(after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len()))
            }
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// The text so far, and the white space that is due before more of it.
#[derive(Default)]
struct Page {
    out: String,
    space: bool,
    breaks: usize,
    preformatted: usize,
    /// Target of the open link and where its text starts.
    link: Option<(String, usize)>,
}

impl Page {
    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let width = character.len_utf8();
            if character == '&'
                && let Some(end) = entity_end(rest)
            {
                let (entity, after) = rest.split_at(end);
                let mut decoded = String::new();
                add_html_token(&mut decoded, entity.as_bytes(), false);
                decoded.chars().for_each(|character| self.character(character));
                rest = after;
                continue;
            }
            self.character(character);
            rest = rest.split_at(width).1;
        }
    }

    fn character(&mut self, character: char) {
        let kept = self.preformatted > 0 && matches!(character, '\n' | ' ');
        if (character.is_ascii_whitespace() || character == '\u{A0}') && !kept {
            self.space = true;
        } else if character == '\n' {
            self.breaks = self.breaks.saturating_add(1).min(2);
        } else if !character.is_control() {
            self.due();
            self.out.push(character);
        }
    }

    /// Writes the white space that is due.
    fn due(&mut self) {
        if self.out.is_empty() {
            // Nothing stands above the first line.
        } else if self.breaks > 0 {
            self.out.extend(std::iter::repeat_n('\n', self.breaks));
        } else if self.space && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
        self.space = false;
        self.breaks = 0;
    }

    fn tag(&mut self, tag: &Tag<'_>) {
        match tag.kind {
            Kind::Inline => {}
            Kind::LineBreak => self.breaks = self.breaks.saturating_add(1).min(2),
            Kind::Block(empty_lines) => self.breaks = self.breaks.max(1 + empty_lines),
            Kind::Item => {
                self.breaks = self.breaks.max(1);
                if !tag.closing {
                    self.due();
                    self.out.push_str("- ");
                }
            }
            Kind::Cell => self.space = true,
            Kind::Preformatted => {
                self.breaks = self.breaks.max(1);
                self.preformatted =
                    if tag.closing { self.preformatted.saturating_sub(1) } else { 1 };
            }
            Kind::Image => {
                if let Some(alternative) = attribute(tag.attributes, "alt") {
                    self.text(alternative);
                }
            }
            Kind::Link => {
                self.end_link();
                if !tag.closing {
                    self.start_link(tag.attributes);
                }
            }
            Kind::Hidden => self.space = true,
        }
    }

    fn start_link(&mut self, attributes: &str) {
        let Some(target) = attribute(attributes, "href") else { return };
        let shown = target.starts_with("https://") || target.starts_with("http://");
        if shown && target.len() <= LINK_OCTETS_MAX {
            let mut decoded = Self::default();
            decoded.text(target);
            self.link = Some((decoded.out, self.out.len()));
        }
    }

    fn end_link(&mut self) {
        let Some((target, start)) = self.link.take() else { return };
        let text = self.out.get(start..).unwrap_or_default().trim();
        let bare = target.split_once("://").map_or(&*target, |(_, bare)| bare);
        if !text.is_empty() && !text.contains(bare.trim_end_matches('/')) {
            self.out.push_str(" (");
            self.out.push_str(&target);
            self.out.push(')');
        }
    }

    fn finish(mut self) -> String {
        self.end_link();
        self.out.truncate(self.out.trim_end().len());
        self.out
    }
}

/// Where the entity at the start of `text` ends, its semicolon included.
fn entity_end(text: &str) -> Option<usize> {
    let semicolon = text.bytes().take(ENTITY_OCTETS_MAX).position(|octet| octet == b';')?;
    let name = text.as_bytes().get(1..semicolon)?;
    let valid = name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'#');
    (valid && !name.is_empty()).then_some(semicolon + 1)
}
