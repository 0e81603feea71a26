//! `kontiki version`: of this binary, and of the server if one answers.

use anyhow::Result;
use clap::Args;

use crate::{
    output::Output,
    session::{Accept, ConnectionArguments},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Do not ask a server
    #[arg(long)]
    client: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    Output.line(&format!("Client Version: v{}", env!("CARGO_PKG_VERSION")))?;
    if arguments.client {
        return Ok(());
    }
    let session = arguments.connection.open()?;
    let version = session.get("/version", Accept::Json).await?;
    Output.line(&format!("Server Version: {}", version["gitVersion"].as_str().unwrap_or("unknown")))
}
