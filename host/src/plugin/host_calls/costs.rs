//! What each function of the host costs, counted in octets that are worked on: as much as it is given and
//! gives back, however large the message is. The same on every machine.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::message::{Address, Content, Message as Model, Recipient, Short, Wish};
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::super::bindings::wirepost::plugin::message_api::HostMessage;
use super::super::bindings::wirepost::plugin::receipt_api::HostReceipt;
use super::super::bindings::wirepost::plugin::types as wit;
use super::super::bindings::wirepost::plugin::{
    clock, kv, log, lookup, metrics, random, tables, targets,
};
use super::super::judgement::{ReceiptCall, SeenReceipt};
use super::super::session::{Context, Session};
use super::super::translate::narrow;
use super::tests::{Still, begin, handle, mail, shared};

/// What a call may cost for each octet that is passed, returned or in the message.
const COST_MAX: usize = 8;
/// What every call may cost.
const COST_FREE: usize = 64 << 10;

/// Asks and gives the octets that went in and out, the message not counted.
type Ask = fn(&mut Context, u32, usize) -> usize;
type Make = fn(usize) -> Arc<Model>;

/// Functions of the WIT, what they are asked about, how much of it, and what is asked.
const WALK: &[(&[&str], Make, usize, Ask)] = &[
    (&["message.headers"], fields, 4500, |context, origin, count| {
        let mut read = Vec::new();
        loop {
            // As the SDK of 0.1 does it.
            let page = context.headers(handle(origin), narrow(read.len()), 128);
            if page.is_empty() {
                assert_eq!(read.len(), count);
                return read.iter().map(|it: &wit::Header| it.name.len() + it.value.len()).sum();
            }
            read.extend(page);
        }
    }),
    (&["message.header", "message.header-all"], fields, 4500, |context, origin, count| {
        let ask = |n: usize| {
            let name = format!("x-FIELD-{n}");
            let first = context.header(handle(origin), name.clone()).unwrap();
            let all = context.header_all(handle(origin), name);
            assert_eq!(all, std::slice::from_ref(&first));
            first.len() * 2 + 32
        };
        (0..count).map(ask).sum()
    }),
    (&["message.remove-header"], fields, 4500, |context, origin, count| {
        let ask = |n: usize| {
            let name = format!("X-Absent-{n}");
            assert_eq!(context.remove_header(handle(origin), name), Ok(0));
            32
        };
        (0..count).map(ask).sum()
    }),
    (&["message.set-header", "message.add-header"], mail, 1 << 20, |context, origin, octets| {
        // Each copies the mail.
        for n in 0..8 {
            context.set_header(handle(origin), format!("X-{n}"), "1".to_owned()).unwrap();
            context.add_header(handle(origin), format!("X-{n}"), "2".to_owned()).unwrap();
        }
        octets * 16
    }),
    (&["message.text", "message.set-text"], mail, 1 << 20, |context, origin, octets| {
        let text = (0..50).map(|_| context.text(handle(origin)).unwrap().len()).sum::<usize>();
        context.set_text(handle(origin), "x".repeat(100_000)).unwrap();
        text + octets
    }),
    (&["message.envelope"], mail, 16 << 10, |context, origin, _octets| {
        let ask = |_| context.envelope(handle(origin)).subject.unwrap().len() + 256;
        (0..1000).map(ask).sum()
    }),
    (&["message.parts", "message.read-part"], parts, 400, |context, origin, count| {
        let mut octets = 0;
        for _ in 0..10 {
            let parts = context.parts(handle(origin));
            assert_eq!(parts.len(), count + 1);
            octets += parts.len() * 64;
        }
        // All of them by turns.
        for offset in 0..10 {
            for index in 1..=count {
                let page = context.read_part(handle(origin), narrow(index), offset * 8, 8).unwrap();
                octets += page.len();
            }
        }
        octets
    }),
    (&["message.set-part", "message.remove-part"], parts, 400, |context, origin, count| {
        context.set_part(handle(origin), 1, vec![b'x'; count * 100]).unwrap();
        context.remove_part(handle(origin), 1).unwrap();
        count * 300
    }),
    (&["message.read-raw"], text, 500_000, |context, origin, octets| {
        let mut read = 0;
        while read < octets {
            read += context.read_raw(handle(origin), u64::try_from(read).unwrap(), 64).len();
        }
        read
    }),
    (&["message.find"], mail, 250_000, |context, origin, octets| {
        for _ in 0..50 {
            context.find(handle(origin), vec!["absent".to_owned(); 2], true);
        }
        // Each needle is compared with the text.
        octets * 100
    }),
    (&["message.sha256"], mail, 1 << 20, |context, origin, octets| {
        context.sha256(handle(origin), None).unwrap();
        context.sha256(handle(origin), Some(0)).unwrap();
        octets * 2
    }),
    (&["message.recipients"], recipients, 500, |context, origin, count| {
        let mut read = 0;
        while read < count {
            read += context.recipients(handle(origin), narrow(read), 10).len();
        }
        count * 32
    }),
    (&["message.set-recipients"], recipients, 500, |context, origin, count| {
        let all = context.recipients(handle(origin), 0, narrow(count));
        for n in 0..10 {
            let to = all.iter().skip(n).rev().cloned().collect();
            context.set_recipients(handle(origin), to).unwrap();
        }
        count * 320
    }),
    (&["message.replace-recipient"], recipients, 500, |context, origin, count| {
        for to in context.recipients(handle(origin), 0, narrow(count)) {
            // Nobody may be added; looking for it is what costs.
            let new = wit::Address { value: format!("new.{}", to.value), ..to.clone() };
            assert!(context.replace_recipient(handle(origin), to.clone(), new).is_err());
            context.replace_recipient(handle(origin), to.clone(), to).unwrap();
        }
        count * 128
    }),
    (&["message.set-source"], recipients, 500, |context, origin, _| {
        let to = wit::Address { value: "x".repeat(1 << 20), kind: 1, ton: 0, npi: 0 };
        assert!(context.set_source(handle(origin), to).is_err());
        1 << 20
    }),
    (
        &["message.field", "message.fields", "message.set-field"],
        parameters,
        1000,
        |context, origin, count| {
            for n in 0..10 {
                HostMessage::field(context, handle(origin), "smpp.tlv.0x1403".to_owned());
                assert_eq!(context.fields(handle(origin), "smpp.tlv".to_owned()).len(), count);
                let value = wit::Value::Int(n % 4);
                context.set_field(handle(origin), "delivery.priority".to_owned(), value).unwrap();
            }
            count * 10 * 32
        },
    ),
    (&["message.meta", "message.set-meta"], fields, 4500, |context, origin, count| {
        let ask = |n: usize| {
            let (key, note) = (format!("key-{}", n % 8), Some(n.to_string()));
            context.set_meta(handle(origin), key.clone(), note.clone()).unwrap();
            assert_eq!(HostMessage::meta(context, handle(origin), key), note);
            // What was read of the message stays known.
            assert!(context.header(handle(origin), "X-Field-7".to_owned()).is_some());
            128
        };
        (0..count).map(ask).sum()
    }),
    (&["message.fork", "message.emit"], mail, 1 << 20, |context, origin, octets| {
        for _ in 0..8 {
            let fork = context.fork(handle(origin), 0).unwrap();
            context.text(handle(fork.rep()));
            context.emit(fork, wit::Verdict::Next).unwrap();
        }
        octets * 8
    }),
    (&["log.enabled", "log.write"], mail, 1 << 10, |context, _, octets| {
        let level = log::Level::Info;
        assert!(!log::Host::enabled(context, level));
        let fields = vec![("name".to_owned(), "x".repeat(octets)); 100];
        log::Host::write(context, level, "x".repeat(octets * 100), fields);
        octets * 200
    }),
    (&["kv.get", "kv.set", "kv.set-if-absent", "kv.delete"], mail, 500, |context, _, count| {
        for n in 0..count {
            let (key, value) = (format!("key-{}", n % 8), vec![0; 64]);
            let set = kv::Host::set(context, key.clone(), value.clone(), None);
            set.now_or_never().unwrap().unwrap();
            let set = kv::Host::set_if_absent(context, key.clone(), value, None);
            set.now_or_never().unwrap().unwrap();
            assert!(kv::Host::get(context, key.clone()).now_or_never().unwrap().is_ok());
            assert!(kv::Host::delete(context, key).now_or_never().unwrap().is_ok());
        }
        count * 256
    }),
    (&["kv.add", "kv.take"], mail, 500, |context, _, count| {
        for n in 0..count {
            kv::Host::add(context, format!("count-{n}"), 1, None).unwrap();
            kv::Host::take(context, format!("bucket-{n}"), 1.0, 1.0, 1.0).unwrap();
        }
        count * 32
    }),
    (&["metrics.add", "metrics.gauge", "metrics.observe"], mail, 1 << 20, |context, _, octets| {
        metrics::Host::add(context, "x".repeat(octets), 1);
        metrics::Host::gauge(context, "x".repeat(octets), 1.0);
        metrics::Host::observe(context, "x".repeat(octets), 1.0);
        octets * 3
    }),
    (
        &["tables.lookup", "tables.lookup-prefix", "tables.lookup-ip", "targets.state"],
        mail,
        1 << 20,
        |context, _, octets| {
            let long = || "1".repeat(octets);
            tables::Host::lookup(context, long(), long());
            tables::Host::lookup_prefix(context, long(), long());
            tables::Host::lookup_ip(context, long(), long());
            targets::Host::state(context, long());
            octets * 7
        },
    ),
    (&["lookup.ask"], mail, 1 << 20, |context, _, octets| {
        assert!(lookup::Host::ask(context, "x".repeat(octets), "x".repeat(octets)).is_err());
        octets * 2
    }),
    (
        &["clock.now-ms", "clock.monotonic-ns", "random.next", "random.bytes"],
        mail,
        500,
        |context, _, count| {
            for _ in 0..count {
                clock::Host::now_ms(context);
                clock::Host::monotonic_ns(context);
                random::Host::next(context);
                random::Host::bytes(context, u32::MAX);
            }
            count * 1024
        },
    ),
];

