//! RocksDB's static library, compiled once per machine.
//!
//! Its C++ is four fifths of a cold build and the same in every profile, so it is built once into
//! the cache folder and linked from there by everything else. The cache's name holds the crate's
//! version and a hash of the settings that shape the library: another version or setting is
//! another library.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use walkdir::WalkDir;

use crate::environment::{Environment, run, say};

const LIBRARY: &str = "librocksdb.a";
const CRATE: &str = "librocksdb-sys";

/// The folder of the library if it is there: the caller's own, or the cache's.
pub(crate) fn prebuilt(environment: &Environment) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("ROCKSDB_LIB_DIR") {
        return Some(PathBuf::from(folder));
    }
    cache_folder(environment).ok().filter(|folder| folder.join(LIBRARY).is_file())
}

/// Builds the library unless it is there.
pub(crate) fn ensure(environment: &Environment) -> Result<()> {
    if prebuilt(environment).is_some() {
        return Ok(());
    }
    let folder = cache_folder(environment)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock the RocksDB cache")?;
    if folder.join(LIBRARY).is_file() {
        return Ok(()); // Somebody else built it while we waited.
    }
    say("compiling RocksDB; this happens once on a machine and takes about ten minutes");
    let scratch = folder.join("target");
    run(environment
        .cargo(["build", "--locked", "--package", CRATE])
        .env("CARGO_TARGET_DIR", &scratch)
        .env_remove("ROCKSDB_LIB_DIR")
        .env_remove("ROCKSDB_STATIC"))?;
    let built = find(&scratch).with_context(|| format!("no {LIBRARY} in {}", scratch.display()))?;
    // The rename makes the library appear whole or not at all.
    let partial = folder.join("partial");
    fs::copy(&built, &partial).with_context(|| format!("cannot copy {}", built.display()))?;
    fs::rename(&partial, folder.join(LIBRARY)).context("cannot put the library in its place")?;
    fs::remove_dir_all(&scratch).context("cannot remove RocksDB's build folder")?;
    Ok(())
}

fn find(folder: &Path) -> Option<PathBuf> {
    WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .find(|entry| entry.file_name() == LIBRARY)
        .map(walkdir::DirEntry::into_path)
}

fn cache_folder(environment: &Environment) -> Result<PathBuf> {
    let read = |name: &str| {
        fs::read_to_string(environment.root.join(name))
            .with_context(|| format!("cannot read {name}"))
    };
    let version = locked_version(&read("Cargo.lock")?, CRATE)
        .with_context(|| format!("{CRATE} is not in Cargo.lock"))?;
    let settings = settings(&read("Cargo.toml")?, &read(".cargo/config.toml")?);
    ensure!(!settings.is_empty(), "Cargo.toml has no line for rocksdb");
    Ok(environment.cache.join(format!("rocksdb-{version}-{:016x}", fnv1a(&settings))))
}

/// The version of a package in a lock file.
fn locked_version(lock: &str, name: &str) -> Option<String> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted);
    let version = lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}

/// The lines that shape the library: the dependency with its features, the profile, the flags.
fn settings(manifest: &str, config: &str) -> String {
    let profile = manifest
        .lines()
        .skip_while(|line| !line.ends_with(".package.librocksdb-sys]"))
        .take_while(|line| !line.is_empty());
    let dependency = manifest.lines().filter(|line| line.starts_with("rocksdb = "));
    let flags = config.lines().filter(|line| line.starts_with("rustflags"));
    dependency.chain(profile).chain(flags).collect::<Vec<_>>().join("\n")
}

/// FNV-1a, 64 bits: names a cache folder, guards nothing.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_lock_file() {
        let lock = "[[package]]\nname = \"librocksdb-sys\"\nversion = \"0.19.0+11.8.1\"\nsource\n";
        assert_eq!(locked_version(lock, CRATE).as_deref(), Some("0.19.0+11.8.1"));
        assert_eq!(locked_version(lock, "lz4-sys"), None);
    }

    #[test]
    fn another_feature_is_another_library() {
        let config = "[build]\nrustflags = [\"-Ctarget-cpu=x86-64-v2\"]\n";
        let plain = settings("rocksdb = { version = \"0.25\" }\n", config);
        let zstd = settings("rocksdb = { version = \"0.25\", features = [\"zstd\"] }\n", config);
        assert_ne!(fnv1a(&plain), fnv1a(&zstd));
    }
}
