//! `kontiki member status`.

use anyhow::Result;

use super::{Listing, role};
use crate::join::wire::{MEMBER_STATUS_PATH, MemberStatus, MemberStatusList};

pub(crate) async fn run(listing: Listing) -> Result<()> {
    listing.print(MEMBER_STATUS_PATH, names, table).await
}

fn names(list: &MemberStatusList) -> Vec<&str> {
    list.members.iter().map(|status| status.member.name.as_str()).collect()
}

fn table(list: &MemberStatusList) -> Vec<Vec<String>> {
    let header =
        ["NAME", "ID", "ROLE", "REACHABLE", "LAG", "REVISION", "TERM", "DB SIZE", "RELEASE"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    lines.extend(list.members.iter().map(line));
    lines
}

fn line(status: &MemberStatus) -> Vec<String> {
    let member = &status.member;
    let mut line = vec![member.name.clone(), member.id.clone(), role(status.leader, member.voter)];
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
