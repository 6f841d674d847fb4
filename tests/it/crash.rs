//! The promise "a positive answer is durable", asked of the real program: see `crash` in the
//! harness. `WIREPOST_ROUNDS` says how often the router is killed; `cargo xtask soak` uses more.

use std::process::Command;

use wirepost_tests::crash::{Dice, Stand};

/// Kills per run of `cargo test`.
const ROUNDS: usize = 3;

fn rounds() -> usize {
    std::env::var("WIREPOST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

#[test]
fn after_a_crash_everything_acknowledged_arrives() {
    let rounds = rounds();
    let mut stand = Stand::new().unwrap();
    let mut dice = Dice::new(0x5eed);
    let mut router = stand.router(&[]).unwrap();
    let load = stand.load(1_500 * rounds, 400 * rounds).unwrap();
    for _ in 0..rounds {
        stand.kill_after(dice.below(1_500), router).unwrap();
        router = stand.router(&[]).unwrap();
        stand.audit().unwrap();
    }
    let toll = stand.settle(load).unwrap();
    println!("{toll:?}");
    assert_eq!(toll.unexplained, 0, "{toll:?}");
    assert!(toll.acknowledged > 100 * rounds, "{toll:?}");
    stand.audit().unwrap();
    stand.audit_the_dead(router).unwrap();
}

#[test]
fn after_a_failed_sync_the_router_ends_and_a_crash_loses_nothing_acknowledged() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("after_a_failed_sync: skipped, strace is not installed");
        return;
    }
    let mut stand = Stand::new().unwrap();
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e"];
    let strace = [&strace[..], &["inject=fdatasync:error=EIO:when=60+"]].concat();
    let router = stand.router(&strace).unwrap();
    let load = stand.load(1_000, 300).unwrap();
    let status = router.ended().unwrap();
    assert!(!status.success(), "a router whose disk failed must say so");
    stand.died();
    let router = stand.router(&[]).unwrap();
    let toll = stand.settle(load).unwrap();
    println!("{toll:?}");
    assert_eq!(toll.unexplained, 0, "{toll:?}");
    stand.audit_the_dead(router).unwrap();
}
