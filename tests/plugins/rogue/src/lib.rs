//! Does what no plugin should, one misdeed at a time: the word `do:…` of the text says which. Without
//! one it lets a message pass.

use wirepost_sdk::log::{self, Level};
use wirepost_sdk::prelude::*;

filter!(judge);

/// Octets of what is too long.
const LONG: usize = 2 << 20;
/// Times that something is done which once is enough.
const OFTEN: usize = 100_000;
/// Lines of a flood: far more than are written, and few enough to end within the budget of a call.
const LINES: usize = 2000;

fn judge(m: &mut Message) -> Result<Verdict> {
    let text = m.text().to_owned();
    let misdeed = text.split_whitespace().find_map(|word| word.strip_prefix("do:"));
    match misdeed {
        Some("recurse") => drop(std::hint::black_box(deeper(&[1; 64], 1 << 40))),
        Some("log-flood") => flood(&[]),
        // What the panic hook writes has room of its own; nobody else may take it.
        Some("panic-flood") => flood(&[("event", "panic")]),
        Some("log-fields") => {
            let long = "f".repeat(LONG);
            log::write(Level::Warn, "a field", &[("long", &long), (&long, "value")]);
        }
        Some("panic") => panic!("{}", "p".repeat(LONG)),
        Some("error") => return Err("e".repeat(LONG).into()),
        Some("error-lines") => return Err("one\r\ntwo\n\x1b[31mthree".into()),
        Some("reason") => return Ok(reject("r".repeat(LONG / 32))),
        Some("headers") => {
            for _ in 0..OFTEN {
                std::hint::black_box(m.headers().len());
            }
        }
        Some("leak") => {
            // No destructor tells the host that nobody needs them any more.
            for _ in 0..OFTEN {
                std::mem::forget(m.fork(Answers::Copy)?);
            }
        }
        Some("fork-flood") => loop {
            m.fork(Answers::Share)?.emit(next())?;
        },
        Some("keys") => {
            for key in 0..OFTEN {
                kv::set(&format!("rogue-{key}"), &[0; 1024], None)?;
            }
        }
        Some("metrics") => {
            for name in 0..OFTEN {
                metrics::add(&format!("rogue_{name}"), 1);
            }
        }
        Some("loop") => loop {
            std::hint::black_box(&mut *m);
        },
        Some("eat") => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(std::hint::black_box(vec![1_u8; 64 << 10]));
            }
        }
        Some("abort") => std::process::abort(),
        _ => {}
    }
    Ok(next())
}

/// Too deep for any stack: each call needs what the one before it has.
fn deeper(before: &[u8; 64], depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let mut here = *before;
    here[usize::try_from(depth % 64).unwrap_or(0)] ^= 1;
    let below = deeper(std::hint::black_box(&here), depth - 1);
    below.wrapping_add(u64::from(std::hint::black_box(here)[0]))
}

fn flood(fields: &[(&str, &str)]) {
    let line = "l".repeat(3000);
    for _ in 0..LINES {
        log::write(Level::Warn, &line, fields);
    }
}
