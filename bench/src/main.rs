//! `kontiki-bench`: load generators for any Kubernetes API server and any store that speaks etcd's
//! API.

use std::{process::ExitCode, time::SystemTime};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use kontiki_base::{
    tasks::Tasks,
    telemetry::{self, LogFormat},
};
use kontiki_bench::{
    api::{
        self, ApiArgs,
        servers::{self, ServerArgs},
    },
    schedule::{self, ScheduleArgs},
    store::{self, StoreVerb},
    target::{Target, TargetArgs},
};
use tokio::signal::unix::{SignalKind, signal};

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
        servers: ServerArgs,
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
    /// Puts, reads, watches and transactions against stores that speak etcd's API
    Store {
        #[command(subcommand)]
        verb: StoreVerb,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match telemetry::init("warn", LogFormat::Text) {
        Ok(()) => start(arguments.verb),
        Err(error) => Err(anyhow::Error::msg(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(verb: Verb) -> Result<()> {
    // The store's generator does with one thread, so that the servers have the others.
    let mut runtime = match verb {
        Verb::Store { .. } => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        // What a generator started ends with it, also when it is told to stop.
        tokio::select! { biased;
            outcome = Box::pin(run(verb)) => outcome,
            signal = stopped() => bail!("stopped by {}", signal?),
        }
    })
}

async fn stopped() -> Result<&'static str> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! { biased;
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| "SIGINT").map_err(Into::into),
        _ = terminated.recv() => Ok("SIGTERM"),
    }
}

async fn run(verb: Verb) -> Result<()> {
    let tasks = Tasks::new();
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let name = format!("bench-{seconds:x}");
    // Connections end with the process.
    match verb {
        Verb::Api { target, servers, args } => match servers.kontiki.clone() {
            Some(program) => servers::run(program, &servers, &args, &name, &tasks).await,
            None => api::run(&Target::new(&target)?, &args, &name, &tasks).await?.print(),
        },
        Verb::Schedule { target, args } => {
            schedule::run(&Target::new(&target)?, &args, &name, &tasks).await?.print()
        }
        Verb::Store { verb } => store::run(&verb, &tasks).await,
    }
}
