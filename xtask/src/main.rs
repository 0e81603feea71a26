//! The project's chores, in Rust: set-up, tests, continuous integration, demo and bench.
//!
//! `cargo xtask VERB` works from a clean clone on a fresh Debian machine. Every verb first makes
//! sure of what it needs ([`setup`]), then runs its steps and stops at the first that fails. Build
//! results and the prebuilt RocksDB live in one cache folder outside the clone
//! ([`environment`]).

mod bench;
mod ci;
mod demo;
mod environment;
mod fuzz;
mod packages;
mod python;
mod rocksdb;
mod setup;
mod testing;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};
use environment::Environment;

/// One chore: its name, what it takes and does, and the function.
struct Verb {
    name: &'static str,
    help: &'static str,
    run: fn(&Environment, &[String]) -> Result<()>,
}

const VERBS: &[Verb] = &[
    Verb { name: "bench", help: "run the load generators (see --help)", run: bench::run },
    Verb { name: "ci", help: "everything that must hold before a merge", run: ci::run },
    Verb { name: "demo", help: "the five-host demo; --check measures and exits", run: demo::run },
    Verb { name: "fix", help: "format the code and apply clippy's suggestions", run: ci::fix },
    Verb { name: "fuzz", help: "long runs of the fuzz targets, or of one", run: fuzz::run },
    Verb { name: "setup", help: "install and build what the other verbs need", run: setup::run },
    Verb { name: "test", help: "set up and run every test; arguments filter", run: testing::run },
    Verb { name: "tidy", help: "check the house rules that no lint knows", run: tidy::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            environment::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let name = arguments.first().map_or("help", String::as_str);
    if matches!(name, "help" | "-h" | "--help") {
        for verb in VERBS {
            environment::say(&format!("cargo xtask {:<6} {}", verb.name, verb.help));
        }
        return Ok(());
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        let known: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
        bail!("unknown verb {name:?}; the verbs are {}", known.join(", "));
    };
    (verb.run)(&Environment::discover()?, &arguments[1..])
}
