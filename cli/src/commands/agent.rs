//! `kontiki agent`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    agent,
    config::{self, AgentSettings},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Configuration file [default: /etc/kontiki/config.yaml]
    #[arg(long, env = "KONTIKI_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: AgentSettings,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let settings = config::read_layers(arguments.config.as_deref(), &arguments.settings)?;
    super::start_logging(&settings.common)?;
    let config = config::agent(settings)?;
    super::daemon(agent::run(config))
}
