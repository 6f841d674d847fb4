//! Reading a mail: header, text and parts of raw octets, each looked up once and on demand.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address, HeaderValue};

use super::header::{self, Field, HeaderBlock};
use super::html::{HTML_OCTETS_MAX, floor_boundary, html_to_text};
use super::structure::{Node, Tree};
use super::transfer::{self, Transfer};

/// Octets of text that are taken out of a mail.
pub const TEXT_OCTETS_MAX: usize = 256 * 1024;

/// Octets that are copied in the time in which one is parsed or decoded.
pub const COPIED_FOR_ONE_READ: usize = 4;

/// Header fields from which on they are sorted before one is looked for.
const SORTED_FROM: usize = 64;
/// Octets read to compare two names.
const NAME_OCTETS: usize = 16;

/// Longest address header that is read.
const ADDRESS_FIELD_OCTETS_MAX: usize = 16_384;

/// A mail, read on demand. Cheap until a question is asked; each answer is found once. Octets of
/// any kind are a mail: what makes no sense is simply not there.
#[derive(Debug)]
pub struct MailView {
    raw: Bytes,
    header: OnceLock<HeaderBlock>,
    /// Fields in the order of their names, those of one name in the order of the mail.
    by_name: OnceLock<Vec<usize>>,
    tree: OnceLock<Tree>,
    parts: OnceLock<Vec<Part>>,
    /// The part that the text comes from, and the text.
    text: OnceLock<Option<(usize, String)>>,
    worked: AtomicU64,
}

/// One part of a mail, the mail itself included (index 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place in the list.
    pub index: usize,
    /// The multipart that holds it.
    pub parent: Option<usize>,
    /// Lower case, for example `text/plain`.
    pub content_type: String,
    /// As declared.
    pub charset: Option<String>,
    /// As declared, decoded.
    pub filename: Option<String>,
    /// Whether its Content-Disposition says so.
    pub is_attachment: bool,
    /// Decoded size in octets; 0 for a multipart.
    pub size_bytes: usize,
}

impl MailView {
    /// A view of raw RFC 5322 octets.
    #[must_use]
    pub const fn new(raw: Bytes) -> Self {
        Self {
            raw,
            header: OnceLock::new(),
            by_name: OnceLock::new(),
            tree: OnceLock::new(),
            parts: OnceLock::new(),
            text: OnceLock::new(),
            worked: AtomicU64::new(0),
        }
    }

    /// Octets that were read, parsed or decoded for all answers so far: what they cost, on any machine.
    /// Octets that are only copied count for a quarter.
    #[must_use]
    pub fn worked(&self) -> u64 {
        self.worked.load(Ordering::Relaxed)
    }

    fn work(&self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.worked.fetch_add(octets, Ordering::Relaxed);
    }

    /// The mail as it came.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The first field of that name: unfolded, RFC 2047 decoded, lossy UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.fields(name).next().map(|field| self.decoded(field))
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn has_header(&self, name: &str) -> bool {
        self.fields(name).next().is_some()
    }

    /// All fields of that name, decoded, in order.
    #[must_use]
    pub fn header_all(&self, name: &str) -> Vec<String> {
        self.fields(name).map(|field| self.decoded(field)).collect()
    }

