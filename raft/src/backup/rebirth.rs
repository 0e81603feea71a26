//! The new life of a state: another member, another generation, a revision nobody has seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    path::Path,
};

use openraft::{Membership, storage::RaftLogStorage};

use super::Reborn;
use crate::{
    codec,
    log::{LogStore, other},
    mvcc::{Overlay, Space, View, keys, record::Header},
    raft_types::{MemberNode, StoredMembership, Vote},
    state::{AppliedEntry, StateDb},
    store::{ClusterIdentity, new_identity},
    types::Revision,
};

/// How far the revision is raised: more than was ever written after the backup, or lost with the
/// other members.
const REVISION_LEAP: u64 = 1_000_000_000;

/// Turns the state in the folder of a store, which has no log yet, into the first member of the
/// cluster's next generation.
pub(super) fn perform(store: &Path, before: ClusterIdentity, name: &str) -> io::Result<Reborn> {
    let after = ClusterIdentity { generation: before.generation + 1, ..before };
    let db = StateDb::open_current(&store.join("state"))?;
    let log = LogStore::open(&store.join("log"))?;
    let member = new_identity(&log, after)?;
    let entry = AppliedEntry::load(&db.read())?;
    let Some(last) = entry.log_id else {
        return Err(other("nothing was ever applied to it"));
    };
    let node = MemberNode { name: name.to_owned(), ..MemberNode::default() };
    let membership =
        Membership::new(vec![BTreeSet::from([member.0])], BTreeMap::from([(member.0, node)]))
            .map_err(other)?;
    let membership = StoredMembership::new(Some(last), membership);
    let (seen, header) = {
        let view = db.live();
        let seen = Header::load(&view)?;
        let mut header = seen;
        header.revision = Revision(seen.revision.0 + REVISION_LEAP);
        header.floor = header.revision;
        let mut overlay = Overlay::new(&view);
        header.store(&mut overlay);
        // Nobody waits for replies to proposals of members that are no more.
        for key in remembered_replies(&view)? {
            overlay.remove(Space::Meta, key);
        }
        let entry = AppliedEntry { membership, ..entry };
        overlay.put(Space::Meta, keys::APPLIED.to_vec(), codec::seal(&entry));
        db.write(overlay.into_writes().into_records())?;
        (seen, header)
    };
    db.flush()?;
    // Elections go on where the last term ended.
    let vote = Vote::new(last.committed_leader_id().term, member.0);
    futures::executor::block_on(log.clone().save_vote(&vote))?;
    log.close();
    Ok(Reborn {
        member,
        cluster: after.id,
        generation: after.generation,
        before: seen.revision,
        revision: header.revision,
    })
}

fn remembered_replies(view: &impl View) -> io::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let end = keys::behind(&[keys::REPLY]);
    view.walk(Space::Meta, &[keys::REPLY], end.as_deref(), &mut |key, _| {
        found.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
