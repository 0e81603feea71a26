//! `kontiki member promote`.

use anyhow::Result;
use clap::Args;
use http::Method;

use super::{find, members};
use crate::{join::wire::MEMBERS_PATH, session::ConnectionArguments};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// The learner's id or name
    #[arg(value_name = "MEMBER")]
    member: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let list = members(&session).await?;
    let member = find(&list, &arguments.member)?;
    let uri = format!("{MEMBERS_PATH}/{}/promote", member.id);
    session.client.call(Method::POST, &uri, None).await?;
    session.output.line(&format!("member {} ({}) votes", member.id, member.name))
}
