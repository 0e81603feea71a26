//! How the tables of the state are built, kept in memory and compacted.
//!
//! Current keys are looked up, one by one, by every request; the other spaces are walked.

use std::{io, path::Path};

use rocksdb::{BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, Env, Options};

use crate::{disk::damage, mvcc::Space};

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

/// The cache that all spaces share.
pub(super) fn cache() -> Cache {
    // No estimate of an entry's size: its table grows with what is in it.
    Cache::new_hyper_clock_cache(BLOCK_CACHE_BYTES, 0)
}

/// Of the database as a whole, in the folder `path`.
pub(super) fn database(path: &Path) -> io::Result<Options> {
    let mut options = Options::default();
    options.set_env(&background_env(path)?);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(rocksdb::LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_max_open_files(256);
    Ok(options)
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
    options
}

/// Compactions take what nobody else wants of the processors.
fn background_env(path: &Path) -> io::Result<Env> {
    let mut env = Env::new().map_err(|error| damage::explain(path, error))?;
    env.lower_thread_pool_cpu_priority();
    Ok(env)
}
