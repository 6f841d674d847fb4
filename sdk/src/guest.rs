//! The plugin's side of the border: this crate's types to and from the generated ones.

use std::cell::RefCell;
use std::sync::Once;
use std::thread::LocalKey;
use std::time::Duration;

use crate::bindings::wirepost::plugin as host;
use crate::bindings::wirepost::plugin::types as wit;
use crate::log::Level;
use crate::targets::TargetState;
use crate::{
    Address, Content, Envelope, Error, Header, Kind, Part, Plugin, Protocol, Reply, Stage, Value,
    Verdict,
};

pub use crate::bindings::exports::wirepost::plugin::lifecycle::Guest as Lifecycle;
pub use crate::bindings::exports::wirepost::plugin::on_message::Guest as OnMessage;
pub use crate::bindings::on_lookup::exports::wirepost::plugin::on_lookup::Guest as OnLookup;
pub use crate::bindings::on_receipt::exports::wirepost::plugin::on_receipt::Guest as OnReceipt;
pub use host::message_api::Message as HostMessage;
pub use host::receipt_api::Receipt as HostReceipt;
pub use wit::{Envelope as HostEnvelope, Error as HostError, Verdict as HostVerdict};

/// Builds the plugin of this instance.
///
/// # Errors
/// What is wrong with the configuration.
pub fn init<P: Plugin>(
    slot: &'static LocalKey<RefCell<Option<P>>>,
    config: &str,
) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(report_panic)));
    let config = crate::parse_config(config)?;
    let plugin = P::new(config).map_err(|failure| failure.to_string())?;
    slot.set(Some(plugin));
    Ok(())
}

/// Lets the plugin decide about one message.
///
/// # Errors
/// The plugin's own failure.
pub fn process<P: Plugin>(
    slot: &'static LocalKey<RefCell<Option<P>>>,
    message: &HostMessage,
    envelope: wit::Envelope,
) -> Result<wit::Verdict, String> {
    let mut message = crate::Message::new(Handle::Lent(message), envelope.into());
    slot.with_borrow_mut(|plugin| {
        let plugin = plugin.as_mut().ok_or_else(|| "process was called before init".to_owned())?;
        plugin.process(&mut message).map(Into::into).map_err(|failure| failure.to_string())
    })
}

/// Lets the plugin decide about a message whose questions are answered.
///
/// # Errors
/// The plugin's own failure.
pub fn resume<P: crate::lookup::OnLookup>(
    slot: &'static LocalKey<RefCell<Option<P>>>,
    message: &HostMessage,
    envelope: wit::Envelope,
    state: &[u8],
    answers: Vec<Result<String, wit::Error>>,
) -> Result<wit::Verdict, String> {
    let mut message = crate::Message::new(Handle::Lent(message), envelope.into());
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(Error::from)).collect();
    slot.with_borrow_mut(|plugin| {
        let plugin = plugin.as_mut().ok_or_else(|| "resume was called before init".to_owned())?;
        let judged = plugin.resume(&mut message, state, &answers);
        judged.map(Into::into).map_err(|failure| failure.to_string())
    })
}

/// Shows a receipt to the plugin.
///
/// # Errors
/// The plugin's own failure.
pub fn receipt<P: crate::receipt::OnReceipt>(
    slot: &'static LocalKey<RefCell<Option<P>>>,
    receipt: &HostReceipt,
) -> Result<u16, String> {
    let text = |key: &str| match receipt.field(key) {
        wit::Value::Text(text) => text,
        wit::Value::None | wit::Value::Int(_) | wit::Value::Bytes(_) => String::new(),
    };
    let receipt = crate::receipt::Receipt {
        message_id: receipt.message_id(),
        recipient: receipt.recipient().into(),
        target: receipt.target(),
        state: receipt.state(),
        error: text("receipt.error"),
        text: text("receipt.text"),
    };
    slot.with_borrow_mut(|plugin| {
        let plugin = plugin.as_mut().ok_or_else(|| "receipt was called before init".to_owned())?;
        match plugin.receipt(&receipt) {
            Ok(crate::receipt::Tell::Origin) => Ok(0),
            Ok(crate::receipt::Tell::Nobody) => Ok(1),
            Err(failure) => Err(failure.to_string()),
        }
    })
}

/// Without this the host would see only that the plugin stopped.
fn report_panic(info: &std::panic::PanicHookInfo<'_>) {
    log_write(Level::Error, &info.to_string(), &[("event", "panic")]);
}

/// A message of the host: lent for the call, or a fork of our own.
#[derive(Debug)]
pub(crate) enum Handle<'a> {
    Lent(&'a HostMessage),
    Own(HostMessage),
}

