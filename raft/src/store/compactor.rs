//! Dropping compacted history in the background, a step at a time.

use std::{io, sync::Arc, time::Duration};

use kontiki_base::CancellationToken;
use tokio::time::{Instant, sleep};

use crate::{
    environment::blocking,
    failpoints::{Step, pass},
    mvcc::compact::{self, Progress},
    state::Shared,
    types::Revision,
};

/// Changes looked at per step: a few milliseconds of work, and one write.
const CHANGES_PER_STEP: usize = 1_000;
/// After each step the disk belongs to others for as long as it took, within bounds.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Follows the floor.
pub(super) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) -> io::Result<()> {
    let mut applied = shared.watch_applied();
    loop {
        let floor = applied.borrow_and_update().floor;
        while !shutdown.is_cancelled() {
            let (start, shared) = (Instant::now(), shared.clone());
            let step = blocking(move || step(&shared)).await;
            if !step.map_err(io::Error::other)?? {
                break;
            }
            let pause = start.elapsed().clamp(PAUSE_MIN, PAUSE_MAX);
            let _ = shutdown.run_until_cancelled(sleep(pause)).await;
        }
        let risen = applied.wait_for(|applied| applied.floor != floor);
        tokio::select! { biased;
            () = shutdown.cancelled() => return Ok(()),
            risen = risen => if risen.is_err() { return Ok(()) },
        }
    }
}

/// Does one step; `false` if nothing is left to do.
fn step(shared: &Shared) -> io::Result<bool> {
    let db = shared.db();
    let step = {
        let view = db.read_once();
        match compact::plan(&view, CHANGES_PER_STEP)? {
            Some(step) => step,
            None => {
                shared.note_reclaimed(Progress::load(&view)?.reclaimed());
                return Ok(false);
            }
        }
    };
    pass(Step::Compaction)?;
    for (space, from, to) in &step.ranges {
        db.remove_range(*space, from, to)?;
    }
    let reclaimed: Revision = step.progress.reclaimed();
    db.write(step.writes())?;
    shared.note_reclaimed(reclaimed);
    Ok(true)
}
