//! Runs every test, with a stop on those that hang.
//!
//! cargo-nextest is used where it is installed: it runs tests in processes of their own, and
//! `.config/nextest.toml` bounds each in time and serialises those that need the machine. Without
//! it, `cargo test` runs them under one deadline.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    environment::{Environment, run as run_command, say},
    setup,
};

/// `cargo test` knows no time limits of its own.
const DEADLINE_SECONDS: u32 = 40 * 60;

/// `cargo xtask test [FILTER...]`
pub(crate) fn run(environment: &Environment, arguments: &[String]) -> Result<()> {
    setup::run(environment, &[])?;
    run_tests(environment, arguments)
}

/// The tests themselves, on a machine that is set up.
pub(crate) fn run_tests(environment: &Environment, arguments: &[String]) -> Result<()> {
    // Black-box tests start the real binary, which no test target of theirs depends on.
    run_command(&mut environment.cargo(["build", "--workspace", "--bins", "--locked"]))?;
    if environment.has_cargo_command("nextest") {
        let mut command = environment.cargo(["nextest", "run", "--workspace", "--locked"]);
        command.args(arguments).stdin(Stdio::null());
        // A filter that leaves nothing is a mistake of whoever typed it; an empty crate is not.
        command.arg("--no-tests=fail");
        return run_command(&mut command);
    }
    let mut command = Command::new("timeout");
    command.args(["--kill-after=30", &DEADLINE_SECONDS.to_string()]);
    let cargo = environment.cargo(["test", "--workspace", "--locked", "--no-fail-fast", "--"]);
    command.arg(cargo.get_program()).args(cargo.get_args()).args(arguments);
    for (name, value) in cargo.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    run_and_sum(command.current_dir(&environment.root).stdin(Stdio::null()))
}

/// Passes `cargo test`'s output on and closes with the sum over all test binaries.
fn run_and_sum(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no stdout")?;
    let mut totals = Totals::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read cargo test's output")?;
        totals.add(&line);
        writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")?;
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    say(&format!("{} passed, {} failed, {} ignored", totals.passed, totals.failed, totals.ignored));
    if !status.success() {
        bail!("tests failed: {status}");
    }
    Ok(())
}

/// Counts of `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Totals {
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or(counts, |(_, counts)| counts);
        for part in counts.split("; ") {
            match part.split_once(' ').map(|(count, name)| (count.parse().unwrap_or(0), name)) {
                Some((count, "passed")) => self.passed += count,
                Some((count, "failed")) => self.failed += count,
                Some((count, "ignored")) => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_binaries_add_up() {
        let mut totals = Totals::default();
        totals.add("running 3 tests");
        totals.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        totals.add("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured");
        assert_eq!(totals, Totals { passed: 4, failed: 2, ignored: 1 });
    }
}
