//! A plugin swapped while the router is under full load: nothing may fail, and the wait for an answer
//! should not double.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use super::Shape;
use crate::bench::running::{Built, Load, Running};
use crate::bench::scenario::{Protocol, SCENARIOS};
use crate::process::pause;

/// Between two swaps: an operator's hands are slower.
const EVERY: Duration = Duration::from_secs(1);

/// What one protocol came to.
#[derive(Debug)]
pub(super) struct Swap {
    name: &'static str,
    count: u64,
    swaps: u64,
    steady: Load,
    swapping: Load,
}

impl Swap {
    pub(super) fn print(&self) {
        println!(
            "{}: {} plugins swapped in under full load, 0 of {} messages failed or lost; accept \
             p99.9 {:.2} ms steady, {:.2} ms while swapping ({:.1} x)",
            self.name,
            self.swaps,
            self.count,
            self.steady.p999_ms,
            self.swapping.p999_ms,
            self.swapping.p999_ms / self.steady.p999_ms.max(f64::MIN_POSITIVE),
        );
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "scenario": self.name,
            "messages": self.count,
            "swaps": self.swaps,
            "steady_p999_ms": self.steady.p999_ms,
            "swapping_p999_ms": self.swapping.p999_ms,
            "steady_per_second": self.steady.per_second,
            "swapping_per_second": self.swapping.per_second,
        })
    }
}

/// Sends the same twice, the second time with a new plugin every second.
///
/// # Errors
/// If a message is refused, not answered or does not come out.
pub(super) fn measure(built: &Built, short: bool) -> Result<Vec<Swap>> {
    let mut swaps = Vec::new();
    let scenarios = SCENARIOS.iter().filter(|it| it.plugin && it.from == it.to && !it.pipelining);
    for scenario in scenarios {
        let running = Running::start(built, scenario)?;
        let per_second = if scenario.from == Protocol::Smtp { 5_000 } else { 25_000 };
        let seconds = if short { 2 } else { 10 };
        let shape = Shape { count: per_second * seconds, ..scenario.shape() };
        // The first messages of a process pay for what later ones find ready.
        running.send(Shape { count: per_second, ..shape })?;
        let steady = running.send(shape)?.load;
        let before = running.generation();
        let module = running.work().join("plugins/stop_words.wasm");
        let over = AtomicBool::new(false);
        let swapping = thread::scope(|scope| {
            let swapper = scope.spawn(|| swap_until(&over, &module));
            let sent = running.send(shape);
            over.store(true, Ordering::Relaxed);
            swapper.join().map_err(|_panic| anyhow!("the swapper panicked"))??;
            sent
        })?;
        swaps.push(Swap {
            name: scenario.name,
            count: shape.count,
            swaps: running.generation().saturating_sub(before),
            steady,
            swapping: swapping.load,
        });
    }
    Ok(swaps)
}

/// Puts a module of other bytes in its place, again and again.
fn swap_until(over: &AtomicBool, module: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("read {}", module.display()))?;
    let new = module.with_extension("new");
    let mut number: u8 = 0;
    while !over.load(Ordering::Relaxed) {
        number = number.wrapping_add(1);
        let mut other = bytes.clone();
        // A custom section that says nothing to anybody.
        other.extend_from_slice(&[0, 6, 4, b's', b'w', b'a', b'p', number]);
        fs::write(&new, other)?;
        fs::rename(&new, module)?;
        pause(EVERY);
    }
    Ok(())
}
