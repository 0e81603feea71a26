//! Deletes that take more than one transaction can hold: done piece by piece.
//!
//! What a transaction deletes moves to history, and is in memory until the entry is applied. A
//! delete beyond that bound is refused as one transaction, the same on every member; one that
//! stands alone and asks for nothing back is then done in several, each with a revision of its
//! own. If it breaks off half-way, the rest is still there, and the same delete goes on with it.

use std::{io, ops::ControlFlow};

use bytes::Bytes;
use kontiki_base::Fence;

use super::{Store, unexpected};
use crate::{
    command::{Command, Reply},
    environment::blocking,
    error::{Error, Refusal},
    mvcc::{Space, View, txn::DELETED_BYTES_MAX},
    types::{Delete, KeyRange, Op, OpResult, Txn, TxnReply},
};

/// What one step takes: far below the bound, for others may add to it meanwhile.
const STEP_BYTES: usize = DELETED_BYTES_MAX / 8;
/// How often in a row a step may turn out to be too large after all.
const REFUSALS_MAX: u32 = 8;

/// The delete that a transaction consists of, if it may be done piece by piece.
pub(super) fn alone(txn: &Txn) -> Option<&Delete> {
    match txn.success.as_slice() {
        [Op::Delete(delete)] if txn.compares.is_empty() && !delete.previous => Some(delete),
        _ => None,
    }
}

/// The first key behind the next step; none if the rest fits. A step has one key at least.
fn step_end(view: &dyn View, range: &KeyRange, most: usize) -> io::Result<Option<Bytes>> {
    let (mut bytes, mut end) = (0, None);
    view.walk(Space::Current, &range.start, range.end.as_deref(), &mut |key, value| {
        let first = bytes == 0;
        bytes += key.len() + value.len();
        if bytes > most && !first {
            end = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(end)
}

impl Store {
    /// Deletes a range in steps.
    pub(super) async fn delete_in_steps(
        &self,
        fence: Option<Fence>,
        range: KeyRange,
    ) -> Result<TxnReply, Error> {
        let (mut rest, mut deleted, mut refusals) = (range, 0, 0);
        loop {
            self.read_index().await?;
            let (shared, looked_at) = (self.0.shared.clone(), rest.clone());
            let look = move || step_end(&*shared.db().read(), &looked_at, STEP_BYTES);
            let end = blocking(look).await.map_err(|_| Error::ShutDown)??;
            let range =
                KeyRange { start: rest.start.clone(), end: end.clone().or(rest.end.clone()) };
            let step =
                Txn { success: vec![Op::Delete(Delete::new(range))], fence, ..Txn::default() };
            let reply = match self.0.propose(Command::Txn(step)).await {
                Ok(Reply::Txn(reply)) => reply,
                Ok(other) => return Err(unexpected(&other)),
                // Others have put that much into it meanwhile: look again.
                Err(Error::Refused(Refusal::TooLarge { .. })) if refusals < REFUSALS_MAX => {
                    refusals += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            refusals = 0;
            if let [OpResult::Delete { deleted: step, .. }] = reply.results.as_slice() {
                deleted += step;
            }
            let Some(end) = end else {
                let results = vec![OpResult::Delete { deleted, previous: Vec::new() }];
                return Ok(TxnReply { results, ..reply });
            };
            rest.start = end;
        }
    }
}
