//! Makes a machine ready for every other chore. Does nothing where all is in place.

use anyhow::Result;

use crate::{environment::Environment, packages, python, rocksdb};

/// `cargo xtask setup`
pub(crate) fn run(environment: &Environment, _arguments: &[String]) -> Result<()> {
    packages::ensure()?;
    python::ensure(environment);
    rocksdb::ensure(environment)
}
