//! What is stored under the keys.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    keys,
    view::{Overlay, Space, View},
};
use crate::{
    codec,
    error::Corrupt,
    types::{KeyValue, LeaseId, Revision, WatchEventKind},
};

/// The store's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Of the last transaction that wrote.
    pub(crate) revision: Revision,
    /// The oldest readable revision; 0 before any compaction.
    pub(crate) floor: Revision,
    /// The lowest version that all members understand: what commands mean may depend on it.
    pub(crate) cluster_version: u32,
}

impl Default for Header {
    /// An empty store is at revision 1, as etcd's is: 0 stays free to mean none.
    fn default() -> Header {
        Header { revision: Revision(1), floor: Revision(0), cluster_version: 1 }
    }
}

impl Header {
    pub(crate) fn load(view: &impl View) -> io::Result<Header> {
        match view.get(Space::Meta, keys::HEADER)? {
            Some(bytes) => Ok(codec::unseal("the store's header", &bytes)?),
            None => Ok(Header::default()),
        }
    }

    pub(crate) fn store<V: View>(&self, overlay: &mut Overlay<'_, V>) {
        overlay.put(Space::Meta, keys::HEADER.to_vec(), codec::seal(self));
    }
}

/// Format of [`Version`] records.
const FORMAT: u8 = 1;
const PUT: u8 = 0;
const DELETE: u8 = 1;
const HEAD_BYTES: usize = 2 + 4 * 8;

/// One version of a key: a value, or its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) kind: WatchEventKind,
    pub(crate) create: Revision,
    pub(crate) modified: Revision,
    pub(crate) version: u64,
    pub(crate) lease: LeaseId,
    pub(crate) value: Bytes,
}

impl Version {
    /// The deletion of a key at a revision.
    pub(crate) fn deletion(at: Revision) -> Version {
        Version {
            kind: WatchEventKind::Delete,
            create: Revision(0),
            modified: at,
            version: 0,
            lease: LeaseId(0),
            value: Bytes::new(),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.value.len());
        out.push(FORMAT);
        out.push(match self.kind {
            WatchEventKind::Put => PUT,
            WatchEventKind::Delete => DELETE,
        });
        out.extend(self.create.0.to_be_bytes());
        out.extend(self.modified.0.to_be_bytes());
        out.extend(self.version.to_be_bytes());
        out.extend(self.lease.0.to_be_bytes());
        out.extend(&self.value);
        out.into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Version, Corrupt> {
        let mut version = Version::decode_head(bytes)?;
        version.value = bytes.slice(HEAD_BYTES..);
        Ok(version)
    }

    /// Everything but the value, without copying it.
    pub(crate) fn decode_head(bytes: &[u8]) -> Result<Version, Corrupt> {
        let corrupt = |reason: String| Corrupt::new("a stored version", reason);
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Err(corrupt(format!("only {} bytes long", bytes.len())));
        };
        if head[0] != FORMAT {
            return Err(corrupt(format!("format {} is unknown", head[0])));
        }
        let number = |at: usize| {
            let mut chunk = [0; 8];
            chunk.copy_from_slice(&head[at..at + 8]);
            u64::from_be_bytes(chunk)
        };
        Ok(Version {
            kind: match head[1] {
                PUT => WatchEventKind::Put,
                DELETE => WatchEventKind::Delete,
                other => return Err(corrupt(format!("kind {other} is unknown"))),
            },
            create: Revision(number(2)),
            modified: Revision(number(10)),
            version: number(18),
            lease: LeaseId(i64::from_be_bytes(number(26).to_be_bytes())),
            value: Bytes::new(),
        })
    }

    /// The value of a stored version whose head was decoded.
    pub(crate) fn value_of(bytes: &[u8]) -> &[u8] {
        bytes.get(HEAD_BYTES..).unwrap_or_default()
    }

    /// As callers see it.
    pub(crate) fn into_kv(self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            value: self.value,
            create_revision: self.create,
            mod_revision: self.modified,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// The current version of `key`, if it exists.
pub(crate) fn current(view: &impl View, key: &[u8]) -> io::Result<Option<Version>> {
    Ok(stored(view, key)?.map(|stored| stored.version))
}

/// The current version of `key` and the bytes it is stored as, if it exists.
pub(crate) fn stored(view: &impl View, key: &[u8]) -> io::Result<Option<Stored>> {
    view.get(Space::Current, key)?.map(|bytes| Ok(Stored::decode(bytes)?)).transpose()
}

/// A version with the bytes it is stored as, which its value is a part of.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    pub(crate) bytes: Bytes,
}

impl Stored {
    pub(crate) fn decode(bytes: Bytes) -> Result<Stored, Corrupt> {
        Ok(Stored { version: Version::decode(&bytes)?, bytes })
    }
}

/// Encodes a change: its kind and key.
pub(crate) fn encode_change(kind: WatchEventKind, key: &[u8]) -> Bytes {
    let kind = match kind {
        WatchEventKind::Put => PUT,
        WatchEventKind::Delete => DELETE,
    };
    [&[FORMAT, kind], key].concat().into()
}

/// Decodes what [`encode_change`] wrote.
pub(crate) fn decode_change(bytes: &[u8]) -> Result<(WatchEventKind, &[u8]), Corrupt> {
    match bytes {
        [FORMAT, PUT, key @ ..] => Ok((WatchEventKind::Put, key)),
        [FORMAT, DELETE, key @ ..] => Ok((WatchEventKind::Delete, key)),
        _ => Err(Corrupt::new("a change record", "format or kind is unknown".to_owned())),
    }
}