impl Handle<'_> {
    fn host(&self) -> &HostMessage {
        match self {
            Self::Lent(message) => message,
            Self::Own(message) => message,
        }
    }

    pub(crate) fn envelope(&self) -> Envelope {
        self.host().envelope().into()
    }

    pub(crate) fn set_source(&self, source: &Address) -> Result<(), Error> {
        self.host().set_source(&source.into()).map_err(Into::into)
    }

    pub(crate) fn recipients(&self, offset: u32, max: u32) -> Vec<Address> {
        self.host().recipients(offset, max).into_iter().map(Into::into).collect()
    }

    pub(crate) fn set_recipients(&self, to: &[Address]) -> Result<(), Error> {
        let to: Vec<wit::Address> = to.iter().map(Into::into).collect();
        self.host().set_recipients(&to).map_err(Into::into)
    }

    pub(crate) fn replace_recipient(&self, old: &Address, new: &Address) -> Result<(), Error> {
        self.host().replace_recipient(&old.into(), &new.into()).map_err(Into::into)
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.host().text()
    }

    pub(crate) fn set_text(&self, text: &str) -> Result<(), Error> {
        self.host().set_text(text).map_err(Into::into)
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.host().header(name)
    }

    pub(crate) fn header_all(&self, name: &str) -> Vec<String> {
        self.host().header_all(name)
    }

    pub(crate) fn headers(&self, offset: u32, max: u32) -> Vec<Header> {
        let page = self.host().headers(offset, max);
        page.into_iter().map(|header| Header { name: header.name, value: header.value }).collect()
    }

    pub(crate) fn set_header(&self, name: &str, value: &str) -> Result<(), Error> {
        self.host().set_header(name, value).map_err(Into::into)
    }

    pub(crate) fn add_header(&self, name: &str, value: &str) -> Result<(), Error> {
        self.host().add_header(name, value).map_err(Into::into)
    }

    pub(crate) fn remove_header(&self, name: &str) -> Result<u32, Error> {
        self.host().remove_header(name).map_err(Into::into)
    }

    pub(crate) fn parts(&self) -> Vec<Part> {
        self.host().parts().into_iter().map(Into::into).collect()
    }

    pub(crate) fn read_part(&self, index: u32, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        self.host().read_part(index, offset, max).map_err(Into::into)
    }

    pub(crate) fn set_part(&self, index: u32, data: &[u8]) -> Result<(), Error> {
        self.host().set_part(index, data).map_err(Into::into)
    }

    pub(crate) fn remove_part(&self, index: u32) -> Result<(), Error> {
        self.host().remove_part(index).map_err(Into::into)
    }

    pub(crate) fn read_raw(&self, offset: u64, max: u32) -> Vec<u8> {
        self.host().read_raw(offset, max)
    }

    pub(crate) fn find(&self, needles: &[&str], ignore_case: bool) -> Vec<u32> {
        let needles: Vec<String> = needles.iter().map(|&needle| needle.to_owned()).collect();
        self.host().find(&needles, ignore_case)
    }

    pub(crate) fn sha256(&self, part: Option<u32>) -> Result<Vec<u8>, Error> {
        self.host().sha256(part).map_err(Into::into)
    }

    pub(crate) fn field(&self, key: &str) -> Value {
        self.host().field(key).into()
    }

    pub(crate) fn fields(&self, prefix: &str) -> Vec<(String, Value)> {
        self.host().fields(prefix).into_iter().map(|(key, value)| (key, value.into())).collect()
    }

    pub(crate) fn set_field(&self, key: &str, value: &Value) -> Result<(), Error> {
        self.host().set_field(key, &value.into()).map_err(Into::into)
    }

    pub(crate) fn meta(&self, key: &str) -> Option<String> {
        self.host().meta(key)
    }

    pub(crate) fn set_meta(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.host().set_meta(key, value).map_err(Into::into)
    }

    pub(crate) fn fork(&self, answers: u16) -> Result<Handle<'static>, Error> {
        self.host().fork(answers).map(Handle::Own).map_err(Into::into)
    }

    pub(crate) fn emit(fork: Handle<'static>, outcome: Verdict) -> Result<u64, Error> {
        match fork {
            Handle::Own(message) => HostMessage::emit(message, &outcome.into()).map_err(Into::into),
            Handle::Lent(_) => Err(Error::Invalid),
        }
    }
}

pub(crate) fn log_enabled(level: Level) -> bool {
    host::log::enabled(level.into())
}

pub(crate) fn log_write(level: Level, text: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    host::log::write(level.into(), text, &fields);
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    host::kv::get(key).map_err(Into::into)
}

pub(crate) fn kv_set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), Error> {
    host::kv::set(key, value, ttl_ms).map_err(Into::into)
}

pub(crate) fn kv_set_if_absent(
    key: &str,
    value: &[u8],
    ttl_ms: Option<u64>,
) -> Result<bool, Error> {
    host::kv::set_if_absent(key, value, ttl_ms).map_err(Into::into)
}

pub(crate) fn kv_delete(key: &str) -> Result<bool, Error> {
    host::kv::delete(key).map_err(Into::into)
}

pub(crate) fn kv_add(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
    host::kv::add(key, by, ttl_ms).map_err(Into::into)
}

