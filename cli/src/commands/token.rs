//! `kontiki token`: credentials with which machines join.

mod create;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Make a new token and print it
    Create(create::Arguments),
}

pub(crate) async fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Create(arguments) => create::run(arguments).await,
    }
}
