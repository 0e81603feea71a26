//! After a quorum is lost for ever: what survived, and going on from there.
//!
//! A survivor may hold entries that were acknowledged although it does not know that they were
//! committed, so its whole log is applied. It may lack entries that were acknowledged by those
//! who are gone. Nobody can tell any more: what is known is reported.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use openraft::{
    RaftLogReader,
    storage::{RaftLogStorage, RaftStateMachine},
};

use super::{BackupError, Reborn, folder, rebirth};
use crate::{
    log::{LogStore, other},
    mvcc::record::Header,
    raft_types::{LogId, members_of},
    state::{self, AppliedEntry, StateDb, StateMachine},
    store::{ClusterIdentity, stored_identity},
    types::{Member, MemberId, Revision},
};

/// Entries applied at once.
const BATCH_ENTRIES: u64 = 1_024;

/// What is left of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// The folder of its store.
    pub store: PathBuf,
    /// Who it was.
    pub member: MemberId,
    /// Its cluster.
    pub cluster: u64,
    /// The cluster's life that it knows.
    pub generation: u64,
    /// Who was a member, by what it has applied.
    pub members: Vec<Member>,
    /// Term of its last entry.
    pub last_term: u64,
    /// Index of its last entry.
    pub last_index: u64,
    /// Up to where it knows that entries were committed: what is behind may have been
    /// acknowledged or not.
    pub committed: u64,
    /// Up to where its state holds them.
    pub applied: u64,
    /// The revision of that state.
    pub revision: Revision,
}

/// Looks at the store of a stopped member.
pub fn survey(store: &Path) -> Result<Survivor, BackupError> {
    if !store.join("log").is_dir() || !store.join("state").is_dir() {
        let reason = "there is none; name the data folder of a server".to_owned();
        return Err(BackupError::Store { path: store.to_owned(), reason });
    }
    look(store).map_err(BackupError::store(store))
}

fn look(store: &Path) -> io::Result<Survivor> {
    let (header, entry) = {
        let db = StateDb::open_read_only(&folder::current_state(store)?)?;
        let view = db.read();
        (Header::load(&view)?, AppliedEntry::load(&view)?)
    };
    let mut log = LogStore::open(&store.join("log"))?;
    let (member, cluster) =
        stored_identity(&log)?.ok_or_else(|| other("its member was never part of a cluster"))?;
    let (last, committed) = futures::executor::block_on(async {
        io::Result::Ok((log.get_log_state().await?.last_log_id, log.read_committed().await?))
    })?;
    log.close();
    let last = last.max(entry.log_id).ok_or_else(|| other("nothing was ever written to it"))?;
    let applied = entry.log_id.map_or(0, |id| id.index);
    Ok(Survivor {
        store: store.to_owned(),
        member,
        cluster: cluster.id,
        generation: cluster.generation,
        members: members_of(entry.membership.membership()),
        last_term: last.committed_leader_id().term,
        last_index: last.index,
        committed: committed.map_or(0, |id: LogId| id.index).max(applied),
        applied,
        revision: header.revision,
    })
}

/// Which survivor knows most: the newest generation, then the newest entry, as in an election.
/// Pure.
pub fn most_advanced(survivors: &[Survivor]) -> Result<Option<&Survivor>, BackupError> {
    let Some(first) = survivors.first() else { return Ok(None) };
    if let Some(foreign) = survivors.iter().find(|other| other.cluster != first.cluster) {
        return Err(BackupError::OtherCluster {
            one: foreign.store.clone(),
            other: first.store.clone(),
        });
    }
    let rank = |survivor: &&Survivor| {
        (survivor.generation, survivor.last_term, survivor.last_index, survivor.applied)
    };
    Ok(survivors.iter().max_by_key(rank))
}

/// Goes on from a survivor: applies its whole log, and makes it the only member of the cluster's
/// next generation, in the folder `store`. What was in that folder is kept beside it, at the path
/// that is returned.
pub fn recover(
    survivor: &Survivor,
    store: &Path,
    name: &str,
) -> Result<(Reborn, Option<PathBuf>), BackupError> {
    let fresh = folder::beside(store, "recovering");
    folder::remove(&fresh).map_err(BackupError::io("remove", &fresh))?;
    let unusable = BackupError::store(&survivor.store);
    copy(&survivor.store, &fresh, survivor.last_index).map_err(&unusable)?;
    let before = ClusterIdentity { id: survivor.cluster, generation: survivor.generation };
    let reborn = rebirth::perform(&fresh, before, name).map_err(&unusable)?;
    let failed = BackupError::io("write", store);
    let place = || -> io::Result<Option<PathBuf>> {
        folder::replace(&fresh, store)?;
        if !fresh.try_exists()? {
            return Ok(None);
        }
        let keep = folder::unused(store, &format!("generation-{}", survivor.generation))?;
        fs::rename(&fresh, &keep)?;
        Ok(Some(keep))
    };
    let kept = place().map_err(failed)?;
    Ok((reborn, kept))
}

/// Copies the state of a stopped store and applies its log to the copy, up to an index.
pub(super) fn copy(from: &Path, to: &Path, up_to: u64) -> io::Result<()> {
    folder::copy_state(from, to)?;
    let mut log = LogStore::open(&from.join("log"))?;
    let (shared, machine, entry) = state::open(to)?;
    let mut next = entry.log_id.map_or(0, |id| id.index + 1);
    let mut machine = StateMachine::new(shared.clone(), machine, entry, log.durable());
    let applied = futures::executor::block_on(async {
        while next <= up_to {
            let end = (next + BATCH_ENTRIES).min(up_to + 1);
            let entries = log.try_get_log_entries(next..end).await?;
            if entries.len() as u64 != end - next {
                return Err(other(format!("its log lacks entries between {next} and {end}")));
            }
            let entries = entries.into_iter().map(|entry| Ok((entry, None)));
            machine.apply(futures::stream::iter(entries)).await?;
            next = end;
        }
        Ok(())
    });
    log.close();
    applied?;
    shared.db().flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(store: &str, cluster: u64, rank: (u64, u64, u64)) -> Survivor {
        Survivor {
            store: PathBuf::from(store),
            member: MemberId(1),
            cluster,
            generation: rank.0,
            members: vec![],
            last_term: rank.1,
            last_index: rank.2,
            committed: 0,
            applied: 0,
            revision: Revision(1),
        }
    }

    #[test]
    fn the_newest_entry_wins_as_in_an_election() {
        let all = [
            survivor("a", 1, (1, 2, 900)),
            survivor("b", 1, (1, 3, 100)),
            survivor("c", 1, (1, 3, 101)),
        ];
        assert_eq!(most_advanced(&all).unwrap().unwrap().store, Path::new("c"));
        let restored = survivor("d", 1, (2, 1, 1));
        let with = [all[2].clone(), restored];
        assert_eq!(most_advanced(&with).unwrap().unwrap().store, Path::new("d"));
        assert_eq!(most_advanced(&[]).unwrap(), None);
    }

    #[test]
    fn folders_of_two_clusters_are_a_mistake() {
        let both = [survivor("a", 1, (1, 1, 1)), survivor("b", 2, (1, 1, 1))];
        let error = most_advanced(&both).unwrap_err().to_string();
        assert_eq!(error, "b belongs to another cluster than a");
    }
}
