//! Seeds in a row: 200 in every test run, any others by hand.
//!
//! Each runs in a process of its own: tokio counts the runtimes of a process, and draws from that.

use std::{
    num::NonZero,
    ops::Range,
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{
    Mutation,
    run::{Plan, simulate},
};

/// The plan of a child, as `seed` or `seed mutation`.
const PLAN: &str = "KONTIKI_SIM_PLAN";
/// Seeds for `chosen_seeds`, as `from..to`.
const CHOSEN: &str = "KONTIKI_SIM_SEEDS";
/// A folder for the traces.
const TRACES: &str = "KONTIKI_SIM_TRACES";

/// What members log, as a filter.
const LOG: &str = "KONTIKI_SIM_LOG";

/// What a child says of its run.
#[derive(Debug)]
struct Said {
    good: bool,
    fingerprint: String,
    text: String,
}

fn in_a_process(seed: u64, mutation: Option<Mutation>) -> Said {
    let plan = mutation.map_or(seed.to_string(), |mutation| format!("{seed} {mutation:?}"));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["sim::tests::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(PLAN, &plan)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    let errors = String::from_utf8_lossy(&child.stderr);
    let fingerprint = text.lines().find_map(|line| line.strip_prefix("fingerprint "));
    Said {
        good: child.status.success() && fingerprint.is_some() && !errors.contains("panicked"),
        fingerprint: fingerprint.unwrap_or_default().to_owned(),
        text: format!("{text}{errors}"),
    }
}

/// Not a test of its own: simulates the plan that its parent gives it.
#[test]
fn child() {
    let Ok(plan) = std::env::var(PLAN) else { return };
    let (seed, mutation) = plan.split_once(' ').unwrap_or((&plan, ""));
    let mutation = match mutation {
        "" => None,
        "LyingSync" => Some(Mutation::LyingSync),
        "StaleReads" => Some(Mutation::StaleReads),
        "Forgetful" => Some(Mutation::Forgetful),
        other => panic!("no mutation {other}"),
    };
    if let Ok(filter) = std::env::var(LOG) {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
    }
    let report = simulate(Plan { seed: seed.parse().unwrap(), mutation });
    if let Ok(folder) = std::env::var(TRACES) {
        std::fs::write(format!("{folder}/{seed}"), &report.trace).unwrap();
    }
    println!("seed {seed}: {}", report.summary);
    println!("fingerprint {}", report.fingerprint);
    for violation in report.violations.iter().take(20) {
        println!("violation: {violation}");
    }
    assert!(report.violations.is_empty(), "seed {seed} has {}", report.violations.len());
}

/// Runs seeds, so many processes at once.
fn run_all(seeds: Range<u64>, processes: usize) {
    let next = AtomicU64::new(seeds.start);
    let bad = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..processes {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < seeds.end
                {
                    let said = in_a_process(seed, None);
                    if !said.good {
                        println!("{}\nagain: {CHOSEN}={seed}..{}\n", said.text, seed + 1);
                        bad.lock().push(seed);
                    }
                }
            });
        }
    });
    let bad = bad.into_inner();
    assert!(bad.is_empty(), "seeds {bad:?} failed");
}

/// As many simulations at once as there are cores.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

#[test]
fn seeds_0_to_199() {
    run_all(0..200, cores());
}

#[test]
fn chosen_seeds() {
    let Ok(text) = std::env::var(CHOSEN) else { return };
    let (from, to) = text.split_once("..").expect("KONTIKI_SIM_SEEDS is from..to");
    run_all(from.parse().unwrap()..to.parse().unwrap(), cores());
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 1_000..1_003 {
        let (first, second) = (in_a_process(seed, None), in_a_process(seed, None));
        assert!(!first.fingerprint.is_empty(), "{}", first.text);
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
    }
}

/// Whether one of these seeds shows that something is wrong.
fn is_found(mutation: Mutation) -> bool {
    (0..16).any(|seed| {
        let said = in_a_process(seed, Some(mutation));
        said.text.contains("violation")
    })
}

#[test]
fn a_disk_that_lies_is_found() {
    assert!(is_found(Mutation::LyingSync));
}

#[test]
fn reads_without_a_leader_are_found() {
    assert!(is_found(Mutation::StaleReads));
}

#[test]
fn proposals_without_identity_are_found() {
    assert!(is_found(Mutation::Forgetful));
}
