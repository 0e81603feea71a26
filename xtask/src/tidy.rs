//! The house rules that no lint knows, as a table of checks over the repository's own files.
//!
//! Each check is a pure function from the tree to complaints. They run as a test, as
//! `cargo xtask tidy` and first in `cargo xtask ci`.

mod edges;
mod files;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::environment::{Environment, capture, say};

/// A file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// Relative to the clone's root, with `/`.
    pub(crate) path: String,
    /// Its text; binary files are left out of the tree.
    pub(crate) text: String,
}

/// A rule: its name and the complaints it has about a tree.
struct Check {
    name: &'static str,
    complaints: fn(&[SourceFile]) -> Vec<String>,
}

const CHECKS: &[Check] = &[
    Check { name: "import rules", complaints: edges::forbidden },
    Check { name: "inherited lints", complaints: files::lints_not_inherited },
    Check { name: "file length", complaints: files::too_long },
    Check { name: "machine paths", complaints: files::machine_paths },
    Check { name: "module docs", complaints: files::without_module_docs },
    Check { name: "module files", complaints: files::named_mod_rs },
];

/// `cargo xtask tidy`
pub(crate) fn run(environment: &Environment, _arguments: &[String]) -> Result<()> {
    let complaints = complaints(&tree(&environment.root)?);
    for complaint in &complaints {
        say(complaint);
    }
    if !complaints.is_empty() {
        bail!("tidy: {} complaints", complaints.len());
    }
    Ok(())
}

fn complaints(tree: &[SourceFile]) -> Vec<String> {
    let of_check = |check: &Check| {
        let name = check.name;
        (check.complaints)(tree).into_iter().map(move |text| format!("tidy, {name}: {text}"))
    };
    CHECKS.iter().flat_map(of_check).collect()
}

/// All text files that are, or are about to be, in the repository.
fn tree(root: &Path) -> Result<Vec<SourceFile>> {
    let listing = capture(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(root),
    )?;
    let mut files = Vec::new();
    for path in listing.lines() {
        let full = root.join(path);
        if !full.is_file() {
            continue; // Deleted, but not committed yet.
        }
        let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let root = crate::environment::root().unwrap();
        let complaints = complaints(&tree(&root).unwrap());
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}
