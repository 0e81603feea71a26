//! Long runs of the fuzz targets, which stand in `apiserver/tests/api/fuzz`.

use anyhow::{Context, Result, bail};

use crate::{
    environment::{Environment, run as run_command},
    setup,
};

/// `cargo xtask fuzz [TARGET] [--seconds N] [--seed N]`: every target, or one, for so long each.
pub(crate) fn run(environment: &Environment, arguments: &[String]) -> Result<()> {
    let wanted = Wanted::read(arguments)?;
    setup::run(environment, &[])?;
    let mut command = environment.cargo(["test", "--package", "kontiki-apiserver", "--locked"]);
    command.args(["--test", "api", "--", "--nocapture", "--test-threads=1", "fuzz::"]);
    command.env("KONTIKI_FUZZ_SECONDS", wanted.seconds.to_string());
    command.env("KONTIKI_FUZZ_SEED", wanted.seed.to_string());
    command.env("KONTIKI_FUZZ_TARGET", wanted.target);
    run_command(&mut command)
}

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    target: String,
    seconds: u64,
    seed: u64,
}

impl Wanted {
    fn read(arguments: &[String]) -> Result<Wanted> {
        let mut wanted = Wanted { target: String::new(), seconds: 60, seed: 0 };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let number = match word.as_str() {
                "--seconds" => &mut wanted.seconds,
                "--seed" => &mut wanted.seed,
                flag if flag.starts_with('-') => bail!("{flag} is neither --seconds nor --seed"),
                target => {
                    target.clone_into(&mut wanted.target);
                    continue;
                }
            };
            let value = words.next().with_context(|| format!("{word} takes a number"))?;
            *number = value.parse().with_context(|| format!("{word} {value}"))?;
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_and_numbers_are_read_and_other_flags_refused() {
        let read = |text: &str| {
            Wanted::read(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let expected = Wanted { target: "yaml".to_owned(), seconds: 5, seed: 7 };
        assert_eq!(read("yaml --seconds 5 --seed 7").ok(), Some(expected));
        assert!(read("--second 5").is_err() && read("--seconds").is_err());
    }
}
