//! Backups, and what a folder becomes after a disaster.
//!
//! ```text
//! a running store --save--> archive --restore--> a fresh folder
//! a stopped folder --save--'            .------> a fresh folder, in place of the survivor's
//! survivors of a lost quorum --recover--'
//! ```
//!
//! A backup is a checkpoint of the state with a [manifest](Manifest), as one stream
//! ([`archive`]). What comes back out of one, or out of a survivor's folder, is never the old
//! cluster's member: it has a new member id and a new generation of the cluster, so that members
//! of before cannot disturb it, and its revision is far above anything that was ever handed out,
//! with all before it compacted, so that every client lists anew instead of missing events
//! ([`rebirth`]).

mod archive;
mod folder;
mod rebirth;
mod recover;
mod save;

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::{
    recover::{Survivor, most_advanced, recover, survey},
    save::{Backup, save_folder},
};
pub(crate) use save::save;

use crate::{
    error::Corrupt,
    types::{Member, MemberId, Revision},
};

/// What a backup says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The cluster.
    pub cluster: u64,
    /// Its life: rises with every restore and recovery.
    pub generation: u64,
    /// The member that made it.
    pub member: MemberId,
    /// Who the members were.
    pub members: Vec<Member>,
    /// The store's revision.
    pub revision: Revision,
    /// The oldest readable revision.
    pub compacted: Revision,
    /// Term of the last entry in it.
    pub term: u64,
    /// Index of the last entry in it.
    pub index: u64,
    /// Keys that exist.
    pub keys: u64,
    /// Fingerprint of the content, as `hash` of a member gives it.
    pub hash: u64,
    /// When it was made, in seconds since 1970.
    pub taken_at: u64,
    /// The release that made it.
    pub release: String,
}

/// What belongs to a backup beside the state, under a name: bytes that mean nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What it is.
    pub name: String,
    /// Its contents.
    pub contents: Bytes,
}

/// A backup that was read to its end and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What it says about itself.
    pub manifest: Manifest,
    /// What else is in it.
    pub attachments: Vec<Attachment>,
    /// Its size.
    pub bytes: u64,
}

/// A store that begins a new life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reborn {
    /// The only member.
    pub member: MemberId,
    /// The cluster, which stays.
    pub cluster: u64,
    /// Its new generation.
    pub generation: u64,
    /// The revision that was reached before.
    pub before: Revision,
    /// Where it goes on; everything before is compacted.
    pub revision: Revision,
}

/// Why a backup or a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is something else, or of a newer release.
    #[error("{} is no backup that this release knows: {reason}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file is not what was written.
    #[error("the backup {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds no store, or one that cannot be read.
    #[error("cannot use the store in {}: {reason}", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Folders of different clusters.
    #[error("{} belongs to another cluster than {}", one.display(), other.display())]
    OtherCluster {
        /// A folder.
        one: PathBuf,
        /// Another.
        other: PathBuf,
    },
    /// The disk.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

impl BackupError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
        let path = path.to_owned();
        move |source| BackupError::Io { what, path, source }
    }

    fn store(path: &Path) -> impl Fn(io::Error) -> BackupError + use<> {
        let path = path.to_owned();
        move |error| BackupError::Store {
            path: path.clone(),
            reason: kontiki_base::tasks::render(&error),
        }
    }

    fn damaged(path: &Path, reason: impl Into<String>) -> BackupError {
        BackupError::Damaged { path: path.to_owned(), reason: reason.into() }
    }

    fn unknown(path: &Path, corrupt: &Corrupt) -> BackupError {
        BackupError::Unknown { path: path.to_owned(), reason: corrupt.to_string() }
    }
}

/// Reads a backup to its end and checks all of it.
pub fn inspect(backup: &Path) -> Result<Inspection, BackupError> {
    archive::read(backup, &mut |_, _| Ok(Box::new(io::sink())))
}

/// Makes a fresh store in the empty or missing folder `store`, out of a backup: its only member
/// is called `name`. Nothing is there before everything is.
pub fn restore(
    backup: &Path,
    store: &Path,
    name: &str,
) -> Result<(Inspection, Reborn), BackupError> {
    if folder::has_entries(store).map_err(BackupError::io("look into", store))? {
        return Err(BackupError::Store {
            path: store.to_owned(),
            reason: "it holds a store already; restore into a new folder".to_owned(),
        });
    }
    let fresh = folder::beside(store, "restoring");
    folder::remove(&fresh).map_err(BackupError::io("remove", &fresh))?;
    let state = folder::new_state(&fresh).map_err(BackupError::io("create", &fresh))?;
    let inspection = archive::read(backup, &mut |kind, entry| match kind {
        archive::Kind::State => Ok(Box::new(std::fs::File::create(state.join(&entry.name))?)),
        archive::Kind::Attachment => Ok(Box::new(io::sink())),
    })?;
    folder::sync_all(&state).map_err(BackupError::io("write", &state))?;
    let Manifest { cluster, generation, .. } = inspection.manifest;
    let before = crate::store::ClusterIdentity { id: cluster, generation };
    let reborn = rebirth::perform(&fresh, before, name).map_err(BackupError::store(backup))?;
    folder::replace(&fresh, store).map_err(BackupError::io("write", store))?;
    Ok((inspection, reborn))
}
