//! Rules about single files: how they open, how long they are, what must not be in them.

use super::SourceFile;

/// Lines of a file without its tests; 300 is the target.
const LINES_MAX: usize = 900;

/// Folders of one machine or another, which no file of a product names. Split, so that this table
/// is not found by itself.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];

fn sources(tree: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    tree.iter().filter(|file| file.path.ends_with(".rs"))
}

/// Crates that would escape the workspace's lints.
pub(super) fn lints_not_inherited(tree: &[SourceFile]) -> Vec<String> {
    tree.iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .filter(|file| !file.text.contains("[lints]\nworkspace = true"))
        .map(|file| format!("{} does not inherit the workspace's lints", file.path))
        .collect()
}

/// Files that want to be split.
pub(super) fn too_long(tree: &[SourceFile]) -> Vec<String> {
    sources(tree)
        .map(|file| (file, lines_without_tests(&file.text)))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{} has {lines} lines, {LINES_MAX} are allowed", file.path))
        .collect()
}

fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let opens_tests =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {");
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
}

/// Modules that do not say what they are for. A module of tests is explained by its parent.
pub(super) fn without_module_docs(tree: &[SourceFile]) -> Vec<String> {
    sources(tree)
        .filter(|file| !file.text.starts_with("//!") && !file.path.ends_with("/tests.rs"))
        .map(|file| format!("{} does not open with //! prose", file.path))
        .collect()
}

/// `mod.rs` files: `foo.rs` stands beside `foo/`.
pub(super) fn named_mod_rs(tree: &[SourceFile]) -> Vec<String> {
    sources(tree)
        .filter(|file| file.path.ends_with("/mod.rs"))
        .map(|file| format!("{} should stand beside its folder", file.path))
        .collect()
}

/// Paths that exist only where somebody wrote the file.
pub(super) fn machine_paths(tree: &[SourceFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree {
        for (index, line) in file.text.lines().enumerate() {
            for path in MACHINE_PATHS.iter().filter(|path| names(line, path)) {
                complaints.push(format!("{}:{} names {path}", file.path, index + 1));
            }
        }
    }
    complaints
}

/// Whether an absolute path starting with `path` stands in the line.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || "\"'`(=:,".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_machine_paths_are_named() {
        let path = MACHINE_PATHS[0];
        let cases = [
            (format!("cd {path}kontiki"), true),
            (format!("let p = \"{path}x\";"), true),
            (format!("run/containerd{path}fs"), false),
        ];
        for (line, found) in cases {
            assert_eq!(names(&line, path), found, "{line}");
        }
    }

    #[test]
    fn tests_are_not_counted() {
        assert_eq!(lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(lines_without_tests("a\nb\n#[cfg(test)]\nuse x;\n"), 4);
    }
}
