//! `kontiki member`: who replicates the cluster's state.

mod list;
mod move_leader;
mod promote;
mod remove;
mod replace;
mod status;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;

use crate::{
    commands::get::yaml,
    join::wire::{MEMBERS_PATH, Member, MemberList},
    render::columns,
    session::{Accept, ConnectionArguments, Session},
};

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// List the members
    List(Listing),
    /// Ask every member how it is
    Status(Listing),
    /// Make a learner a voter without waiting for a third server
    Promote(One),
    /// Remove a member that will not come back
    Remove(One),
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

/// Whose members are listed, and how.
#[derive(Args, Debug)]
pub(crate) struct Listing {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// How to print
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Yaml,
    Name,
}

impl Listing {
    /// Asks for a list and prints it.
    async fn print<T: DeserializeOwned>(
        self,
        path: &str,
        names: fn(&T) -> Vec<&str>,
        table: fn(&T) -> Vec<Vec<String>>,
    ) -> Result<()> {
        let session = self.connection.open()?;
        let value = session.get(path, Accept::Json).await?;
        let parse = |value| serde_json::from_value(value).context("the server's list of members");
        let text = match self.output {
            Some(Format::Json) => format!("{value:#}\n"),
            Some(Format::Yaml) => yaml(&value)?,
            Some(Format::Name) => {
                names(&parse(value)?).into_iter().map(|name| format!("{name}\n")).collect()
            }
            None => columns(&table(&parse(value)?)),
        };
        session.output.data(&text)
    }
}

/// One member.
#[derive(Args, Debug)]
pub(crate) struct One {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Its id or name
    #[arg(value_name = "MEMBER")]
    member: String,
}

impl One {
    /// The member, and where it was found.
    async fn find(self) -> Result<(Session, Member)> {
        let session = self.connection.open()?;
        let list = members(&session).await?;
        let member = find(&list, &self.member)?.clone();
        Ok((session, member))
    }
}

fn role(leads: bool, votes: bool) -> String {
    let role = match (leads, votes) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    role.to_owned()
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
