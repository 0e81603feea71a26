//! Dropping compacted history in the background, a step at a time.

use std::{io, sync::Arc};

use kontiki_base::CancellationToken;

use crate::{
    environment::blocking,
    failpoints::{Step, pass},
    mvcc::{compact, keys},
    state::Shared,
    types::Revision,
};

/// Changes looked at per step: about a millisecond of work, and one write.
const CHANGES_PER_STEP: usize = 1_000;

/// Follows the floor.
pub(super) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) -> io::Result<()> {
    let mut applied = shared.watch_applied();
    let mut done: Option<Revision> = None;
    loop {
        let floor = applied.borrow_and_update().floor;
        if done != Some(floor) {
            // What lies before the last floor is gone already.
            let from = done.map_or_else(Vec::new, |floor| keys::change(floor, 0).to_vec());
            let mut resume = Some(from);
            while let Some(from) = resume.take()
                && !shutdown.is_cancelled()
            {
                let shared = shared.clone();
                let step = blocking(move || step(&shared, &from)).await;
                resume = step.map_err(io::Error::other)??;
            }
            done = Some(floor);
        }
        let risen = applied.wait_for(|applied| Some(applied.floor) != done);
        tokio::select! { biased;
            () = shutdown.cancelled() => return Ok(()),
            risen = risen => if risen.is_err() { return Ok(()) },
        }
    }
}

fn step(shared: &Shared, from: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let db = shared.db();
    let step = {
        let view = db.read();
        compact::plan(&view, from, CHANGES_PER_STEP)?
    };
    pass(Step::Compaction)?;
    db.write(step.remove.into_iter().map(|key| (key, None)))?;
    Ok(step.resume)
}
