//! `kontiki snapshot`: backups of the whole cluster's state.

mod restore;
mod save;
mod status;

use anyhow::Result;
use clap::Subcommand;

/// Attachment: the cluster's networks and names.
pub(crate) const CLUSTER: &str = "cluster.json";
/// Attachment: the cluster's keys, closed with a passphrase.
const SECRETS: &str = "secrets.sealed";

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Write a backup to a file
    Save(save::Arguments),
    /// Show what is in a backup, after checking all of it
    Status(status::Arguments),
    /// Make a new data folder out of a backup
    Restore(restore::Arguments),
}

pub(crate) async fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Save(arguments) => save::run(arguments).await,
        Verb::Status(arguments) => status::run(&arguments),
        Verb::Restore(arguments) => restore::run(&arguments),
    }
}
