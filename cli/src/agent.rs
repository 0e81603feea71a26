//! A worker: the kubelet and the service proxy, with the credentials of its node.

mod enroll;

use anyhow::Result;

use crate::{config::Common, join::state::DataFolder};

/// Runs an agent until it is told to stop.
pub(crate) async fn run(config: Common) -> Result<()> {
    let folder = DataFolder::open(&config.data_dir)?;
    let _node = enroll::enroll(&config, &folder).await?;
    Ok(())
}
