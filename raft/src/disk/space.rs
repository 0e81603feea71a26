//! How much room the disk of the data folder has, and what a member still does with it.
//!
//! ```text
//!   plenty   everything                               available >= 1.5 reserves
//!   full     no puts through a majority of such       available <  reserve
//!   critical no appends of a leader that takes puts   available <  reserve / 4
//! ```
//!
//! What is kept back is for deletions and compactions, for the state's flushes, and for RocksDB to
//! merge tables: without room it could not give any back.

use std::{io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

/// Kept back at most, and as a share of the disk when that is less.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
const RESERVE_SHARE: u64 = 20;
/// Without so much a member does not even start: RocksDB writes as it opens.
const START_BYTES_MIN: u64 = 4 << 20;
/// Between looks of a member that waits to start.
const START_PAUSE: Duration = Duration::from_secs(1);
/// How often it says so: once a minute.
const START_COMPLAINT_EVERY: u32 = 60;

/// Room on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Room {
    /// Everything goes.
    #[default]
    Plenty,
    /// No more puts.
    Full,
    /// Hardly enough to recover with.
    Critical,
}

/// What a disk says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) available: u64,
    pub(crate) capacity: u64,
}

impl Space {
    /// Of the disk that holds `path`.
    pub(crate) fn of(path: &Path) -> io::Result<Space> {
        let disk = rustix::fs::statvfs(path)?;
        Ok(Space {
            available: disk.f_bavail.saturating_mul(disk.f_frsize),
            capacity: disk.f_blocks.saturating_mul(disk.f_frsize),
        })
    }

    /// What is kept back on it, unless something else was asked for.
    pub(crate) fn reserve(self, asked: Option<u64>) -> u64 {
        asked.unwrap_or_else(|| RESERVE_BYTES_MAX.min(self.capacity / RESERVE_SHARE))
    }
}

/// What room there is, seen from what there was: it must grow well past a limit to be called more.
/// Pure.
pub(crate) fn judge(before: Room, available: u64, reserve: u64) -> Room {
    let now = if available < reserve / 4 {
        Room::Critical
    } else if available < reserve {
        Room::Full
    } else {
        Room::Plenty
    };
    if now >= before {
        return now;
    }
    let enough = |limit: u64| available >= limit + limit / 2;
    match before {
        Room::Critical if now == Room::Plenty && enough(reserve) => Room::Plenty,
        Room::Critical if enough(reserve / 4) => Room::Full,
        Room::Full if enough(reserve) => Room::Plenty,
        _ => before,
    }
}

/// Waits until there is room to start in: a member that ends because its disk is full, and is
/// started again, must not end again and again.
pub(crate) fn wait_to_start(folder: &Path) {
    let mut looks = 0u32;
    while let Ok(space) = Space::of(folder)
        && space.available < START_BYTES_MIN
    {
        if looks.is_multiple_of(START_COMPLAINT_EVERY) {
            tracing::error!(
                folder = %folder.display(), available = space.available, needed = START_BYTES_MIN,
                "the disk is full: waiting for room to start"
            );
        }
        looks += 1;
        std::thread::sleep(START_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_must_grow_well_past_a_limit_to_be_called_more() {
        use Room::{Critical, Full, Plenty};
        let mut room = Plenty;
        let mut seen = Vec::new();
        for available in
            [2_000, 1_000, 999, 1_100, 1_499, 1_500, 900, 249, 300, 374, 376, 10, 5_000]
        {
            room = judge(room, available, 1_000);
            seen.push(room);
        }
        assert_eq!(
            seen,
            [
                Plenty, Plenty, Full, Full, Full, Plenty, Full, Critical, Critical, Critical, Full,
                Critical, Plenty
            ]
        );
    }

    #[test]
    fn the_reserve_fits_the_disk() {
        let disk = |capacity| Space { available: 0, capacity };
        assert_eq!(disk(1 << 40).reserve(None), 1 << 30);
        assert_eq!(disk(100 << 20).reserve(None), 5 << 20);
        assert_eq!(disk(100 << 20).reserve(Some(7)), 7);
        assert!(Space::of(Path::new("/")).unwrap().capacity > 0);
    }
}
