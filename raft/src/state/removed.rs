//! Who was removed from the cluster: replicated, so that every member refuses them alike.

use std::{collections::BTreeSet, io};

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    mvcc::{Overlay, Space, View, keys},
    raft_types::Membership,
    types::MemberId,
};

/// Ids that never come back. They are random, so the set only ever grows by real removals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removed(BTreeSet<u64>);

impl Removed {
    pub(crate) fn load(view: &impl View) -> io::Result<Removed> {
        match view.get(Space::Meta, keys::REMOVED)? {
            Some(bytes) => Ok(codec::unseal("the list of removed members", &bytes)?),
            None => Ok(Removed::default()),
        }
    }

    pub(crate) fn contains(&self, member: MemberId) -> bool {
        self.0.contains(&member.0)
    }

    /// Notes who is gone when one membership follows another. `true` if anybody is.
    pub(super) fn note(&mut self, before: &Membership, after: &Membership) -> bool {
        let ids = |membership: &Membership| -> BTreeSet<u64> {
            membership.nodes().map(|(id, _)| *id).collect()
        };
        let gone = &ids(before) - &ids(after);
        let known = self.0.len();
        self.0.extend(gone);
        self.0.len() > known
    }

    pub(super) fn store<V: View>(&self, overlay: &mut Overlay<'_, V>) {
        overlay.put(Space::Meta, keys::REMOVED.to_vec(), codec::seal(self));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::raft_types::MemberNode;

    #[test]
    fn who_is_gone_is_remembered() {
        let of = |ids: &[u64]| {
            let nodes: BTreeMap<u64, MemberNode> =
                ids.iter().map(|id| (*id, MemberNode::default())).collect();
            Membership::new(vec![BTreeSet::from([1])], nodes).unwrap()
        };
        let mut removed = Removed::default();
        assert!(!removed.note(&Membership::default(), &of(&[1])));
        assert!(!removed.note(&of(&[1]), &of(&[1, 2, 3])));
        assert!(removed.note(&of(&[1, 2, 3]), &of(&[1, 3])));
        assert!(removed.contains(MemberId(2)) && !removed.contains(MemberId(3)));
        assert!(!removed.note(&of(&[1, 3]), &of(&[1, 3])));
    }
}
