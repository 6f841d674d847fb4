//! Editing a mail byte for byte: what an edit does not name stays as it came, line ends, folds and
//! odd spellings included.

use std::ops::Range;

use bytes::Bytes;

use super::header::{self, HeaderBlock};
use super::structure::{Node, Tree};
use super::transfer;
use super::view::{COPIED_FOR_ONE_READ, MailView};

/// Why an edit cannot be made. The mail is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The name of a field has other characters than printable ASCII, or a colon.
    #[error("{0:?} cannot be the name of a header field")]
    Name(String),
    /// The value of a field would start another line.
    #[error("the value of {0} has control characters")]
    Value(String),
    /// There is no such part.
    #[error("there is no part {0}")]
    NoPart(usize),
    /// A multipart has no octets of its own.
    #[error("part {0} is a multipart; set or remove the parts in it")]
    Multipart(usize),
    /// The mail itself, or the only part of a multipart.
    #[error("part {0} cannot be removed: it is all there is")]
    OnlyPart(usize),
    /// An attached message cannot be encoded, and a line of it would end the part.
    #[error("the octets for part {0} hold a line that would end the part")]
    Boundary(usize),
}

/// A mail being edited. Untouched octets are shared with the original; header edits leave the body
/// alone.
#[derive(Clone, Debug)]
pub struct MailEditor {
    /// The header without the empty line.
    head: Bytes,
    /// The empty line and the body.
    tail: Bytes,
    /// All of it, as long as nothing was changed since it was put together.
    whole: Option<Bytes>,
    /// Octets that edits have read.
    worked: usize,
}

impl MailEditor {
    /// Starts with the mail as it came.
    #[must_use]
    pub fn new(raw: Bytes) -> Self {
        let end = HeaderBlock::scan(&raw, 0).end;
        Self { head: raw.slice(..end), tail: raw.slice(end..), whole: Some(raw), worked: end }
    }

    /// Octets that were read for all edits so far.
    #[must_use]
    pub const fn worked(&self) -> usize {
        self.worked
    }

    /// Edits of the header read all of it, edits of parts the whole mail, and both write theirs.
    const fn work(&mut self, octets: usize) {
        self.worked = self.worked.saturating_add(octets);
    }

    /// The mail as it is now.
    pub fn bytes(&mut self) -> Bytes {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let whole = Bytes::from([&*self.head, &*self.tail].concat());
        self.whole = Some(whole.clone());
        whole
    }

    /// A view of the mail as it is now.
    pub fn view(&mut self) -> MailView {
        MailView::new(self.bytes())
    }

