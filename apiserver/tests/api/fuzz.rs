//! Whatever is sent: nothing panics, hangs or breaks a law. Each target makes inputs out of a seed
//! (shaped by the schemas, then damaged) and gives them to one decoder, engine or endpoint.
//!
//! In an ordinary run every target has a fraction of a second; `cargo xtask fuzz [TARGET]
//! [--seconds N]` gives it more. A failure names its target and seed; `KONTIKI_FUZZ_SEED` begins
//! there. What was found once stands as an ordinary test where it was mended.

mod noise;
mod pure;
mod surface;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use noise::Noise;

/// No single input may take longer than this, on a machine that is busy with other things.
const CASE_MAX: Duration = Duration::from_secs(10);

/// One way in: makes an input of the noise, gives it away, and looks at what comes back.
pub(crate) struct Target {
    name: &'static str,
    run: fn(&mut Noise),
}

/// Where a long run begins, and how long it takes.
pub(crate) struct Plan {
    first: u64,
    time: Duration,
}

impl Plan {
    pub(crate) fn of_the_environment() -> Plan {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seconds = number("KONTIKI_FUZZ_SECONDS");
        Plan {
            first: number("KONTIKI_FUZZ_SEED").unwrap_or(0),
            time: seconds.map_or(Duration::from_millis(300), Duration::from_secs),
        }
    }
}

/// Says which seed it was if a case panics.
struct Case(&'static str, u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Case(target, seed) = self;
            let _ = writeln!(std::io::stderr(), "{target} failed: KONTIKI_FUZZ_SEED={seed}");
        }
    }
}

#[test]
fn nothing_breaks_what_reads_and_decides() {
    let plan = Plan::of_the_environment();
    let wanted = std::env::var("KONTIKI_FUZZ_TARGET").unwrap_or_default();
    for target in pure::TARGETS.iter().filter(|t| wanted.is_empty() || t.name == wanted) {
        let start = Instant::now();
        let mut seed = plan.first;
        while seed == plan.first || start.elapsed() < plan.time {
            let _case = Case(target.name, seed);
            let begun = Instant::now();
            (target.run)(&mut Noise::new(seed));
            let took = begun.elapsed();
            assert!(took < CASE_MAX, "{} with seed {seed} took {took:?}", target.name);
            seed += 1;
        }
        println!("{}: {} inputs", target.name, seed - plan.first);
    }
}
