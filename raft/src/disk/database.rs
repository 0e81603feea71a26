//! What the databases of a member have in common, the log's and the state's.

use rocksdb::{LogLevel, Options};

/// Options of a database that is made if it is not there, and says only what is wrong.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}