    /// Replaces the first field of that name where it stands and removes the others; adds it at the
    /// end of the header if there is none.
    ///
    /// # Errors
    /// A bad name or value.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        check_field(name, value)?;
        self.work(self.head.len() + value.len());
        let head = replaced_field(&self.head, name, value);
        self.change_head(head);
        Ok(())
    }

    /// Adds a field at the end of the header.
    ///
    /// # Errors
    /// A bad name or value.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        check_field(name, value)?;
        self.work(self.head.len() / COPIED_FOR_ONE_READ + value.len());
        let mut head = self.head.to_vec();
        push_field(&mut head, name, value);
        self.change_head(head);
        Ok(())
    }

    /// Adds a field above all others, such as `Received`.
    ///
    /// # Errors
    /// A bad name or value.
    pub fn prepend_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        check_field(name, value)?;
        let mut head = Vec::with_capacity(self.head.len() + value.len() + 16);
        header::write(&mut head, name, value);
        head.extend_from_slice(&self.head);
        self.change_head(head);
        Ok(())
    }

    /// Removes all fields of that name and says how many there were.
    pub fn remove_header(&mut self, name: &str) -> usize {
        self.work(self.head.len());
        let block = HeaderBlock::scan(&self.head, 0);
        let ranges: Vec<_> =
            block.named(&self.head, name).map(|field| field.start..field.end).collect();
        if !ranges.is_empty() {
            let head = without(&self.head, &ranges);
            self.change_head(head);
        }
        ranges.len()
    }

    /// Makes `text` the text of the mail: it takes the place of the text part, and of the whole
    /// `multipart/alternative` around it if there is one, so that no HTML contradicts it. Other
    /// parts stay. A mail without text gets a text part.
    pub fn set_text(&mut self, text: &str) {
        self.work(self.head.len() + self.tail.len() + text.len());
        let view = self.view();
        let tree = view.tree();
        let Some(part) = view.text_part() else { return self.add_text(text, &view) };
        let target = tree
            .ancestors(part)
            .filter(|&index| is_type(tree, index, "multipart/alternative"))
            .last()
            .unwrap_or(part);
        if target == 0 {
            let (transfer, body) = transfer::encode_text(text, &[]);
            let head = with_content(&self.head, "text/plain; charset=utf-8", transfer);
            self.change_head(head);
            self.change_tail(body_lines(&body));
            return;
        }
        let Some(node) = tree.nodes.get(target) else { return };
        let part = text_part(text, &tree.boundaries(target));
        self.replace_node(&view, node, part);
    }

    /// Replaces the decoded octets of a part, whose type and name stay.
    ///
    /// # Errors
    /// No such part, a multipart, or an attached message that a boundary would cut.
    pub fn set_part(&mut self, index: usize, octets: &[u8]) -> Result<(), EditError> {
        self.work(self.head.len() + self.tail.len() + octets.len());
        let view = self.view();
        let tree = view.tree();
        let node = tree.nodes.get(index).ok_or(EditError::NoPart(index))?;
        if node.boundary.is_some() {
            return Err(EditError::Multipart(index));
        }
        let (transfer, body) = if node.content_type.starts_with("message/") {
            // RFC 2046 §5.2.1 forbids to encode it.
            if transfer::contains_boundary(octets, &tree.boundaries(index)) {
                return Err(EditError::Boundary(index));
            }
            (if octets.is_ascii() { "7bit" } else { "8bit" }, octets.to_vec())
        } else {
            transfer::encode_octets(octets)
        };
        let name = "Content-Transfer-Encoding";
        if index == 0 {
            let head = replaced_field(&self.head, name, transfer);
            self.change_head(head);
            self.change_tail(body_lines(&body));
            return Ok(());
        }
        let header = view.raw().get(node.header.clone()).unwrap_or_default();
        let mut part = replaced_field(header, name, transfer);
        part.extend_from_slice(b"\r\n");
        part.extend_from_slice(&body);
        self.replace_node(&view, node, part);
        Ok(())
    }

    /// Removes a part with everything in it.
    ///
    /// # Errors
    /// No such part, or the only one.
    pub fn remove_part(&mut self, index: usize) -> Result<(), EditError> {
        self.work(self.head.len() + self.tail.len());
        let view = self.view();
        let tree = view.tree();
        let node = tree.nodes.get(index).ok_or(EditError::NoPart(index))?;
        let siblings = tree.nodes.iter().filter(|other| other.parent == node.parent).count();
        if node.parent.is_none() || siblings < 2 {
            return Err(EditError::OnlyPart(index));
        }
        self.splice(&view, node.delimiter..node.next, &[]);
        Ok(())
    }

    /// A mail that has no text part gets one: as the first part of its multipart, else a multipart
    /// is put around what it has.
    fn add_text(&mut self, text: &str, view: &MailView) {
        let tree = view.tree();
        let first = tree.nodes.iter().find(|node| node.parent == Some(0));
        let root = tree.nodes.first().and_then(|root| root.boundary.as_deref());
        if let (Some(first), Some(boundary)) = (first, root) {
            let part = text_part(text, &[boundary]);
            let part = [b"--", boundary, b"\r\n", &*part, b"\r\n"].concat();
            return self.splice(view, first.delimiter..first.delimiter, &part);
        }
        let boundary = unused_boundary(&[&self.tail, text.as_bytes()]);
        let content: Vec<u8> = content_fields(&self.head)
            .into_iter()
            .flat_map(|range| self.head.get(range).unwrap_or_default().iter().copied())
            .collect();
        let separator: &[u8] = if starts_with_empty_line(&self.tail) { b"" } else { b"\r\n" };
        let part = text_part(text, &[]);
        let delimiter = format!("\r\n--{boundary}\r\n").into_bytes();
        let close = format!("\r\n--{boundary}--\r\n").into_bytes();
        let tail =
            [&*delimiter, &part, &delimiter, &content, separator, &self.tail, &close].concat();
        let kind = format!("multipart/mixed; boundary=\"{boundary}\"");
        let head = with_content(&self.head, &kind, "8bit");
        self.change_head(head);
        self.change_tail(tail);
    }

    fn change_head(&mut self, head: Vec<u8>) {
        self.head = Bytes::from(head);
        self.whole = None;
        // Without an empty line, a body that starts with white space would become part of the
        // header.
        if !self.tail.is_empty() && !starts_with_empty_line(&self.tail) {
            self.tail = Bytes::from([b"\r\n", &*self.tail].concat());
        }
    }

    fn change_tail(&mut self, tail: Vec<u8>) {
        self.tail = Bytes::from(tail);
        self.whole = None;
    }

    /// Replaces a part, header and body.
    fn replace_node(&mut self, view: &MailView, node: &Node, mut part: Vec<u8>) {
        // A delimiter at the very end of the mail may lack its line end.
        let before = view.raw().get(..node.header.start).unwrap_or_default();
        if !before.ends_with(b"\n") {
            part.splice(..0, *b"\r\n");
        }
        // A part without a body has no line end that the next delimiter could begin with.
        if node.body.end == node.next && node.next < view.raw().len() {
            part.extend_from_slice(b"\r\n");
        }
        self.splice(view, node.header.start..node.body.end, &part);
    }

    /// Replaces a range of the body by `octets`.
    fn splice(&mut self, view: &MailView, range: Range<usize>, octets: &[u8]) {
        let raw = view.raw();
        let before = raw.get(self.head.len()..range.start).unwrap_or_default();
        let after = raw.get(range.end..).unwrap_or_default();
        self.change_tail([before, octets, after].concat());
    }
}