/// Functions that are asked of receipts, which are small: their texts have limits of their own.
const OF_RECEIPTS: [&str; 6] = [
    "receipt.message-id",
    "receipt.recipient",
    "receipt.target",
    "receipt.state",
    "receipt.meta",
    "receipt.field",
];

fn with(content: Content) -> Arc<Model> {
    let mut message = Arc::unwrap_or_clone(mail(1));
    message.content = content;
    Arc::new(message)
}

/// A mail with so many header fields.
fn fields(count: usize) -> Arc<Model> {
    let value = "v".repeat(80);
    let fields: String = (0..count).map(|n| format!("X-Field-{n}: {value}\r\n")).collect();
    with(Content::Mail(Bytes::from(fields + "\r\nText\r\n")))
}

/// A mail with so many encoded parts.
fn parts(count: usize) -> Arc<Model> {
    let line = "QUJD".repeat(19);
    let part = format!("--b\r\nContent-Transfer-Encoding: base64\r\n\r\n{line}\r\n{line}\r\n");
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned();
    with(Content::Mail(Bytes::from(head + &part.repeat(count) + "--b--\r\n")))
}

/// A short message of so many octets.
fn text(octets: usize) -> Arc<Model> {
    with(Content::Short(Short::from_text("x".repeat(octets).as_str())))
}

