//! `kontiki member status`.

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{
    commands::get::yaml,
    join::wire::{MEMBER_STATUS_PATH, MemberStatus, MemberStatusList},
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
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let value = session.get(MEMBER_STATUS_PATH, Accept::Json).await?;
    let text = match arguments.output {
        Some(Format::Json) => format!("{value:#}\n"),
        Some(Format::Yaml) => yaml(&value)?,
        None => {
            let list = serde_json::from_value(value).context("the server's list of members")?;
            columns(&table(&list))
        }
    };
    session.output.data(&text)
}

fn table(list: &MemberStatusList) -> Vec<Vec<String>> {
    let header =
        ["NAME", "ID", "ROLE", "REACHABLE", "LAG", "REVISION", "TERM", "DB SIZE", "RELEASE"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    lines.extend(list.members.iter().map(line));
    lines
}

fn line(status: &MemberStatus) -> Vec<String> {
    let role = match (status.leader, status.member.voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    let mut line = vec![status.member.name.clone(), status.member.id.clone(), role.to_owned()];
    match &status.standing {
        Some(standing) => line.extend([
            "yes".to_owned(),
            standing.lag.to_string(),
            standing.revision.to_string(),
            standing.term.to_string(),
            format!("{:.1} MB", standing.database_bytes as f64 / 1e6),
            standing.release.clone(),
        ]),
        None => line.extend(["no", "-", "-", "-", "-", "-"].map(str::to_owned)),
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_does_not_answer_is_shown_as_such() {
        let member = |name: &str| json!({"id": "1", "name": name, "peerAddress": "", "apiAddress": "", "voter": true});
        let mut up = member("a");
        for (key, value) in [("leader", json!(true)), ("reachable", json!(true))] {
            up[key] = value;
        }
        let standing = json!({"release": "0.1.0", "version": 1, "term": 2, "appliedIndex": 9,
            "lag": 0, "revision": 8, "databaseBytes": 1_500_000});
        for (key, value) in standing.as_object().unwrap() {
            up[key] = value.clone();
        }
        let mut down = member("b");
        down["leader"] = json!(false);
        down["reachable"] = json!(false);
        down["problem"] = json!("no answer within 2s");
        let list = json!({"clusterVersion": 1, "members": [up, down]});
        let lines = table(&serde_json::from_value(list).unwrap());
        assert_eq!(lines[1].join(" "), "a 1 leader yes 0 8 2 1.5 MB 0.1.0");
        assert_eq!(lines[2].join(" "), "b 1 voter no - - - - -");
    }
}