fn check_field(name: &str, value: &str) -> Result<(), EditError> {
    if !header::is_name(name) {
        return Err(EditError::Name(name.to_owned()));
    }
    if header::is_value(value) { Ok(()) } else { Err(EditError::Value(name.to_owned())) }
}

fn is_type(tree: &Tree, index: usize, content_type: &str) -> bool {
    tree.nodes.get(index).is_some_and(|node| node.content_type == content_type)
}

fn starts_with_empty_line(octets: &[u8]) -> bool {
    octets.starts_with(b"\r\n") || octets.starts_with(b"\n")
}

/// The empty line and a body whose last line is ended.
fn body_lines(body: &[u8]) -> Vec<u8> {
    let end: &[u8] = if body.is_empty() || body.ends_with(b"\n") { b"" } else { b"\r\n" };
    [b"\r\n", body, end].concat()
}

/// A part with this text, header and body, without a line end behind it.
fn text_part(text: &str, boundaries: &[&[u8]]) -> Vec<u8> {
    let (transfer, body) = transfer::encode_text(text, boundaries);
    let mut part = Vec::with_capacity(body.len() + 96);
    header::write(&mut part, "Content-Type", "text/plain; charset=utf-8");
    header::write(&mut part, "Content-Transfer-Encoding", transfer);
    part.extend_from_slice(b"\r\n");
    part.extend_from_slice(&body);
    part
}

/// Appends a field to a header whose last line may lack its end.
fn push_field(head: &mut Vec<u8>, name: &str, value: &str) {
    if !head.is_empty() && !head.ends_with(b"\n") {
        head.extend_from_slice(b"\r\n");
    }
    header::write(head, name, value);
}

fn replaced_field(head: &[u8], name: &str, value: &str) -> Vec<u8> {
    let block = HeaderBlock::scan(head, 0);
    let mut ranges = block.named(head, name).map(|field| field.start..field.end);
    let Some(first) = ranges.next() else {
        let mut head = head.to_vec();
        push_field(&mut head, name, value);
        return head;
    };
    let mut out = head.get(..first.start).unwrap_or_default().to_vec();
    header::write(&mut out, name, value);
    let replaced: Vec<_> = std::iter::once(0..first.end).chain(ranges).collect();
    out.extend_from_slice(&without(head, &replaced));
    out
}

/// The octets outside of `ranges`, which are in order.
fn without(octets: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut at = 0;
    for range in ranges {
        out.extend_from_slice(octets.get(at..range.start).unwrap_or_default());
        at = range.end;
    }
    out.extend_from_slice(octets.get(at..).unwrap_or_default());
    out
}

fn content_fields(head: &[u8]) -> Vec<Range<usize>> {
    let block = HeaderBlock::scan(head, 0);
    let content =
        |name: &str| name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("Content-"));
    let fields = block.fields.iter().filter(|field| content(field.name(head)));
    fields.map(|field| field.start..field.end).collect()
}

/// The header with other content fields, which describe what the body has become.
fn with_content(head: &[u8], content_type: &str, transfer: &str) -> Vec<u8> {
    let mut out = without(head, &content_fields(head));
    if HeaderBlock::scan(&out, 0).named(&out, "MIME-Version").next().is_none() {
        push_field(&mut out, "MIME-Version", "1.0");
    }
    push_field(&mut out, "Content-Type", content_type);
    push_field(&mut out, "Content-Transfer-Encoding", transfer);
    out
}

/// A boundary that no line of the bodies starts with: the first number that is free. Bodies full of
/// our own boundaries cost no more than a sort.
pub(super) fn unused_boundary(bodies: &[&[u8]]) -> String {
    const PREFIX: &str = "=_wirepost_";
    let number = |line: &[u8]| {
        let digits = line.strip_prefix(b"--")?.strip_prefix(PREFIX.as_bytes())?;
        let length = digits.iter().take(9).take_while(|octet| octet.is_ascii_digit()).count();
        std::str::from_utf8(digits.get(..length)?).ok()?.parse::<u32>().ok()
    };
    let lines = bodies.iter().flat_map(|body| body.split(|&octet| octet == b'\n'));
    let mut taken: Vec<u32> = lines.filter_map(number).collect();
    taken.sort_unstable();
    taken.dedup();
    let free = (0u32..).zip(&taken).find(|(free, taken)| free != *taken).map(|(free, _)| free);
    let free = free.unwrap_or_else(|| u32::try_from(taken.len()).unwrap_or(u32::MAX));
    format!("{PREFIX}{free}_")
}