/// A short message with so many parameters.
fn parameters(count: usize) -> Arc<Model> {
    let mut short = Short::from_text("text");
    let value = Bytes::from_static(b"0123456789abcdef");
    short.tlvs = vec![::message::Tlv { tag: 0x1401, value }; count];
    with(Content::Short(short))
}

fn recipients(count: usize) -> Arc<Model> {
    let mut message = Arc::unwrap_or_clone(mail(1));
    let to = |n| Recipient::new(Address::mailbox(format!("person-{n}@example.org")), Wish::FAILURE);
    message.recipients = (0..count).map(to).collect();
    Arc::new(message)
}

/// What the walk costs at this size, and the octets that it is about.
fn cost(make: Make, count: usize, ask: Ask) -> (usize, usize) {
    let message = make(count);
    let (mut context, origin) = begin(&message);
    let octets = ask(&mut context, origin, count);
    let to = message.recipients.len() * 32;
    (context.worked(), octets + message.content.size_bytes() + to)
}

#[test]
fn no_function_of_the_host_costs_more_than_what_it_is_given_and_gives_back() {
    for (names, make, count, ask) in WALK {
        let (once, octets) = cost(*make, *count, *ask);
        let most = octets * COST_MAX + COST_FREE;
        assert!(once <= most, "{names:?}: {once} for {octets} octets");
        let (twice, _) = cost(*make, count * 2, *ask);
        assert!(twice <= once * 5 / 2 + COST_FREE, "{names:?}: {once}, for twice as much {twice}");
    }
}

#[test]
fn a_receipt_has_answers_of_a_size_of_its_own() {
    let receipt = SeenReceipt {
        message: ::message::MessageId::from_u64(1),
        recipient: Address::phone("+33612345678"),
        target: "smsc".into(),
        state: 2,
        error: "x".repeat(100_000).into(),
        text: "".into(),
    };
    let env: Arc<dyn super::super::env::HostEnv> = Arc::new(Still::default());
    let mut context = Context::new(16 << 20);
    let call = ReceiptCall { receipt: &receipt, env: &env };
    context.begin(Session::about_receipt(&shared(), &call));
    let this = || wasmtime::component::Resource::new_borrow(0);
    for _ in 0..10 {
        HostReceipt::field(&mut context, this(), "receipt.error".to_owned());
        HostReceipt::meta(&mut context, this(), "key".to_owned());
        context.message_id(this());
        context.recipient(this());
        context.target(this());
        context.state(this());
    }
    assert!((100_000 * 10 / 4..100_000 * 10).contains(&context.worked()), "{}", context.worked());
}

/// Every function that the WIT lets a plugin import.
#[test]
fn the_walk_leaves_no_function_out() {
    let wit = include_str!("../../../../sdk/wit/wirepost.wit");
    let imports = wit.split("interface lifecycle").next().unwrap();
    let mut interface = "";
    let mut declared = BTreeSet::new();
    for line in imports.split(['\n', ';', '{']).map(str::trim) {
        for word in ["interface ", "resource "] {
            if let Some(name) = line.strip_prefix(word) {
                interface = name.trim();
            }
        }
        if let Some((name, _)) = line.split_once(": func").or(line.split_once(": static func")) {
            declared.insert(format!("{interface}.{name}"));
        }
    }
    assert!(declared.len() > 40, "{declared:?}");
    let walked = WALK.iter().flat_map(|(names, ..)| *names).chain(&OF_RECEIPTS);
    let walked: BTreeSet<String> = walked.map(|name| (*name).to_owned()).collect();
    assert_eq!(walked, declared);
}
