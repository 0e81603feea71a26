//! How the tables of the state are built, kept in memory and compacted.
//!
//! Current keys are looked up, one by one, by every request; the other spaces are walked.

use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, Options};

use crate::{disk::database, mvcc::Space};

/// Unflushed state at most, of all column families together: what a restart replays.
const WRITE_BUFFERS_BYTES: usize = 48 << 20;
/// What a memtable grows by: small, for there are several that hardly grow.
const ARENA_BLOCK_BYTES: usize = 256 << 10;
/// Cache of table blocks, and of the indexes of all spaces but the current keys'.
const BLOCK_CACHE_BYTES: usize = 128 << 20;
/// A part of an index, which is cached on its own.
const METADATA_BLOCK_BYTES: usize = 4 << 10;
/// So many deletions among so many keys in a row make a table worth compacting for its own sake.
const DELETIONS_WINDOW: usize = 32_768;
const DELETIONS_MANY: usize = 16_384;
const DELETIONS_RATIO: f64 = 0.5;
/// Tables of changes at level 0 from which on writes are slowed down, and stopped. All spaces are
/// flushed together, so small tables of changes pile up while larger spaces are compacted; they hold
/// one stretch of revisions each, and many are no burden.
const CHANGES_SLOWDOWN_TABLES: i32 = 100;
const CHANGES_STOP_TABLES: i32 = 200;

/// The cache that all spaces share.
pub(super) fn cache() -> Cache {
    // No estimate of an entry's size: its table grows with what is in it.
    Cache::new_hyper_clock_cache(BLOCK_CACHE_BYTES, 0)
}

/// Of the database as a whole. Compactions get as much of the processors as anything else does: where
/// they starve, memtables and level 0 fill up, and writes wait for them.
pub(super) fn database() -> Options {
    let mut options = database::options();
    options.set_atomic_flush(true);
    // One flushes, two compact: a long compaction of one space does not hold up the others'.
    options.set_max_background_jobs(3);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_open_files(256);
    options
}

/// Of the tables of one space.
pub(super) fn column(space: Space, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    if matches!(space, Space::Current | Space::Meta) {
        // Every request asks here for keys, often for some that do not exist: what finds them stays
        // in memory, some four bytes a key.
        table.set_bloom_filter(10.0, false);
    } else {
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_metadata_block_size(METADATA_BLOCK_BYTES);
        table.set_pin_top_level_index_and_filter(true);
    }
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    // What was just flushed is soon rewritten.
    options.set_min_level_to_compress(1);
    options.add_compact_on_deletion_collector_factory(
        DELETIONS_WINDOW,
        DELETIONS_MANY,
        DELETIONS_RATIO,
    );
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    if space == Space::Changes {
        options.set_level_zero_slowdown_writes_trigger(CHANGES_SLOWDOWN_TABLES);
        options.set_level_zero_stop_writes_trigger(CHANGES_STOP_TABLES);
    }
    options
}
