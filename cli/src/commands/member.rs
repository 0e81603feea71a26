//! `kontiki member`: who replicates the cluster's state.

mod list;
mod remove;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// List the members
    List(list::Arguments),
    /// Remove a member that will not come back
    Remove(remove::Arguments),
}

pub(crate) async fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::List(arguments) => list::run(arguments).await,
        Verb::Remove(arguments) => remove::run(arguments).await,
    }
}
