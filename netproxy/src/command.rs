//! Running the system's network programs: text in, text out, never for long.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// Far above what a transaction of a hundred thousand elements takes.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Why a program did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or cannot be run.
    #[error("cannot run {program} (is it installed?)")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It refused.
    #[error("{program} failed: {message}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// The first of what it complained about.
        message: String,
    },
    /// It took too long.
    #[error("{program} did not finish in {TIME_MAX:?}")]
    TimedOut {
        /// Its name.
        program: &'static str,
    },
}

/// Runs a program with `input` on its standard input; gives its standard output.
pub async fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<String, Error> {
    match timeout(TIME_MAX, run_to_end(program, arguments, input)).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut { program }),
    }
}

async fn run_to_end(
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, Error> {
    let start = |source| Error::Start { program, source };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().map_err(start)?;
    let mut stdin = child.stdin.take().expect("stdin was piped");
    let write = async move {
        // A program that gives up early says why on stderr; that is what counts.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output.map_err(start)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message =
        String::from_utf8_lossy(&output.stderr).lines().take(3).collect::<Vec<_>>().join(" ");
    Err(Error::Failed { program, message })
}