pub(crate) fn kv_take(key: &str, per_second: f64, burst: f64, cost: f64) -> Result<(), u64> {
    host::kv::take(key, per_second, burst, cost)
}

pub(crate) fn metric_add(name: &str, by: u64) {
    host::metrics::add(name, by);
}

pub(crate) fn metric_gauge(name: &str, value: f64) {
    host::metrics::gauge(name, value);
}

pub(crate) fn metric_observe(name: &str, value: f64) {
    host::metrics::observe(name, value);
}

pub(crate) fn table_lookup(table: &str, key: &str) -> Option<String> {
    host::tables::lookup(table, key)
}

pub(crate) fn table_lookup_prefix(table: &str, key: &str) -> Option<(String, String)> {
    host::tables::lookup_prefix(table, key)
}

pub(crate) fn table_lookup_ip(table: &str, ip: &str) -> Option<String> {
    host::tables::lookup_ip(table, ip)
}

pub(crate) fn target_state(name: &str) -> Option<TargetState> {
    let state = host::targets::state(name)?;
    Some(TargetState::new(state.name, state.up, state.queued, state.per_second))
}

pub(crate) fn lookup_ask(name: &str, key: &str) -> Result<u32, Error> {
    host::lookup::ask(name, key).map_err(Into::into)
}

pub(crate) fn now_ms() -> u64 {
    host::clock::now_ms()
}

pub(crate) fn monotonic_ns() -> u64 {
    host::clock::monotonic_ns()
}

pub(crate) fn random_next() -> u64 {
    host::random::next()
}

pub(crate) fn random_bytes(count: u32) -> Vec<u8> {
    host::random::bytes(count)
}

impl From<Level> for host::log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

impl From<wit::Address> for Address {
    fn from(address: wit::Address) -> Self {
        Self {
            value: address.value,
            kind: Kind::from_code(address.kind),
            ton: address.ton,
            npi: address.npi,
        }
    }
}

impl From<&Address> for wit::Address {
    fn from(address: &Address) -> Self {
        Self {
            value: address.value.clone(),
            kind: address.kind.code(),
            ton: address.ton,
            npi: address.npi,
        }
    }
}

impl From<wit::Envelope> for Envelope {
    fn from(env: wit::Envelope) -> Self {
        Self {
            id: env.id,
            parent: env.parent,
            protocol: Protocol::from_code(env.protocol),
            stage: Stage::from_code(env.stage),
            content: Content::from_code(env.content),
            door: env.door,
            account: env.account,
            peer: env.peer,
            received_ms: env.received_ms,
            run: env.run,
            source: env.source.into(),
            recipients: env.recipients.into_iter().map(Into::into).collect(),
            recipient_count: env.recipient_count,
            size_bytes: env.size,
            subject: env.subject,
            text: env.text,
            text_bytes: env.text_octets,
        }
    }
}

impl From<wit::Part> for Part {
    fn from(part: wit::Part) -> Self {
        Self {
            index: part.index,
            parent: part.parent,
            content_type: part.content_type,
            charset: part.charset,
            filename: part.filename,
            is_attachment: part.is_attachment,
            size_bytes: part.size,
        }
    }
}

impl From<wit::Value> for Value {
    fn from(value: wit::Value) -> Self {
        match value {
            wit::Value::None => Self::None,
            wit::Value::Int(number) => Self::Int(number),
            wit::Value::Text(text) => Self::Text(text),
            wit::Value::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

impl From<&Value> for wit::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::None => Self::None,
            Value::Int(number) => Self::Int(*number),
            Value::Text(text) => Self::Text(text.clone()),
            Value::Bytes(bytes) => Self::Bytes(bytes.clone()),
        }
    }
}

impl From<Reply> for wit::Reply {
    fn from(reply: Reply) -> Self {
        Self {
            smtp_code: reply.smtp_code,
            enhanced: reply.enhanced,
            smpp_status: reply.smpp_status,
            text: reply.text,
        }
    }
}

impl From<Verdict> for wit::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Next => Self::Next,
            Verdict::Accept => Self::Accept,
            Verdict::Route(targets) => Self::Route(targets),
            Verdict::Reject(reply) => Self::Reject(reply.into()),
            Verdict::Defer(reply, wait) => {
                let hint_ms = wait.as_ref().map_or(0, Duration::as_millis);
                Self::Defer((reply.into(), u64::try_from(hint_ms).unwrap_or(u64::MAX)))
            }
            Verdict::Drop(why) => Self::Drop(why),
            Verdict::Hold(why) => Self::Hold(why),
            Verdict::Wait(state) => Self::Wait(state),
            Verdict::Other(code, text) => Self::Other((code, text)),
        }
    }
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::NotFound => Self::NotFound,
            wit::Error::Denied => Self::Denied,
            wit::Error::TooLarge => Self::TooLarge,
            wit::Error::Invalid => Self::Invalid,
            wit::Error::Exhausted => Self::Exhausted,
            wit::Error::Unavailable => Self::Unavailable,
        }
    }
}
