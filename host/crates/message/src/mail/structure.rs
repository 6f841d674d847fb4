//! The parts of a mail by their offsets (RFC 2045, RFC 2046 §5.1), in one linear pass with bounds
//! on parts and depth; nothing is decoded or copied here.

use std::ops::Range;

use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};

use super::header::{HeaderBlock, line_at};
use super::transfer::Transfer;

/// Parts of a mail that are told apart; the last one keeps what follows.
pub const PARTS_MAX: usize = 1_000;
/// Multiparts inside multiparts that are opened; a deeper one is one part. Attached messages are
/// never opened.
pub const MULTIPART_DEPTH_MAX: usize = 32;

/// Longest Content-Type or Content-Disposition that is read.
const CONTENT_FIELD_OCTETS_MAX: usize = 16_384;
/// Longest boundary that is honoured; RFC 2046 allows 70.
const BOUNDARY_OCTETS_MAX: usize = 256;

/// One part, root included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) parent: Option<usize>,
    /// Lower case, for example `text/plain`.
    pub(super) content_type: String,
    pub(super) charset: Option<String>,
    pub(super) filename: Option<String>,
    pub(super) attachment: bool,
    pub(super) flowed: bool,
    pub(super) delete_space: bool,
    pub(super) transfer: Transfer,
    /// Of a multipart that was opened.
    pub(super) boundary: Option<Box<[u8]>>,
    /// Start of the delimiter line before the part; 0 for the root.
    pub(super) delimiter: usize,
    /// Its header without the empty line.
    pub(super) header: Range<usize>,
    /// Its body without the line end that belongs to the next delimiter.
    pub(super) body: Range<usize>,
    /// Start of the next delimiter line, or the end of the mail.
    pub(super) next: usize,
}

/// All parts in the order of the mail; the first is the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
}

impl Tree {
    pub(super) fn parse(raw: &[u8], root: &HeaderBlock) -> Self {
        let mut parser = Parser { raw, nodes: Vec::new(), path: Vec::new(), open: Vec::new() };
        let mut at = parser.enter(root, 0, 0);
        while at < raw.len() && !parser.open.is_empty() {
            let line = line_at(raw, at);
            at = line.end;
            let Some((level, last)) = parser.delimiter(line.clone()) else { continue };
            if !last && parser.nodes.len() >= PARTS_MAX {
                break;
            }
            parser.close(level, line.start);
            if last {
                parser.open.truncate(level);
            } else {
                parser.open.truncate(level + 1);
                let block = HeaderBlock::scan(raw, line.end);
                at = parser.enter(&block, line.end, line.start);
            }
        }
        Self { nodes: parser.nodes }
    }

    /// Ancestors of a part, nearest first.
    pub(super) fn ancestors(&self, index: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.parent(index), |&index| self.parent(index))
    }

    /// Boundaries of the multiparts around a part.
    pub(super) fn boundaries(&self, index: usize) -> Vec<&[u8]> {
        self.ancestors(index)
            .filter_map(|ancestor| self.nodes.get(ancestor)?.boundary.as_deref())
            .collect()
    }

    fn parent(&self, index: usize) -> Option<usize> {
        self.nodes.get(index)?.parent
    }
}

struct Parser<'a> {
    raw: &'a [u8],
    nodes: Vec<Node>,
    /// Parts that have not ended, outermost first.
    path: Vec<usize>,
    /// Multiparts that expect a delimiter, outermost first: part and boundary.
    open: Vec<(usize, Box<[u8]>)>,
}

