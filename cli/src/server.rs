//! A control node: everything a server is made of, started in order and stopped in reverse.

mod bootstrap;

use anyhow::Result;

use crate::{config::Server, join::state::DataFolder};

/// Runs a server until it is told to stop.
pub(crate) async fn run(config: Server) -> Result<()> {
    let folder = DataFolder::open(&config.common.data_dir)?;
    let _prepared = bootstrap::prepare(&config, &folder).await?;
    Ok(())
}
