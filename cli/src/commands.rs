//! The command line: one file per verb, one row per verb.

mod agent;
mod apply;
mod completions;
mod delete;
mod describe;
mod get;
mod logs;
mod member;
mod recover;
mod rollout;
mod scale;
mod server;
mod snapshot;
mod token;
mod version;

use std::{future::Future, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, Subcommand};
use kontiki_base::telemetry::{self, LogFormat};
use kontiki_client::Error;

pub(crate) use self::snapshot::CLUSTER as CLUSTER_ATTACHMENT;
use crate::{
    config::CommonSettings,
    output::{Closed, Output},
};

/// Kubernetes in one binary, highly available.
#[derive(Parser, Debug)]
#[command(name = "kontiki", version, about, max_term_width = 100, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Run a control node, with a worker in it
    Server(Box<server::Arguments>),
    /// Run a worker
    Agent(Box<agent::Arguments>),
    /// Tokens that let machines join
    #[command(subcommand)]
    Token(token::Verb),
    /// Members of the store
    #[command(subcommand)]
    Member(member::Verb),
    /// Backups of the cluster's state
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    /// Go on with one server after the others are lost for ever
    Recover(recover::Arguments),
    /// Create or change objects so that they are as files say
    Apply(apply::Arguments),
    /// Delete objects
    Delete(delete::Arguments),
    /// Show objects in detail, with their events
    Describe(describe::Arguments),
    /// List objects
    Get(get::Arguments),
    /// Print the logs of a container
    Logs(logs::Arguments),
    /// Follow, pause or undo the rollout of a Deployment
    #[command(subcommand)]
    Rollout(rollout::Verb),
    /// Change the number of replicas
    Scale(scale::Arguments),
    /// Print the versions of this binary and of the server
    Version(version::Arguments),
    /// Print a script that teaches a shell to complete this command
    Completions(completions::Arguments),
}

/// Runs the verb of the process's own command line.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments.verb) {
        Ok(code) => code,
        Err(error) if error.is::<Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            Output.note(&explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<ExitCode> {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match verb {
        Verb::Server(arguments) => done(server::run(&arguments)),
        Verb::Agent(arguments) => done(agent::run(&arguments)),
        Verb::Token(verb) => done(block_on(token::run(verb))),
        Verb::Member(verb) => done(block_on(member::run(verb))),
        Verb::Snapshot(verb) => done(block_on(snapshot::run(verb))),
        Verb::Recover(arguments) => done(recover::run(&arguments)),
        Verb::Apply(arguments) => block_on(apply::run(arguments)),
        Verb::Delete(arguments) => block_on(delete::run(arguments)),
        Verb::Describe(arguments) => done(block_on(describe::run(arguments))),
        Verb::Get(arguments) => block_on(get::run(arguments)),
        Verb::Logs(arguments) => done(block_on(logs::run(arguments))),
        Verb::Rollout(verb) => block_on(rollout::run(verb)),
        Verb::Scale(arguments) => done(block_on(scale::run(arguments))),
        Verb::Version(arguments) => done(block_on(version::run(arguments))),
        Verb::Completions(arguments) => done(completions::run(&arguments)),
    }
}

/// Verbs of a client need one thread; Ctrl-C ends them as it ends any process.
fn block_on<T>(verb: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(verb)
}

/// Servers and agents use all cores.
fn daemon(process: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(process)
}

/// Openraft warns about every heartbeat that a member misses; our store says once that the member
/// is lost. What its heartbeats still complain of is their own end.
const OPENRAFT_LOG: &str = "openraft=error,openraft::core::heartbeat=off";
const DEFAULT_LOG: &str = "info";

/// The filter as given, with openraft kept quiet unless it is asked for.
fn log_filter(given: Option<&str>) -> String {
    let filter = given.unwrap_or(DEFAULT_LOG);
    if filter.contains("openraft") {
        return filter.to_owned();
    }
    format!("{filter},{OPENRAFT_LOG}")
}

fn start_logging(settings: &CommonSettings) -> Result<()> {
    let format = match settings.log_format.as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => bail!("--log-format {other:?} is unknown; it is text or json"),
    };
    let filter = log_filter(settings.log.as_deref());
    telemetry::init(&filter, format).map_err(|error| anyhow!("--log: {error}"))
}

/// One line for a person: what the server said in kubectl's form, everything else as it is.
fn explain(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Error>() {
        Some(Error::Api { reason, message, code }) if error.chain().count() == 1 => match reason {
            reason if reason.is_empty() => format!("error: {message} (HTTP {code})"),
            reason => format!("Error from server ({reason}): {message}"),
        },
        Some(Error::Transport { message, .. }) if message.contains(WRONG_CA) => {
            format!("error: {}; is the kubeconfig that of another cluster?", chain(error))
        }
        _ => format!("error: {}", chain(error)),
    }
}

/// How rustls begins whatever it has against the certificate of a server.
const WRONG_CA: &str = "invalid peer certificate";

/// The error and its causes, without those that only repeat the one above.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.is_empty() && !text.ends_with(&cause) {
            text.push_str(": ");
        }
        if !text.ends_with(&cause) {
            text.push_str(&cause);
        }
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn openraft_is_quiet_unless_it_is_asked_for() {
        assert_eq!(log_filter(None), format!("info,{OPENRAFT_LOG}"));
        assert_eq!(log_filter(Some("debug")), format!("debug,{OPENRAFT_LOG}"));
        assert_eq!(log_filter(Some("warn,openraft=debug")), "warn,openraft=debug");
    }

    #[test]
    fn errors_of_the_server_look_like_kubectls() {
        let api = Error::Api {
            code: 404,
            reason: "NotFound".to_owned(),
            message: "pods \"a\" not found".to_owned(),
        };
        assert_eq!(explain(&api.into()), "Error from server (NotFound): pods \"a\" not found");
        let nested = anyhow::anyhow!("no such file").context("cannot read x");
        assert_eq!(explain(&nested), "error: cannot read x: no such file");
    }
}
