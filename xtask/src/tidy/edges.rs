//! Who may import whom, read from the crates' manifests.

use super::SourceFile;

/// The workspace's rooms and what each may depend on, as `docs/ARCHITECTURE.md` draws it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("apiserver", &["api", "base", "raft"]),
    ("base", &[]),
    ("bench", &["api", "base", "client"]),
    ("chaos", &["api", "base", "client", "raft"]),
    (
        "cli",
        &[
            "api",
            "apiserver",
            "base",
            "client",
            "controllers",
            "kubelet",
            "netproxy",
            "raft",
            "scheduler",
        ],
    ),
    ("client", &["api", "base"]),
    ("controllers", &["api", "base", "client"]),
    ("kubelet", &["api", "base", "client"]),
    ("netproxy", &["api", "base", "client"]),
    ("raft", &["base"]),
    ("raft/histogram", &[]),
    ("scheduler", &["api", "base", "client"]),
    ("tests", &["api", "base", "client"]),
    ("xtask", &[]),
];

/// Dependencies between rooms that the table does not allow.
pub(super) fn forbidden(tree: &[SourceFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in tree {
        let Some(room) = file.path.strip_suffix("/Cargo.toml") else { continue };
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == room) else {
            complaints.push(format!("{room} is not in the table of rooms"));
            continue;
        };
        // A crate may name itself: its tests switch on a feature of it that way.
        let strange = |name: &&str| *name != room && !allowed.contains(name);
        for dependency in dependencies(&file.text).filter(strange) {
            complaints.push(format!("{room} -> {dependency}: forbidden edge"));
        }
    }
    complaints
}

/// Rooms that a manifest depends on, for its code or its tests.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    manifest.lines().filter_map(|line| {
        let rest = line.strip_prefix("kontiki-")?;
        rest.split(['.', ' ', '=']).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_component_must_not_reach_into_the_api_server() {
        let tree = [
            manifest(
                "scheduler/Cargo.toml",
                "[dependencies]\nkontiki-apiserver.workspace = true\n",
            ),
            manifest("client/Cargo.toml", "[dependencies]\nkontiki-api = { workspace = true }\n"),
            manifest("toys/Cargo.toml", ""),
        ];
        assert_eq!(
            forbidden(&tree),
            ["scheduler -> apiserver: forbidden edge", "toys is not in the table of rooms"]
        );
    }
}
