//! `kontiki member list`.

use anyhow::Result;

use super::{Listing, role};
use crate::join::wire::{MEMBERS_PATH, MemberList};

pub(crate) async fn run(listing: Listing) -> Result<()> {
    listing.print(MEMBERS_PATH, names, table).await
}

fn names(list: &MemberList) -> Vec<&str> {
    list.members.iter().map(|member| member.name.as_str()).collect()
}

fn table(list: &MemberList) -> Vec<Vec<String>> {
    let header = ["ID", "NAME", "ROLE", "PEER ADDRESS", "API ADDRESS"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for member in &list.members {
        let leads = list.leader.as_ref() == Some(&member.id);
        lines.push(vec![
            member.id.clone(),
            member.name.clone(),
            role(leads, member.voter),
            member.peer_address.clone(),
            member.api_address.clone(),
        ]);
    }
    lines
}
