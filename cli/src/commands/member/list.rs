//! `kontiki member list`.

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::{
    commands::get::yaml,
    join::wire::{MEMBERS_PATH, MemberList},
    render::columns,
    session::{Accept, ConnectionArguments},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
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

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let value = session.get(MEMBERS_PATH, Accept::Json).await?;
    let text = match arguments.output {
        Some(Format::Json) => format!("{value:#}\n"),
        Some(Format::Yaml) => yaml(&value)?,
        Some(Format::Name) => names(&parse(value)?),
        None => columns(&table(&parse(value)?)),
    };
    session.output.data(&text)
}

fn parse(value: Value) -> Result<MemberList> {
    serde_json::from_value(value).context("the server's list of members")
}

fn names(list: &MemberList) -> String {
    list.members.iter().map(|member| format!("{}\n", member.name)).collect()
}

fn table(list: &MemberList) -> Vec<Vec<String>> {
    let header = ["ID", "NAME", "ROLE", "PEER ADDRESS", "API ADDRESS"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for member in &list.members {
        let role = match (list.leader.as_ref() == Some(&member.id), member.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        lines.push(vec![
            member.id.clone(),
            member.name.clone(),
            role.to_owned(),
            member.peer_address.clone(),
            member.api_address.clone(),
        ]);
    }
    lines
}
