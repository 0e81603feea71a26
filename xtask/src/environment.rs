//! Where things are, and how child processes are started.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The folders that chores work with.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// The clone's root.
    pub(crate) root: PathBuf,
    /// What outlives a clone: build results, the prebuilt RocksDB.
    pub(crate) cache: PathBuf,
    /// Cargo's target folder for everything but xtask itself.
    pub(crate) target: PathBuf,
}

impl Environment {
    /// Reads the process's environment.
    pub(crate) fn discover() -> Result<Environment> {
        let root = root()?;
        let cache = match std::env::var_os("XDG_CACHE_HOME") {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
        }
        .join("kontiki");
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| cache.join("target"), PathBuf::from);
        Ok(Environment { root, cache, target })
    }

    /// A cargo command in the clone that builds into the shared target folder and links the
    /// prebuilt RocksDB, if there is one.
    pub(crate) fn cargo<I, S>(&self, arguments: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        if let Some(folder) = crate::rocksdb::prebuilt(self) {
            command.env("ROCKSDB_LIB_DIR", folder).env("ROCKSDB_STATIC", "1");
        }
        command
    }

    /// Whether cargo has the given subcommand here.
    pub(crate) fn has_cargo_command(&self, name: &str) -> bool {
        self.cargo([name, "--version"]).output().is_ok_and(|output| output.status.success())
    }
}

/// The clone that this runs in. Cargo says it at run time too, which is right even where a shared
/// target folder still holds the build of another clone.
pub(crate) fn root() -> Result<PathBuf> {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    Ok(folder.parent().context("xtask's folder has no parent")?.to_path_buf())
}

/// Runs a command whose output goes to the terminal; a failure names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    say(&format!("$ {text}"));
    let status = command.status().with_context(|| format!("cannot start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed: {status}");
    }
    Ok(())
}

/// Runs a command and returns what it printed.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let text = describe(command);
    let output = command.output().with_context(|| format!("cannot start `{text}`"))?;
    if !output.status.success() {
        bail!("`{text}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One line for whoever watches; results of chores go to stdout by their own means.
#[expect(clippy::print_stderr, reason = "this is the chores' voice")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
