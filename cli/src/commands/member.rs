//! `kontiki member`: who replicates the cluster's state.

mod list;
mod move_leader;
mod promote;
mod remove;
mod replace;
mod status;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::{
    join::wire::{MEMBERS_PATH, Member, MemberList},
    session::{Accept, Session},
};

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// List the members
    List(list::Arguments),
    /// Ask every member how it is
    Status(status::Arguments),
    /// Make a learner a voter without waiting for a third server
    Promote(promote::Arguments),
    /// Remove a member that will not come back
    Remove(remove::Arguments),
    /// Put a learner in the place of a member that is lost
    Replace(replace::Arguments),
    /// Let another member lead
    MoveLeader(move_leader::Arguments),
}

pub(crate) async fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::List(arguments) => list::run(arguments).await,
        Verb::Status(arguments) => status::run(arguments).await,
        Verb::Promote(arguments) => promote::run(arguments).await,
        Verb::Remove(arguments) => remove::run(arguments).await,
        Verb::Replace(arguments) => replace::run(arguments).await,
        Verb::MoveLeader(arguments) => move_leader::run(arguments).await,
    }
}

/// The members, as the server that answers knows them.
async fn members(session: &Session) -> Result<MemberList> {
    let value = session.get(MEMBERS_PATH, Accept::Json).await?;
    serde_json::from_value(value).context("the server's list of members")
}

/// The one member with that id or name.
fn find<'a>(list: &'a MemberList, wanted: &str) -> Result<&'a Member> {
    let mut found = list.members.iter().filter(|m| m.id == wanted || m.name == wanted);
    let (Some(member), None) = (found.next(), found.next()) else {
        let known: Vec<String> =
            list.members.iter().map(|m| format!("{} ({})", m.id, m.name)).collect();
        bail!("no single member is called {wanted:?}; the members are {}", known.join(", "));
    };
    Ok(member)
}
