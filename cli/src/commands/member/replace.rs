//! `kontiki member replace`.

use anyhow::Result;
use clap::Args;
use http::Method;

use super::{find, members};
use crate::{join::wire::MEMBERS_PATH, session::ConnectionArguments};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Id or name of the member that is lost
    #[arg(value_name = "LOST")]
    lost: String,
    /// Id or name of the learner that comes in its place
    #[arg(long, value_name = "MEMBER")]
    with: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let list = members(&session).await?;
    let (lost, with) = (find(&list, &arguments.lost)?, find(&list, &arguments.with)?);
    let uri = format!("{MEMBERS_PATH}/{}/replace?with={}", lost.id, with.id);
    session.client.call(Method::POST, &uri, None).await?;
    session.output.line(&format!(
        "member {} ({}) votes in the place of {} ({})",
        with.id, with.name, lost.id, lost.name
    ))
}
