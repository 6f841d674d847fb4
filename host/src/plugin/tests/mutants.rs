//! Real modules with damage of every kind, all the way through the loader and within one process: each
//! is refused with one line or runs within its limits, and the good one loads as before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{HOST, World, config, host_env, judge, load, module, sms};

/// Mutants of a run; `WIREPOST_MUTANTS` asks for more, `WIREPOST_MUTANTS_SEED` for others.
const MUTANTS: u64 = 150;
/// Characters of a refusal: it is one record of the log.
const REFUSAL_CHARS_MAX: usize = 4096;

/// Numbers by chance, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Damages octets in a way or two; `other` lends what does not belong there.
fn damage(octets: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    // Mostly one: more of them hide behind the first.
    for _ in 0..=chance.below(7) / 4 {
        let at = chance.below(octets.len());
        let end = (at + chance.below(64)).min(octets.len());
        match chance.below(14) {
            8.. => octets[at] ^= 1 << chance.below(8),
            1 | 2 => octets[at] = chance.octet(),
            3 => drop(octets.drain(at..end)),
            4 => octets.extend_from_within(at..end),
            5 => octets.insert(at, chance.octet()),
            // A number that goes on and on.
            6 => octets[at..end].fill(0xFF),
            7 => {
                let from = chance.below(other.len());
                let lent = &other[from..(from + end - at).min(other.len())];
                octets.splice(at..at, lent.iter().copied());
            }
            _ => octets.truncate(at.max(9)),
        }
        if octets.is_empty() {
            return;
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test]
async fn every_mutant_is_refused_or_runs_and_the_good_one_still_does() {
    let count = number("WIREPOST_MUTANTS").unwrap_or(MUTANTS);
    let mut chance = Chance(number("WIREPOST_MUTANTS_SEED").unwrap_or(1));
    let names = ["trap", "scribe", "asker"];
    let bases = names.map(module);
    let world = World::new();
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for index in 0..count {
        let base = usize::try_from(index).unwrap() % bases.len();
        let mut octets = bases[base].to_vec();
        damage(&mut octets, &bases[(base + 1) % bases.len()], &mut chance);
        let mut config = config(names[base], "{}");
        config.limits.cpu = Duration::from_millis(100);
        config.limits.time = Duration::from_secs(2);
        let end = match HOST.load(&Arc::new(config), octets.into(), &host_env(&world)).await {
            Ok(plugin) => {
                // It may judge or fault as it likes; what matters is that it comes back.
                drop(judge(&plugin, &sms("a mutant"), &world).await);
                "loaded"
            }
            Err(refusal) => {
                let text = refusal.to_string();
                assert_eq!(text.lines().count(), 1, "{text}");
                assert!(text.chars().count() <= REFUSAL_CHARS_MAX, "{text}");
                refusal.step.name()
            }
        };
        *ends.entry(end).or_default() += 1;
    }
    println!("{count} mutants: {ends:?}");
    assert_eq!(ends.values().sum::<u64>(), count);
    let good = load("trap", "{}", &world).await;
    judge(&good, &sms("hello"), &world).await.unwrap();
}
