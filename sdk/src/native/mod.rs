//! The plugin's side of the border under `cargo test`: the host's own message model, and everything else
//! in memory.

mod convert;
mod world;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use message::edit::Edited;
use sha2::{Digest, Sha256};

use crate::log::Level;
use crate::targets::TargetState;
use crate::{Address, Answers, Envelope, Error, Header, Part, Value, Verdict};

pub(crate) use convert::{address, envelope, lower_address, value};
pub use world::Line;
pub(crate) use world::{Emitted, World};

use world::with;

/// A message under edit. It lives as long as its last handle; the borrow is the host's, here and there.
#[derive(Clone, Debug)]
pub(crate) struct Handle<'a> {
    edited: Rc<RefCell<Edited>>,
    answers: Answers,
    run: u32,
    lent: PhantomData<&'a ()>,
}

impl<'a> Handle<'a> {
    pub(crate) fn new(edited: Edited, answers: Answers, run: u32) -> Self {
        Self { edited: Rc::new(RefCell::new(edited)), answers, run, lent: PhantomData }
    }

    /// The message as edited so far.
    pub(crate) fn edited(&self) -> Edited {
        self.edited.borrow().clone()
    }

    fn read<T>(&self, read: impl FnOnce(&Edited) -> T) -> T {
        read(&self.edited.borrow())
    }

    fn edit<T>(
        &self,
        edit: impl FnOnce(&mut Edited) -> Result<T, message::edit::EditError>,
    ) -> Result<T, Error> {
        edit(&mut self.edited.borrow_mut()).map_err(Error::from)
    }

    pub(crate) fn envelope(&self) -> Envelope {
        self.read(|edited| envelope(edited, self.run))
    }

    pub(crate) fn set_source(&self, source: &Address) -> Result<(), Error> {
        let source = lower_address(source)?;
        self.edit(|edited| edited.set_sender(source))
    }

    pub(crate) fn recipients(&self, offset: u32, max: u32) -> Vec<Address> {
        self.read(|edited| {
            let all = edited.message().recipients.iter();
            all.skip(offset as usize).take(max as usize).map(|to| address(&to.address)).collect()
        })
    }

    pub(crate) fn set_recipients(&self, to: &[Address]) -> Result<(), Error> {
        let to = to.iter().map(lower_address).collect::<Result<Vec<_>, _>>()?;
        self.edit(|edited| edited.set_recipients(to))
    }

    pub(crate) fn replace_recipient(&self, old: &Address, new: &Address) -> Result<(), Error> {
        let (old, new) = (lower_address(old)?, lower_address(new)?);
        self.edit(|edited| edited.replace_recipient(&old, new))
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.read(|edited| edited.text().map(str::to_owned))
    }

    pub(crate) fn set_text(&self, text: &str) -> Result<(), Error> {
        self.edit(|edited| edited.set_text(text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.read(|edited| edited.view()?.header(name))
    }

    pub(crate) fn header_all(&self, name: &str) -> Vec<String> {
        self.read(|edited| edited.view().map(|view| view.header_all(name)).unwrap_or_default())
    }

    pub(crate) fn headers(&self, offset: u32, max: u32) -> Vec<Header> {
        self.read(|edited| {
            let Some(view) = edited.view() else { return Vec::new() };
            let page = view.headers_from(offset as usize).take(max as usize);
            page.map(|(name, value)| Header { name: name.to_owned(), value }).collect()
        })
    }

    pub(crate) fn set_header(&self, name: &str, value: &str) -> Result<(), Error> {
        self.edit(|edited| edited.set_header(name, value))
    }

    pub(crate) fn add_header(&self, name: &str, value: &str) -> Result<(), Error> {
        self.edit(|edited| edited.add_header(name, value))
    }

    pub(crate) fn remove_header(&self, name: &str) -> Result<u32, Error> {
        self.edit(|edited| edited.remove_header(name).map(convert::narrow))
    }

    pub(crate) fn parts(&self) -> Vec<Part> {
        self.read(|edited| {
            edited
                .view()
                .map(|view| view.parts().into_iter().map(convert::part).collect())
                .unwrap_or_default()
        })
    }

    pub(crate) fn read_part(&self, index: u32, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        let octets =
            self.read(|edited| edited.view()?.part(index as usize)).ok_or(Error::NotFound)?;
        Ok(convert::window(&octets, offset, max))
    }

    pub(crate) fn set_part(&self, index: u32, data: &[u8]) -> Result<(), Error> {
        self.edit(|edited| edited.set_part(index as usize, data))
    }

    pub(crate) fn remove_part(&self, index: u32) -> Result<(), Error> {
        self.edit(|edited| edited.remove_part(index as usize))
    }

    pub(crate) fn read_raw(&self, offset: u64, max: u32) -> Vec<u8> {
        convert::window(&self.read(Edited::received_bytes), offset, max)
    }

    pub(crate) fn find(&self, needles: &[&str], ignore_case: bool) -> Vec<u32> {
        let needles: Vec<String> = needles.iter().map(|&needle| needle.to_owned()).collect();
        self.read(|edited| edited.find(&needles, ignore_case))
            .into_iter()
            .map(convert::narrow)
            .collect()
    }

    pub(crate) fn sha256(&self, part: Option<u32>) -> Result<Vec<u8>, Error> {
        let octets = match part {
            Some(index) => {
                self.read(|edited| edited.view()?.part(index as usize)).ok_or(Error::NotFound)?
            }
            None => self.read(Edited::received_bytes),
        };
        Ok(Sha256::digest(&octets).to_vec())
    }

    pub(crate) fn field(&self, key: &str) -> Value {
        value(self.read(|edited| edited.field(key)))
    }

    pub(crate) fn fields(&self, prefix: &str) -> Vec<(String, Value)> {
        let fields = self.read(|edited| edited.fields(prefix));
        fields.into_iter().map(|(key, found)| (key, value(found))).collect()
    }

    pub(crate) fn set_field(&self, key: &str, value: &Value) -> Result<(), Error> {
        let value = convert::lower_value(value);
        self.edit(|edited| edited.set_field(key, &value))
    }

    pub(crate) fn meta(&self, key: &str) -> Option<String> {
        self.read(|edited| edited.note(key).map(str::to_owned))
    }

    pub(crate) fn set_meta(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.edit(|edited| edited.set_note(key, value))
    }

    pub(crate) fn fork(&self, answers: u16) -> Result<Handle<'static>, Error> {
        with(World::fork)?;
        let answers = if answers == 0 { Answers::Copy } else { Answers::Share };
        Ok(Handle::new(self.edited(), answers, self.run))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "emitting takes the fork away from the plugin"
    )]
    pub(crate) fn emit(fork: Handle<'static>, outcome: Verdict) -> Result<u64, Error> {
        if matches!(outcome, Verdict::Other(..)) {
            return Err(Error::Invalid);
        }
        Ok(with(|world| {
            world.emit(Emitted { edited: fork.edited(), verdict: outcome, answers: fork.answers })
        }))
    }
}

