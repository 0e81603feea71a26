//! Real `kubectl`s of several versions, driven through every command against real containers.
//!
//! The commands stand in `commands/*.txt` as transcripts: what is typed, how it ends, what must be
//! among its output ([`transcript`] explains the notation). Each version works in namespaces of its
//! own, so that they go side by side; what concerns nodes goes one version after the other.
//!
//! ```text
//! kubectl on the machine -> balancer -> s1 (server and agent) -> w1 (agent)
//! ```
//!
//! `pods` holds what upstream's conformance tests ask of a node, one pod per subject.
//!
//! The oldest and the newest kubectl that are found are driven; `KONTIKI_KUBECTLS=all`, or a list
//! such as `1.29,1.30`, says otherwise; `KONTIKI_TRANSCRIPTS=writing` plays one transcript only.
//! What goes on for as long as somebody listens (exec with a terminal, attach, port-forward, proxy,
//! `logs -f`) is in [`conversations`].

mod conversations;
mod stage;
mod transcript;

use std::thread;

use stage::{Kubectl, Stage};

/// Independent of one another.
const SIDE_BY_SIDE: [(&str, &str); 7] = [
    ("reading", include_str!("commands/reading.txt")),
    ("creating", include_str!("commands/creating.txt")),
    ("writing", include_str!("commands/writing.txt")),
    ("workloads", include_str!("commands/workloads.txt")),
    ("containers", include_str!("commands/containers.txt")),
    ("pods", include_str!("commands/pods.txt")),
    ("access", include_str!("commands/access.txt")),
];

const ONE_BY_ONE: (&str, &str) = ("nodes", include_str!("commands/nodes.txt"));

#[test]
fn every_command_works_with_every_kubectl() {
    let Some(versions) = stage::kubectls() else { return };
    let stage = Stage::start();
    let mut failures: Vec<String> = thread::scope(|scope| {
        let all = versions.iter().flat_map(|kubectl| SIDE_BY_SIDE.map(|one| (kubectl, one)));
        let runs: Vec<_> = all
            .map(|(kubectl, one)| {
                let stage = &stage;
                scope.spawn(move || drive(stage, kubectl, one))
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().expect("transcripts do not panic")).collect()
    });
    for kubectl in &versions {
        failures.extend(drive(&stage, kubectl, ONE_BY_ONE));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Plays a transcript, unless `KONTIKI_TRANSCRIPTS` names others.
fn drive(stage: &Stage, kubectl: &Kubectl, (name, text): (&str, &str)) -> Vec<String> {
    let wanted = std::env::var("KONTIKI_TRANSCRIPTS").unwrap_or_default();
    if wanted.is_empty() || wanted.split(',').any(|wanted| wanted == name) {
        return transcript::run(&stage.place(kubectl, name), name, text);
    }
    Vec::new()
}

#[test]
fn conversations_cross_nodes_with_every_kubectl() {
    let Some(versions) = stage::kubectls() else { return };
    let stage = Stage::start();
    thread::scope(|scope| {
        for kubectl in &versions {
            scope.spawn(|| {
                let place = stage.place(kubectl, "talks");
                place.write("pods.yaml", &place.fill(conversations::PODS));
                conversations::all(&place);
            });
        }
    });
}
