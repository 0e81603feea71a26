//! Remembered replies: what makes a proposal that arrives twice apply once.
//!
//! Per member, the replies of its present boot are kept from the oldest one it still waits for.
//! They are part of the replicated state, so that every member, also one that was restored from
//! a snapshot, decides alike whether a proposal is new.

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
    error::Refusal,
    types::MemberId,
};

/// Remembered replies of all members, mirrored in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(BTreeMap<MemberId, Session>);

#[derive(Clone, Debug, Default)]
struct Session {
    boot: u64,
    oldest_pending: u64,
    replies: BTreeMap<u64, Reply>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    oldest_pending: u64,
    reply: Reply,
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
        view.walk(Space::Meta, &[keys::REPLY], end.as_deref(), &mut |key, value| {
            let row = keys::parse_reply(key)
                .and_then(|id| Ok((id, codec::unseal::<Stored>("a remembered reply", value)?)));
            match row {
                Ok(((member, boot, sequence), stored)) => {
                    sessions.restore(member, boot, sequence, stored);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    problem = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        problem.map_or(Ok(sessions), |error| Err(error.into()))
    }

    fn restore(&mut self, member: MemberId, boot: u64, sequence: u64, stored: Stored) {
        let session = self.0.entry(member).or_default();
        session.boot = boot;
        session.oldest_pending = session.oldest_pending.max(stored.oldest_pending);
        session.replies.insert(sequence, stored.reply);
    }

    /// Whether a proposal is new.
    pub(crate) fn judge(&self, identity: &Identity) -> Verdict {
        let Some(session) = self.0.get(&identity.member) else { return Verdict::New };
        if identity.boot > session.boot {
            return Verdict::New;
        }
        let outdated = Refusal::Outdated {
            member: identity.member,
            boot: identity.boot,
            sequence: identity.sequence,
        };
        if identity.boot < session.boot || identity.sequence < session.oldest_pending {
            return Verdict::Repeated(Reply::Refused(outdated));
        }
        match session.replies.get(&identity.sequence) {
            Some(reply) => Verdict::Repeated(reply.clone()),
            None => Verdict::New,
        }
    }

    /// Remembers the reply of a new proposal and forgets what its member has finished with.
    pub(crate) fn remember<V: View>(
        &mut self,
        identity: &Identity,
        reply: &Reply,
        overlay: &mut Overlay<'_, V>,
    ) {
        let session = match self.0.entry(identity.member) {
            Entry::Vacant(vacant) => vacant.insert(Session::default()),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        let forgotten: Vec<u64> = if identity.boot > session.boot {
            session.replies.keys().copied().collect()
        } else {
            session.replies.range(..identity.oldest_pending).map(|(s, _)| *s).collect()
        };
        for sequence in forgotten {
            session.replies.remove(&sequence);
            let key = keys::reply(identity.member, session.boot, sequence);
            overlay.remove(Space::Meta, key);
        }
        if identity.boot > session.boot {
            *session = Session { boot: identity.boot, ..Session::default() };
        }
        session.oldest_pending = session.oldest_pending.max(identity.oldest_pending);
        session.replies.insert(identity.sequence, reply.clone());
        let stored = Stored { oldest_pending: session.oldest_pending, reply: reply.clone() };
        let key = keys::reply(identity.member, identity.boot, identity.sequence);
        overlay.put(Space::Meta, key, codec::seal(&stored));
    }

    /// Replies remembered for a member.
    #[cfg(test)]
    pub(crate) fn remembered(&self, member: MemberId) -> usize {
        self.0.get(&member).map_or(0, |session| session.replies.len())
    }
}