    /// All fields, decoded, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, String)> {
        self.headers_from(0)
    }

    /// The fields behind the first `skipped`, decoded, in order; those that are skipped cost nothing.
    pub fn headers_from(&self, skipped: usize) -> impl Iterator<Item = (&str, String)> {
        let fields = self.block().fields.get(skipped..).unwrap_or_default();
        fields.iter().map(|field| (field.name(&self.raw), self.decoded(*field)))
    }

    /// The header as it came, without the empty line behind it.
    #[must_use]
    pub fn header_bytes(&self) -> Bytes {
        self.raw.slice(..self.block().end)
    }

    /// The decoded subject.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        self.header("Subject")
    }

    /// Address of the first author.
    #[must_use]
    pub fn from(&self) -> Option<String> {
        self.addresses("From").into_iter().next()
    }

    /// Address of the first recipient that the header names.
    #[must_use]
    pub fn to(&self) -> Option<String> {
        self.addresses("To").into_iter().next()
    }

    /// Addresses of a header such as `Cc`, groups resolved.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let Some(field) = self.fields(name).next() else { return Vec::new() };
        let mut line: Vec<u8> =
            field.value(&self.raw).iter().copied().take(ADDRESS_FIELD_OCTETS_MAX).collect();
        line.push(b'\n');
        match MessageStream::new(&line).parse_address() {
            HeaderValue::Address(address) => mailboxes(&address),
            _ => Vec::new(),
        }
    }

    /// The text of the best text part: the first `text/plain` with something in it, else the first
    /// `text/html` as text; attachments do not count. Lines are parted by `\n`, none
    /// ends the text; at most [`TEXT_OCTETS_MAX`].
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.best_text().map(|(_, text)| &**text)
    }

    /// The part that [`text`](Self::text) comes from.
    #[must_use]
    pub fn text_part(&self) -> Option<usize> {
        self.best_text().map(|(index, _)| *index)
    }

    /// All parts in order; at most [`PARTS_MAX`](super::PARTS_MAX). Sizes are counted here.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let parts = self.parts.get_or_init(|| {
            self.work(self.raw.len());
            let nodes = self.tree().nodes.iter().enumerate();
            nodes.map(|(index, node)| self.describe(index, node)).collect()
        });
        parts.clone()
    }

    /// The decoded octets of a part; none for a multipart and for an index out of range. Parts that
    /// are not encoded are not copied.
    #[must_use]
    pub fn part(&self, index: usize) -> Option<Bytes> {
        let node = self.tree().nodes.get(index)?;
        if node.boundary.is_some() {
            return None;
        }
        let body = self.raw.slice(node.body.clone());
        Some(match node.transfer {
            Transfer::Identity => body,
            encoded => {
                let octets = transfer::decode(&body, encoded);
                self.work(octets.len());
                Bytes::from(octets)
            }
        })
    }

    /// Whether it says that a program wrote it (RFC 3834 §5).
    #[must_use]
    pub fn is_auto_submitted(&self) -> bool {
        self.header("Auto-Submitted").is_some_and(|value| {
            let value = value.split([';', ' ', '(']).next().unwrap_or_default();
            !value.is_empty() && !value.eq_ignore_ascii_case("no")
        })
    }

    /// Whether its Precedence is `bulk`, `junk` or `list`.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        self.header("Precedence").is_some_and(|value| {
            ["bulk", "junk", "list"].iter().any(|word| value.trim().eq_ignore_ascii_case(word))
        })
    }

    /// Whether it comes from a mailing list (RFC 2369, RFC 2919).
    #[must_use]
    pub fn is_list(&self) -> bool {
        ["List-Id", "List-Post", "List-Unsubscribe", "List-Help"]
            .iter()
            .any(|name| self.fields(name).next().is_some())
    }

    /// Whether its Return-Path is the null sender; the envelope has the last word.
    #[must_use]
    pub fn has_null_return_path(&self) -> bool {
        self.header("Return-Path").is_some_and(|value| value == "<>")
    }

    /// Whether answering it, or waking somebody with it, risks a loop or a flood: any of the above.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.is_auto_submitted() || self.is_bulk() || self.is_list() || self.has_null_return_path()
    }

    /// Servers that it went through: its Received fields.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.fields("Received").count()
    }

    pub(super) fn block(&self) -> &HeaderBlock {
        self.header.get_or_init(|| {
            let block = HeaderBlock::scan(&self.raw, 0);
            self.work(block.body);
            block
        })
    }

    pub(super) fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| {
            let block = self.block();
            self.work(self.raw.len() / COPIED_FOR_ONE_READ);
            Tree::parse(&self.raw, block)
        })
    }

    fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Field> {
        let block = self.block();
        // Few are looked through faster than they are sorted.
        let (few, found) = if block.fields.len() < SORTED_FROM {
            self.work(block.fields.len().saturating_mul(NAME_OCTETS) / COPIED_FOR_ONE_READ);
            (Some(block.named(&self.raw, name)), [].as_slice())
        } else {
            (None, self.named(block, name))
        };
        let found = found.iter().filter_map(|&at| block.fields.get(at).copied());
        few.into_iter().flatten().chain(found)
    }

    /// Which of the many fields have this name.
    fn named(&self, block: &HeaderBlock, name: &str) -> &[usize] {
        let steps = block.fields.len().checked_ilog2().unwrap_or(0);
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        let by_name = self.by_name.get_or_init(|| {
            self.work(block.fields.len().saturating_mul(steps).saturating_mul(NAME_OCTETS));
            let mut order: Vec<usize> = (0..block.fields.len()).collect();
            let name = |at: &usize| block.fields.get(*at).map_or("", |field| field.name(&self.raw));
            order.sort_by(|a, b| compare(name(a), name(b)));
            order
        });
        self.work(steps.saturating_mul(NAME_OCTETS));
        let of = |at: &usize| block.fields.get(*at).map_or("", |field| field.name(&self.raw));
        let start = by_name.partition_point(|at| compare(of(at), name).is_lt());
        let rest = by_name.get(start..).unwrap_or_default();
        let length = rest.partition_point(|at| compare(of(at), name).is_eq());
        rest.get(..length).unwrap_or_default()
    }

    fn decoded(&self, field: Field) -> String {
        let value = field.value(&self.raw);
        self.work(value.len().min(header::HEADER_VALUE_OCTETS_MAX));
        header::decode(value)
    }

    fn describe(&self, index: usize, node: &Node) -> Part {
        let body = self.raw.get(node.body.clone()).unwrap_or_default();
        let multipart = node.boundary.is_some();
        Part {
            index,
            parent: node.parent,
            content_type: node.content_type.clone(),
            charset: node.charset.clone(),
            filename: node.filename.clone(),
            is_attachment: node.attachment,
            size_bytes: if multipart { 0 } else { transfer::decoded_size(body, node.transfer) },
        }
    }

    fn best_text(&self) -> Option<&(usize, String)> {
        self.text.get_or_init(|| self.find_text()).as_ref()
    }

    fn find_text(&self) -> Option<(usize, String)> {
        let (index, mut text) = self.look_for_text()?;
        text.truncate(floor_boundary(&text, TEXT_OCTETS_MAX));
        text.truncate(text.trim_end_matches('\n').len());
        Some((index, text))
    }

    /// The first plain part that is not blank, else the first HTML part, else a blank plain one.
    fn look_for_text(&self) -> Option<(usize, String)> {
        let mut blank = None;
        for (index, node) in self.text_nodes("text/plain") {
            let text = self.plain_text(node);
            if !text.trim().is_empty() {
                return Some((index, text));
            }
            blank = blank.or(Some((index, text)));
        }
        let html = self.text_nodes("text/html").next();
        html.map(|(index, node)| (index, html_to_text(&self.characters(node, HTML_OCTETS_MAX))))
            .or(blank)
    }

    fn text_nodes(&self, content_type: &str) -> impl Iterator<Item = (usize, &Node)> {
        self.tree().nodes.iter().enumerate().filter(move |(_, node)| {
            node.content_type == content_type && !node.attachment && node.boundary.is_none()
        })
    }

    fn plain_text(&self, node: &Node) -> String {
        let text = self.characters(node, TEXT_OCTETS_MAX).replace("\r\n", "\n");
        if node.flowed { unflow(&text, node.delete_space) } else { text }
    }

    /// The characters of a text part, of about `octets_max` decoded octets.
    fn characters(&self, node: &Node, octets_max: usize) -> String {
        let body = self.raw.get(node.body.clone()).unwrap_or_default();
        // Quoted-printable takes three octets for one, at most.
        let body = body.get(..body.len().min(octets_max * 3)).unwrap_or_default();
        self.work(match node.transfer {
            Transfer::Identity => body.len().min(octets_max) / COPIED_FOR_ONE_READ,
            _ => body.len(),
        });
        let mut octets = match node.transfer {
            Transfer::Identity => Cow::Borrowed(body),
            encoded => Cow::Owned(transfer::decode(body, encoded)),
        };
        if octets.len() > octets_max {
            octets = Cow::Owned(octets.get(..octets_max).unwrap_or_default().to_vec());
        }
        header::decode_charset(&octets, node.charset.as_deref().unwrap_or("utf-8"))
    }
}

/// Names of fields, in any case.
fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let lower = |octet: u8| octet.to_ascii_lowercase();
    a.bytes().map(lower).cmp(b.bytes().map(lower))
}

impl Clone for MailView {
    /// A view of the same octets that has found nothing yet.
    fn clone(&self) -> Self {
        Self::new(self.raw.clone())
    }
}

fn mailboxes(address: &Address<'_>) -> Vec<String> {
    let of = |list: &[mail_parser::Addr<'_>]| -> Vec<String> {
        list.iter().filter_map(|mailbox| mailbox.address()).map(str::to_owned).collect()
    };
    match address {
        Address::List(list) => of(list),
        Address::Group(groups) => groups.iter().flat_map(|group| of(&group.addresses)).collect(),
    }
}

/// Joins the lines that a sender broke only for display (RFC 3676 §4).
fn unflow(text: &str, delete_space: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.strip_prefix(' ').unwrap_or(line);
        let signature = line == "-- ";
        match line.strip_suffix(' ') {
            Some(soft) if !signature => out.push_str(if delete_space { soft } else { line }),
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}