pub(crate) fn log_enabled(_level: Level) -> bool {
    true
}

pub(crate) fn log_write(level: Level, text: &str, fields: &[(&str, &str)]) {
    let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    with(|world| world.lines.push(Line { level, text: text.to_owned(), fields }));
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    with(|world| world.kv_get(key))
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), Error> {
    with(|world| world.kv_set(key, value, ttl_ms))
}

pub(crate) fn kv_set_if_absent(
    key: &str,
    value: &[u8],
    ttl_ms: Option<u64>,
) -> Result<bool, Error> {
    with(|world| world.kv_set_if_absent(key, value, ttl_ms))
}

pub(crate) fn kv_delete(key: &str) -> Result<bool, Error> {
    with(|world| world.kv_delete(key))
}

pub(crate) fn kv_add(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
    with(|world| world.kv_add(key, by, ttl_ms))
}

pub(crate) fn kv_take(key: &str, per_second: f64, burst: f64, cost: f64) -> Result<(), u64> {
    with(|world| world.kv_take(key, per_second, burst, cost))
}

pub(crate) fn metric_add(name: &str, by: u64) {
    with(|world| *world.counters.entry(name.to_owned()).or_default() += by);
}

pub(crate) fn metric_gauge(name: &str, value: f64) {
    with(|world| world.gauges.insert(name.to_owned(), value));
}

pub(crate) fn metric_observe(name: &str, value: f64) {
    with(|world| world.observed.entry(name.to_owned()).or_default().push(value));
}

pub(crate) fn table_lookup(table: &str, key: &str) -> Option<String> {
    with(|world| world.tables.get(table)?.get(key).cloned())
}

pub(crate) fn table_lookup_prefix(table: &str, key: &str) -> Option<(String, String)> {
    with(|world| {
        let rows = world.tables.get(table)?;
        let prefixes = (0..=key.len()).rev().filter_map(|end| key.get(..end));
        prefixes.into_iter().find_map(|prefix| Some((prefix.to_owned(), rows.get(prefix)?.clone())))
    })
}

pub(crate) fn table_lookup_ip(table: &str, ip: &str) -> Option<String> {
    with(|world| world.lookup_ip(table, ip))
}

pub(crate) fn target_state(name: &str) -> Option<TargetState> {
    with(|world| world.targets.get(name).cloned())
}

pub(crate) fn lookup_ask(name: &str, key: &str) -> Result<u32, Error> {
    with(|world| world.ask(name, key))
}

pub(crate) fn now_ms() -> u64 {
    with(|world| world.now_ms)
}

pub(crate) fn monotonic_ns() -> u64 {
    with(|world| world.now_ms.wrapping_mul(1_000_000))
}

pub(crate) fn random_next() -> u64 {
    with(World::random)
}

pub(crate) fn random_bytes(count: u32) -> Vec<u8> {
    let words = count.min(1024).div_ceil(8);
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| random_next().to_le_bytes()).collect();
    bytes.truncate(count.min(1024) as usize);
    bytes
}