impl Parser<'_> {
    /// Adds a part with this header and returns where its body starts.
    fn enter(&mut self, block: &HeaderBlock, start: usize, delimiter: usize) -> usize {
        let parent = self.path.last().copied();
        let digest = parent
            .and_then(|index| self.nodes.get(index))
            .is_some_and(|node| node.content_type == "multipart/digest");
        let mut node = node(self.raw, block, digest);
        node.parent = parent;
        node.delimiter = delimiter;
        node.header = start..block.end;
        node.body = block.body..self.raw.len();
        node.next = self.raw.len();
        if self.open.len() >= MULTIPART_DEPTH_MAX || self.is_ambiguous(node.boundary.as_deref()) {
            node.boundary = None;
        }
        let index = self.nodes.len();
        if let Some(boundary) = &node.boundary {
            self.open.push((index, boundary.clone()));
        }
        self.path.push(index);
        self.nodes.push(node);
        block.body
    }

    /// Whether a delimiter of this boundary could be one of a multipart around it, which RFC 2046
    /// §5.1.2 forbids. Such a multipart is not opened: removing a part of it could regroup others.
    fn is_ambiguous(&self, boundary: Option<&[u8]>) -> bool {
        let core = |boundary: &[u8]| boundary.strip_suffix(b"--").unwrap_or(boundary).to_vec();
        let Some(inner) = boundary.map(core) else { return false };
        self.open.iter().any(|(_, outer)| core(outer) == inner)
    }

    /// Which open multipart a line delimits, and whether it closes it.
    fn delimiter(&self, line: Range<usize>) -> Option<(usize, bool)> {
        let text = self.raw.get(line)?.strip_prefix(b"--")?.trim_ascii_end();
        self.open.iter().enumerate().rev().find_map(|(level, (_, boundary))| {
            match text.strip_prefix(&**boundary)? {
                b"" => Some((level, false)),
                b"--" => Some((level, true)),
                _ => None,
            }
        })
    }

    /// Ends all parts inside the open multipart `level` before the delimiter line at `at`.
    fn close(&mut self, level: usize, at: usize) {
        let Some(&(multipart, _)) = self.open.get(level) else { return };
        let before = self.raw.get(..at).unwrap_or_default();
        let before = before.strip_suffix(b"\n").unwrap_or(before);
        let end = before.strip_suffix(b"\r").unwrap_or(before).len();
        while let Some(&index) = self.path.last()
            && index != multipart
        {
            if let Some(node) = self.nodes.get_mut(index) {
                // A part without even an empty line ends where its header does.
                let start = node.body.start.min(at);
                node.body = start..end.max(start);
                node.next = at;
            }
            self.path.pop();
        }
    }
}

fn node(raw: &[u8], block: &HeaderBlock, digest: bool) -> Node {
    let mut node = Node {
        parent: None,
        content_type: if digest { "message/rfc822" } else { "text/plain" }.to_owned(),
        charset: None,
        filename: None,
        attachment: false,
        flowed: false,
        delete_space: false,
        transfer: block
            .value(raw, "Content-Transfer-Encoding")
            .map_or(Transfer::Identity, |value| Transfer::named(&value)),
        boundary: None,
        delimiter: 0,
        header: 0..0,
        body: 0..0,
        next: 0,
    };
    content_field(raw, block, "Content-Type", |field| node.read_type(field));
    content_field(raw, block, "Content-Disposition", |field| {
        node.attachment = field.is_attachment();
        if let Some(name) = field.attribute("filename") {
            node.filename = Some(name.to_owned());
        }
    });
    node
}

impl Node {
    fn read_type(&mut self, field: &ContentType<'_>) {
        self.content_type = match field.subtype() {
            Some(subtype) => format!("{}/{subtype}", field.ctype()).to_ascii_lowercase(),
            None => field.ctype().to_ascii_lowercase(),
        };
        let says = |name: &str, value: &str| {
            field.attribute(name).is_some_and(|said| said.eq_ignore_ascii_case(value))
        };
        self.charset = field.attribute("charset").map(str::to_owned);
        self.filename = field.attribute("name").map(str::to_owned);
        self.flowed = says("format", "flowed");
        self.delete_space = says("delsp", "yes");
        self.boundary = field
            .attribute("boundary")
            .map(str::trim_end)
            .filter(|_| self.content_type.starts_with("multipart/"))
            .filter(|boundary| (1..=BOUNDARY_OCTETS_MAX).contains(&boundary.len()))
            .map(|boundary| boundary.as_bytes().into());
    }
}

fn content_field(raw: &[u8], block: &HeaderBlock, name: &str, read: impl FnOnce(&ContentType<'_>)) {
    let Some(field) = block.named(raw, name).next() else { return };
    let value = field.value(raw);
    let mut line = Vec::with_capacity(value.len().min(CONTENT_FIELD_OCTETS_MAX) + 1);
    line.extend(value.iter().take(CONTENT_FIELD_OCTETS_MAX));
    line.push(b'\n');
    if let HeaderValue::ContentType(field) = MessageStream::new(&line).parse_content_type() {
        read(&field);
    }
}
