//! `kontiki member remove`.

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;

use crate::{
    join::wire::{MEMBERS_PATH, MemberList},
    session::{Accept, ConnectionArguments},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// The member's id or name
    #[arg(value_name = "MEMBER")]
    member: String,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let list: MemberList = serde_json::from_value(session.get(MEMBERS_PATH, Accept::Json).await?)
        .context("the server's list of members")?;
    let wanted = &arguments.member;
    let mut found = list.members.iter().filter(|m| m.id == *wanted || m.name == *wanted);
    let (Some(member), None) = (found.next(), found.next()) else {
        let known: Vec<String> =
            list.members.iter().map(|m| format!("{} ({})", m.id, m.name)).collect();
        bail!("no single member is called {wanted:?}; the members are {}", known.join(", "));
    };
    let uri = format!("{MEMBERS_PATH}/{}", member.id);
    session.client.call(Method::DELETE, &uri, None).await?;
    session.output.line(&format!("member {} ({}) removed", member.id, member.name))
}
