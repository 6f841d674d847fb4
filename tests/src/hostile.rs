//! Modules that mean harm: a real plugin, and one thing more. Written octet by octet, since no
//! compiler makes them.

use wasmparser::{Parser, Payload, TypeRef};

const TYPE: u8 = 1;
const FUNCTION: u8 = 3;
const TABLE: u8 = 4;
const START: u8 = 8;
const ELEMENT: u8 = 9;
const CODE: u8 = 10;
const CUSTOM: u8 = 0;
/// A type without parameters and results (WebAssembly core §5.3.6).
const NOTHING_TO_NOTHING: [u8; 3] = [0x60, 0, 0];
const END: u8 = 0x0B;

/// A core module, section by section.
struct Sections {
    list: Vec<(u8, Vec<u8>)>,
    types: u32,
    functions: u32,
}

impl Sections {
    fn of(module: &[u8]) -> Self {
        let (mut list, mut types, mut functions) = (Vec::new(), 0, 0);
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.unwrap();
            match &payload {
                Payload::TypeSection(section) => types = section.count(),
                Payload::FunctionSection(section) => functions += section.count(),
                Payload::ImportSection(section) => {
                    let imports = section.clone().into_imports().map(Result::unwrap);
                    let is_function = |kind: TypeRef| matches!(kind, TypeRef::Func(_));
                    let count = imports.filter(|import| is_function(import.ty)).count();
                    functions += u32::try_from(count).unwrap();
                }
                _ => {}
            }
            if let Some((id, range)) = payload.as_section() {
                list.push((id, module[range].to_vec()));
            }
        }
        Self { list, types, functions }
    }

    fn section(&mut self, id: u8) -> &mut Vec<u8> {
        let there = self.list.iter().position(|(known, _)| *known == id);
        let at = there.unwrap_or_else(|| {
            let later = |(known, _): &(u8, Vec<u8>)| *known > id && *known != CUSTOM;
            let at = self.list.iter().position(later).unwrap_or(self.list.len());
            self.list.insert(at, (id, vec![0]));
            at
        });
        &mut self.list[at].1
    }

    /// Appends to the vector that a section is.
    fn push(&mut self, id: u8, item: &[u8]) {
        let section = self.section(id);
        let (count, length) = number_at(section, 0);
        let rest = section.split_off(length);
        *section = number(count + 1);
        section.extend(rest);
        section.extend_from_slice(item);
    }

    fn push_type(&mut self, octets: &[u8]) -> u32 {
        self.push(TYPE, octets);
        self.types += 1;
        self.types - 1
    }

    fn push_function(&mut self, kind: u32, body: &[u8]) -> u32 {
        self.push(FUNCTION, &number(kind));
        self.push(CODE, &[number(size_of(body)), body.to_vec()].concat());
        self.functions += 1;
        self.functions - 1
    }

    /// Makes the first table one slot longer; its number.
    fn grow_table(&mut self) -> u32 {
        let table = self.section(TABLE);
        let (_, after_count) = number_at(table, 0);
        let (kind, flags) = (table[after_count], table[after_count + 1]);
        let (min, length) = number_at(table, after_count + 2);
        let mut at = after_count + 2 + length;
        let mut grown = table[..after_count].to_vec();
        grown.extend([kind, flags]);
        grown.extend(number(min + 1));
        if flags & 1 == 1 {
            let (max, length) = number_at(table, at);
            grown.extend(number(max + 1));
            at += length;
        }
        grown.extend_from_slice(&table[at..]);
        *table = grown;
        min
    }

    fn finish(self) -> Vec<u8> {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        for (id, octets) in self.list {
            module.push(id);
            module.extend(number(size_of(&octets)));
            module.extend(octets);
        }
        module
    }
}

/// A module whose start function calls a function of a subtype by its supertype. Engines without a
/// collector of their own panicked at it, where nothing could catch that.
#[must_use]
pub fn with_subtypes(module: &[u8]) -> Vec<u8> {
    let mut sections = Sections::of(module);
    let slot = sections.grow_table();
    let base = sections.push_type(&[[0x50, 0].as_slice(), &NOTHING_TO_NOTHING].concat());
    let derived = [&[0x4F, 1], number(base).as_slice(), &NOTHING_TO_NOTHING].concat();
    let derived = sections.push_type(&derived);
    let plain = sections.push_type(&NOTHING_TO_NOTHING);
    let callee = sections.push_function(derived, &[0, END]);
    let call = [&[0], constant(slot).as_slice(), &[0x11], &number(base), &[0, END]].concat();
    let caller = sections.push_function(plain, &call);
    let element = [&[0], constant(slot).as_slice(), &[END, 1], &number(callee)].concat();
    sections.push(ELEMENT, &element);
    *sections.section(START) = number(caller);
    sections.finish()
}

/// A module with one function more, which nobody calls: these locals of type i32, this code. The
/// last `end` is added.
#[must_use]
pub fn with_function(module: &[u8], locals: u32, code: &[u8]) -> Vec<u8> {
    let mut sections = Sections::of(module);
    let plain = sections.push_type(&NOTHING_TO_NOTHING);
    let locals = if locals == 0 { vec![0] } else { [&[1], &*number(locals), &[0x7F]].concat() };
    sections.push_function(plain, &[&locals, code, &[END]].concat());
    sections.finish()
}

/// A plugin with a function of so many loops within each other and as many variables, each written in
/// the innermost: what is to be merged where loops begin grows with the square of it, and the time to
/// do so with more.
#[must_use]
pub fn many_loops(module: &[u8], loops: u32) -> Vec<u8> {
    let mut code = Vec::new();
    for _ in 0..loops {
        code.extend([0x03, 0x40]);
    }
    for local in 0..loops {
        code.extend([&[0x20], &*number(local), &[0x41, 1, 0x6A, 0x21], &*number(local)].concat());
    }
    for _ in 0..loops {
        // The loop goes round while a variable is not zero.
        code.extend([0x20, 0, 0x0D, 0, 0x0B]);
    }
    with_function(module, loops, &code)
}

/// A plugin with a function of many variables and many blocks, one after the other.
#[must_use]
pub fn many_blocks(module: &[u8], locals: u32, blocks: u32) -> Vec<u8> {
    let mut code = Vec::new();
    for block in 0..blocks {
        let local = number(block % locals);
        code.extend(
            [
                &[0x02, 0x40, 0x20],
                &*local,
                &[0x0D, 0, 0x20],
                &*local,
                &[0x21],
                &*number((block + 1) % locals),
                &[0x0B],
            ]
            .concat(),
        );
    }
    with_function(module, locals, &code)
}

fn size_of(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap()
}

/// `i32.const`.
fn constant(value: u32) -> Vec<u8> {
    let mut octets = vec![0x41];
    let mut rest = value;
    while rest >= 0x40 {
        octets.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    octets.push(u8::try_from(rest).unwrap_or(0));
    octets
}

/// An unsigned number as WebAssembly writes it (core §5.2.2).
#[must_use]
pub fn number(value: u32) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), value);
    while rest >= 0x80 {
        octets.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    octets.push(u8::try_from(rest).unwrap_or(0));
    octets
}

/// The number that is here, and how many octets it takes.
fn number_at(octets: &[u8], at: usize) -> (u32, usize) {
    let mut value = 0;
    for (index, octet) in octets[at..].iter().enumerate() {
        value |= u32::from(octet & 0x7F) << (7 * index);
        if octet & 0x80 == 0 {
            return (value, index + 1);
        }
    }
    panic!("a number has no end");
}
