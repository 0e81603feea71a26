//! A Python of its own with the Kubernetes client, for the tests that drive it.
//!
//! It lives in the cache folder, beside the build results. Without a network, or without Python's
//! `venv`, the tests that want it say that they are skipped: nothing else depends on it.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::environment::{Environment, capture, run, say};

/// The version that the tests were written with.
const CLIENT: &str = "kubernetes==37.0.2";

/// Makes the Python unless it is there.
pub(crate) fn ensure(environment: &Environment) {
    let folder = environment.cache.join("python");
    if has_client(&folder) {
        return;
    }
    if let Err(error) = make(&folder) {
        say(&format!("no Python client here, its tests are skipped: {error:#}"));
    }
}

fn make(folder: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut install = Command::new(folder.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--retries=1"]);
    run(install.args(["--timeout=20", CLIENT]))
}

/// Whether the client of that version is installed.
fn has_client(folder: &Path) -> bool {
    let script = "import importlib.metadata as m; print('kubernetes==' + m.version('kubernetes'))";
    let mut python = Command::new(folder.join("bin/python"));
    capture(python.args(["-c", script])).is_ok_and(|version| version.trim() == CLIENT)
}
