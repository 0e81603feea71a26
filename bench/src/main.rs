//! `kontiki-bench`: load generators for any Kubernetes API server.

use std::{process::ExitCode, time::SystemTime};

use anyhow::Result;
use clap::{Parser, Subcommand};
use kontiki_base::{
    tasks::Tasks,
    telemetry::{self, LogFormat},
};
use kontiki_bench::{
    api::{self, ApiArgs},
    report::Report,
    schedule::{self, ScheduleArgs},
    target::{Target, TargetArgs},
};

/// Load generators that speak only public protocols. A table goes to stderr, one line of JSON
/// to stdout.
#[derive(Parser)]
#[command(name = "kontiki-bench", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Creates, gets, lists and watches against an API server
    Api {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        args: ApiArgs,
    },
    /// Pods per second that a scheduler places on nodes without machines
    Schedule {
        #[command(flatten)]
        target: TargetArgs,
        #[command(flatten)]
        args: ScheduleArgs,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match telemetry::init("warn", LogFormat::Text) {
        Ok(()) => run(arguments.verb).await,
        Err(error) => Err(anyhow::Error::msg(error)),
    };
    match outcome.and_then(|report| report.print()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb) -> Result<Report> {
    let tasks = Tasks::new();
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let name = format!("bench-{seconds:x}");
    let report = match verb {
        Verb::Api { target, args } => api::run(&Target::new(&target)?, &args, &name, &tasks).await,
        Verb::Schedule { target, args } => {
            schedule::run(&Target::new(&target)?, &args, &name, &tasks).await
        }
    };
    // Connections end with the process.
    report
}
