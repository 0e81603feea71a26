//! Remembered replies: what makes a proposal that arrives twice apply once.
//!
//! Per member, the replies of its present boot are kept from the oldest one it still waits for.
//! They are part of the replicated state, so that every member, also one that was restored from
//! a snapshot, decides alike whether a proposal is new.
//!
//! A reply is encoded once. The replies to one member's proposals in one batch of entries are
//! stored as one record, which goes when the last of them is forgotten. Where batches begin and
//! end is each member's own affair; what is remembered is not.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    ops::ControlFlow,
};

use serde::{Deserialize, Serialize};

use super::{
    keys,
    view::{Overlay, Space, View},
};
use crate::{
    codec,
    command::{Identity, Reply},
    error::{Corrupt, Refusal},
    types::MemberId,
};

const WHAT: &str = "a remembered reply";

/// Remembered replies of all members, mirrored in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(BTreeMap<MemberId, Session>);

#[derive(Clone, Debug, Default)]
struct Session {
    boot: u64,
    oldest_pending: u64,
    replies: BTreeMap<u64, Remembered>,
    /// By the log index they begin at: how many of a record's replies are not forgotten.
    records: BTreeMap<u64, u32>,
    /// The record of the batch under way.
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Remembered {
    /// The record it is stored in.
    record: u64,
    /// Encoded.
    reply: Box<[u8]>,
}

#[derive(Clone, Debug)]
struct Open {
    record: u64,
    bytes: Vec<u8>,
}

/// One reply within a record.
#[derive(Serialize, Deserialize)]
struct Stored<'b> {
    sequence: u64,
    oldest_pending: u64,
    #[serde(borrow, with = "serde_bytes")]
    reply: &'b [u8],
}

/// What to do with a proposal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Apply it.
    New,
    /// It was applied before: answer this.
    Repeated(Reply),
}

impl Sessions {
    /// Reads all remembered replies.
    pub(crate) fn load(view: &impl View) -> io::Result<Sessions> {
        let mut sessions = Sessions::default();
        let mut problem = None;
        let end = keys::behind(&[keys::REPLY]);
        view.walk(Space::Meta, &[keys::REPLY], end.as_deref(), &mut |key, value| match sessions
            .restore(key, value)
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                problem = Some(error);
                ControlFlow::Break(())
            }
        })?;
        if let Some(error) = problem {
            return Err(error.into());
        }
        for session in sessions.0.values_mut() {
            session.prune();
        }
        Ok(sessions)
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        let (member, boot, record) = keys::parse_reply(key)?;
        let bytes: serde_bytes::ByteBuf = codec::unseal(WHAT, value)?;
        let session = self.0.entry(member).or_default();
        session.boot = boot;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (stored, behind) = postcard::take_from_bytes::<Stored<'_>>(rest)
                .map_err(|error| Corrupt::new(WHAT, error.to_string()))?;
            rest = behind;
            session.oldest_pending = session.oldest_pending.max(stored.oldest_pending);
            session.insert(stored.sequence, Remembered { record, reply: stored.reply.into() });
        }
        Ok(())
    }

    /// Whether a proposal is new.
    pub(crate) fn judge(&self, identity: &Identity) -> io::Result<Verdict> {
        #[cfg(test)]
        if crate::sim::is_mutated(crate::sim::Mutation::Forgetful) {
            return Ok(Verdict::New);
        }
        let Some(session) = self.0.get(&identity.member) else { return Ok(Verdict::New) };
        if identity.boot > session.boot {
            return Ok(Verdict::New);
        }
        let outdated = Refusal::Outdated {
            member: identity.member,
            boot: identity.boot,
            sequence: identity.sequence,
        };
        if identity.boot < session.boot || identity.sequence < session.oldest_pending {
            return Ok(Verdict::Repeated(Reply::Refused(outdated)));
        }
        match session.replies.get(&identity.sequence) {
            Some(remembered) => postcard::from_bytes(&remembered.reply)
                .map(Verdict::Repeated)
                .map_err(|error| Corrupt::new(WHAT, error.to_string()).into()),
            None => Ok(Verdict::New),
        }
    }

    /// Remembers the reply of a new proposal, whose entry has this index, and forgets what its
    /// member has finished with. Stored by [`Sessions::close`].
    pub(crate) fn remember<V: View>(
        &mut self,
        identity: &Identity,
        index: u64,
        reply: &Reply,
        overlay: &mut Overlay<'_, V>,
    ) {
        let session = match self.0.entry(identity.member) {
            Entry::Vacant(vacant) => vacant.insert(Session::default()),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        let boot = session.boot;
        let finished = if identity.boot > boot {
            let before = Session { boot: identity.boot, ..Session::default() };
            std::mem::replace(session, before).records.into_keys().collect()
        } else {
            session.oldest_pending = session.oldest_pending.max(identity.oldest_pending);
            session.prune()
        };
        for record in finished {
            overlay.remove(Space::Meta, keys::reply(identity.member, boot, record));
        }
        session.oldest_pending = session.oldest_pending.max(identity.oldest_pending);
        session.add(identity.sequence, index, reply);
    }

    /// Stores what was remembered since the last time: at the end of every batch.
    pub(crate) fn close<V: View>(&mut self, overlay: &mut Overlay<'_, V>) {
        for (member, session) in &mut self.0 {
            if let Some(open) = session.open.take()
                && session.records.contains_key(&open.record)
            {
                let key = keys::reply(*member, session.boot, open.record);
                overlay.put(Space::Meta, key, codec::seal(&serde_bytes::ByteBuf::from(open.bytes)));
            }
        }
    }

    /// Replies remembered for a member.
    #[cfg(test)]
    pub(crate) fn remembered(&self, member: MemberId) -> Vec<(u64, Vec<u8>)> {
        let replies = self.0.get(&member).into_iter().flat_map(|session| &session.replies);
        replies.map(|(sequence, remembered)| (*sequence, remembered.reply.to_vec())).collect()
    }
}

impl Session {
    fn add(&mut self, sequence: u64, index: u64, reply: &Reply) {
        let reply = postcard::to_stdvec(reply).expect("encoding into memory cannot fail");
        let stored = Stored { sequence, oldest_pending: self.oldest_pending, reply: &reply };
        let open = self.open.take().unwrap_or(Open { record: index, bytes: Vec::new() });
        let record = open.record;
        let bytes = postcard::to_extend(&stored, open.bytes);
        let bytes = bytes.expect("encoding into memory cannot fail");
        self.open = Some(Open { record, bytes });
        self.insert(sequence, Remembered { record, reply: reply.into() });
    }

    fn insert(&mut self, sequence: u64, remembered: Remembered) {
        *self.records.entry(remembered.record).or_insert(0) += 1;
        self.replies.insert(sequence, remembered);
    }

    /// Forgets what nobody waits for, and says which records have none left.
    fn prune(&mut self) -> Vec<u64> {
        let mut finished = Vec::new();
        while let Some(first) = self.replies.first_entry()
            && *first.key() < self.oldest_pending
        {
            let record = first.remove().record;
            if let Some(left) = self.records.get_mut(&record) {
                *left -= 1;
                if *left == 0 {
                    self.records.remove(&record);
                    finished.push(record);
                }
            }
        }
        finished
    }
}
