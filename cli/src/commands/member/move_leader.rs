//! `kontiki member move-leader`.

use anyhow::Result;
use clap::Args;
use http::Method;

use super::{find, members};
use crate::{join::wire::MEMBERS_PATH, session::ConnectionArguments};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Id or name of the voter that shall lead [default: the one that has most of the log]
    #[arg(value_name = "MEMBER")]
    member: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let mut uri = format!("{MEMBERS_PATH}/leader");
    if let Some(wanted) = &arguments.member {
        let list = members(&session).await?;
        uri = format!("{uri}?to={}", find(&list, wanted)?.id);
    }
    session.client.call(Method::POST, &uri, None).await?;
    let list = members(&session).await?;
    let leader = list.members.iter().find(|member| Some(&member.id) == list.leader.as_ref());
    match leader {
        Some(leader) => {
            session.output.line(&format!("member {} ({}) leads", leader.id, leader.name))
        }
        None => session.output.line("leadership moved"),
    }
}
