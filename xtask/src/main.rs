//! What a newcomer and CI run: `cargo xtask test|demo|plugins|interop|bench|fuzz|soak`.
//!
//! It knows the host only as a binary, so that it compiles in seconds.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a person")]

mod advisories;
mod bench;
mod demo;
mod fuzz;
mod hostile;
mod interop;
mod overload;
mod plugins;
mod process;
mod soak;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test              all that must pass before a change lands
cargo xtask demo [--once]     the router between two simulators, with some traffic
cargo xtask plugins           builds all plugins for wasm32 into target/plugins
cargo xtask interop           the router beside mail and SMS software of others
cargo xtask bench [--short]   messages a second, processor time, latencies, where the time goes
cargo xtask bench --peers     the same beside Postfix and Kannel, and a plugin swapped under load
cargo xtask fuzz [TARGET] [--for 60s]   random input for all that reads what a stranger wrote
cargo xtask fuzz TARGET --input FILE    one input again
cargo xtask soak [ROUNDS]     kills the router under load, again and again
cargo xtask soak overload [--short]   gives it more than it can carry
cargo xtask soak hostile [--short] [PART]    plugins and files that mean harm, beside clean traffic
cargo xtask soak storage [CUTS]  cuts the power of the spool's disk, again and again
cargo xtask soak sim [SEEDS]  the router on a simulated machine, with so many seeds
cargo xtask soak sim --seed S one of them again, with its trace";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [.., "help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        ["test"] => test::run(),
        ["demo"] => demo::run(false),
        ["demo", "--once"] => demo::run(true),
        ["plugins"] => {
            plugins::build().map(|folder| println!("plugins are in {}", folder.display()))
        }
        ["interop"] => interop::run(),
        ["bench", words @ ..] => bench::run(words),
        ["fuzz", words @ ..] => fuzz::run(words),
        ["soak"] => soak::run("10"),
        ["soak", "overload"] => overload::run(overload::Size::WHOLE),
        ["soak", "overload", "--short"] => overload::run(overload::Size::SHORT),
        ["soak", "hostile", words @ ..] => hostile::run(words),
        ["hold", port, count] => overload::hold(port, count),
        ["soak", "storage"] => soak::storage("5000"),
        ["soak", "storage", cuts] => soak::storage(cuts),
        ["soak", "sim"] => soak::simulate("1000"),
        ["soak", "sim", "--seed", seed] => soak::simulate_one(seed),
        ["soak", "sim", seeds] => soak::simulate(seeds),
        ["soak", rounds] if rounds.parse::<u32>().is_ok() => soak::run(rounds),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
