//! What all services share: the store, headers, and who may write what.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use kontiki_base::CancellationToken;
use tonic::{Request, Status, metadata::MetadataMap};

use super::{errors, proto::etcdserverpb::ResponseHeader};
use crate::{
    store::Store,
    types::{KeyRange, Op, Revision, Txn},
};

/// Set by clients that would rather be told than wait while there is no leader.
pub(super) const REQUIRE_LEADER: &str = "hasleader";

/// One member's side of the API. Cheap to clone.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) store: Store,
    /// Ends streams when the member stops.
    pub(super) shutdown: CancellationToken,
    read_only: Option<KeyRange>,
}

impl Api {
    pub(super) fn new(store: Store, read_only: Option<Bytes>, shutdown: CancellationToken) -> Api {
        Api { store, shutdown, read_only: read_only.map(KeyRange::prefix) }
    }

    /// The header of an answer that tells of the store at `revision`.
    pub(super) fn header(&self, revision: Revision) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.store.cluster_id(),
            member_id: self.store.id().0,
            revision: i64::try_from(revision.0).unwrap_or(i64::MAX),
            raft_term: self.store.term(),
        })
    }

    /// The header of an answer that tells of no revision in particular.
    pub(super) fn header_now(&self) -> Option<ResponseHeader> {
        self.header(self.store.revision())
    }

    /// Refuses a transaction that writes what is read-only here.
    pub(super) fn may_execute(&self, txn: &Txn) -> Result<(), Status> {
        let Some(protected) = &self.read_only else { return Ok(()) };
        if writes_to(protected, txn) { Err(self.read_only_status()) } else { Ok(()) }
    }

    /// Refuses to end a lease that keys hang on which are read-only here.
    pub(super) fn may_delete<'k>(
        &self,
        mut keys: impl Iterator<Item = &'k Bytes>,
    ) -> Result<(), Status> {
        match &self.read_only {
            Some(protected) if keys.any(|key| protected.contains(key)) => {
                Err(self.read_only_status())
            }
            _ => Ok(()),
        }
    }

    /// Whether some keys are read-only here.
    pub(super) fn protects(&self) -> bool {
        self.read_only.is_some()
    }

    fn read_only_status(&self) -> Status {
        let prefix = self.read_only.as_ref().map(|range| String::from_utf8_lossy(&range.start));
        errors::PERMISSION_DENIED.because(format_args!(
            "keys below {} are the API server's, which alone writes them",
            prefix.unwrap_or_default()
        ))
    }

    /// Whether somebody leads, as far as is known here.
    pub(super) fn has_leader(&self) -> bool {
        self.store.leadership().borrow().leader.is_some()
    }

    /// Ends when a stream has to: with the reason. `wants_leader` is [`requires_leader`].
    pub(super) async fn ended(self, wants_leader: bool) -> Status {
        let mut leadership = self.store.leadership();
        let leaderless = async {
            loop {
                if leadership.wait_for(|now| now.leader.is_none()).await.is_err() {
                    return errors::STOPPED;
                }
                // An election is no reason to end: only a leader that does not come back is.
                let patience = tokio::time::sleep(LEADERLESS_MAX);
                tokio::select! { biased;
                    _ = leadership.wait_for(|now| now.leader.is_some()) => {}
                    () = patience => return errors::NO_LEADER,
                }
            }
        };
        tokio::select! { biased;
            () = self.shutdown.cancelled() => errors::STOPPED.into(),
            error = self.store.dismissed() => errors::status(error),
            answer = leaderless, if wants_leader => answer.into(),
        }
    }
}

/// A stream that ends with a status when `ended` does.
pub(super) fn until<T>(
    stream: impl Stream<Item = Result<T, Status>> + Send,
    ended: impl Future<Output = Status> + Send,
) -> impl Stream<Item = Result<T, Status>> + Send {
    let state = Some((Box::pin(stream), Box::pin(ended)));
    futures::stream::unfold(state, |state| async {
        let (mut stream, mut ended) = state?;
        let ending = tokio::select! { biased;
            item = stream.next() => Err(item?),
            status = &mut ended => Ok(status),
        };
        Some(match ending {
            Ok(status) => (Err(status), None),
            Err(item) => (item, Some((stream, ended))),
        })
    })
}

/// How long a stream that requires a leader lives on without one.
const LEADERLESS_MAX: std::time::Duration = std::time::Duration::from_secs(3);

/// Whether the caller asked to be told when there is no leader.
pub(super) fn requires_leader(metadata: &MetadataMap) -> bool {
    metadata.get(REQUIRE_LEADER).is_some_and(|value| value == "true")
}

impl Api {
    /// Refuses a call that requires a leader while there is none.
    pub(super) fn check_leader<T>(&self, request: &Request<T>) -> Result<bool, Status> {
        let required = requires_leader(request.metadata());
        if required && !self.has_leader() {
            return Err(errors::NO_LEADER.into());
        }
        Ok(required)
    }
}

/// Whether a transaction may write a key of a range.
fn writes_to(range: &KeyRange, txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|operation| match operation {
        Op::Put(put) => range.contains(&put.key),
        Op::Delete(delete) => overlap(range, &delete.range),
        Op::Range(_) => false,
        Op::Txn(inner) => writes_to(range, inner),
    })
}

fn overlap(a: &KeyRange, b: &KeyRange) -> bool {
    let ends_before = |a: &KeyRange, b: &KeyRange| {
        a.end.as_ref().is_some_and(|end| end.as_ref() <= b.start.as_ref())
    };
    !ends_before(a, b) && !ends_before(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Delete, Put};

    #[test]
    fn whatever_could_write_below_the_prefix_is_found() {
        let protected = KeyRange::prefix("/registry/");
        let from = |start: &'static str, end: Option<&'static str>| {
            let range = KeyRange { start: start.into(), end: end.map(Into::into) };
            Op::Delete(Delete::new(range))
        };
        let put = |key: &'static str| Op::Put(Put::new(key, "x"));
        let cases = [
            (put("/registry/pods/a"), true),
            (put("/registry"), false),
            (put("/registryx"), false),
            (from("/", None), true),
            (from("/a", Some("/registry/")), false),
            (from("/a", Some("/registry/a")), true),
            (from("/registry0", None), false),
            (Op::Txn(Box::new(Txn { failure: vec![put("/registry/a")], ..Txn::default() })), true),
        ];
        for (operation, expected) in cases {
            let txn = Txn::of(vec![operation.clone()]);
            assert_eq!(writes_to(&protected, &txn), expected, "{operation:?}");
        }
    }
}
