//! What the log needs of a disk: the seam at which a simulated one stands in.

use std::{
    io,
    ops::{ControlFlow, Range},
};

/// One of the writes that reach the disk together.
#[derive(Clone)]
pub(crate) enum LogWrite {
    /// A value beside the entries.
    Meta(String, Vec<u8>),
    /// An entry under its index.
    Entry(u64, Vec<u8>),
    /// Entries to remove.
    Remove(Range<u64>),
}

/// What a walk calls for every entry: break to stop.
pub(crate) type VisitEntry<'a> = dyn FnMut(u64, &[u8]) -> io::Result<ControlFlow<()>> + 'a;

/// A disk with one log. Writes are seen at once, and lost in a crash unless they were synced;
/// what survives is always a prefix of the writes.
pub(crate) trait LogDisk: Send + Sync {
    /// A value beside the entries.
    fn meta(&self, key: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes atomically, behind everything written before.
    fn write(&self, writes: Vec<LogWrite>) -> io::Result<()>;

    /// Makes everything written so far durable.
    fn sync(&self) -> io::Result<()>;

    /// The last entry.
    fn last(&self) -> io::Result<Option<Vec<u8>>>;

    /// Walks entries in order, beginning with index `from`.
    fn walk(&self, from: u64, visit: &mut VisitEntry<'_>) -> io::Result<()>;

    /// Gives room back that removed entries took; without being compacted away where possible.
    fn reclaim(&self, removed: Range<u64>) -> io::Result<()>;
}
