//! The rules of the levels: one row per check and range of versions, in upstream's order, so that
//! a refusal reads word for word as it does there.

use serde_json::Value;

use super::{
    baseline,
    policy::{Level, LevelVersion, Version},
    restricted,
};

/// A pod as far as the checks look at it: metadata and spec, of a pod or of a template.
#[derive(Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// All containers in the order in which upstream visits them.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .filter_map(move |field| self.spec[field].as_array())
            .flatten()
    }

    /// Names of the containers that meet a condition.
    pub(super) fn named(self, mut bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        let all = self.containers().filter(|container| bad(container));
        all.map(|container| container["name"].as_str().unwrap_or_default()).collect()
    }

    /// Whether it runs in a user namespace of its own, which some rules relax for since 1.35.
    pub(super) fn has_own_users(self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// Whether it runs on Windows, which knows no capabilities and no seccomp.
    pub(super) fn is_windows(self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

/// What a pod does that it must not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// In short.
    pub(super) reason: String,
    /// Where and how.
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn new(reason: impl Into<String>, detail: impl Into<String>) -> Option<Violation> {
        Some(Violation { reason: reason.into(), detail: detail.into() })
    }
}

type Judge = fn(Pod<'_>) -> Option<Violation>;

/// One row.
struct Check {
    level: Level,
    /// The first minor version that has it.
    since: u32,
    /// The first that has it no more.
    until: u32,
    /// From this version on the restricted level has a stricter check of the same.
    covered_since: u32,
    judge: Judge,
}

const NEVER: u32 = u32::MAX;

const fn baseline(since: u32, until: u32, covered_since: u32, judge: Judge) -> Check {
    Check { level: Level::Baseline, since, until, covered_since, judge }
}

const fn restricted(since: u32, until: u32, judge: Judge) -> Check {
    Check { level: Level::Restricted, since, until, covered_since: NEVER, judge }
}

static CHECKS: &[Check] = &[
    baseline(0, NEVER, NEVER, baseline::app_armor_profile),
    baseline(0, NEVER, 22, baseline::capabilities),
    baseline(0, NEVER, NEVER, baseline::host_namespaces),
    baseline(0, NEVER, 0, baseline::host_path_volumes),
    baseline(0, NEVER, NEVER, baseline::host_ports),
    baseline(34, NEVER, NEVER, baseline::host_probes),
    baseline(0, NEVER, NEVER, baseline::privileged),
    baseline(0, 35, NEVER, baseline::proc_mount),
    baseline(35, NEVER, 35, baseline::proc_mount_of_host_users),
    baseline(0, 31, NEVER, baseline::se_linux_options),
    baseline(31, NEVER, NEVER, baseline::se_linux_options_since_31),
    baseline(0, 19, NEVER, baseline::seccomp_annotations),
    baseline(19, NEVER, 19, baseline::seccomp_profile),
    baseline(0, 27, NEVER, baseline::sysctls),
    baseline(27, 29, NEVER, baseline::sysctls_since_27),
    baseline(29, 32, NEVER, baseline::sysctls_since_29),
    baseline(32, NEVER, NEVER, baseline::sysctls_since_32),
    baseline(0, NEVER, NEVER, baseline::windows_host_process),
    restricted(8, 25, restricted::privilege_escalation),
    restricted(25, NEVER, restricted::privilege_escalation_but_windows),
    restricted(22, 25, restricted::capabilities),
    restricted(25, NEVER, restricted::capabilities_but_windows),
    restricted(35, NEVER, baseline::proc_mount),
    restricted(0, NEVER, restricted::volumes),
    restricted(0, 35, restricted::run_as_non_root),
    restricted(35, NEVER, restricted::run_as_non_root_of_host_users),
    restricted(23, 35, restricted::run_as_user),
    restricted(35, NEVER, restricted::run_as_user_of_host_users),
    restricted(19, 25, restricted::seccomp_profile),
    restricted(25, NEVER, restricted::seccomp_profile_but_windows),
];

/// What a pod does against a policy.
pub(super) fn evaluate(policy: LevelVersion, pod: Pod<'_>) -> Vec<Violation> {
    let version = policy.version;
    let holds = |check: &&Check| {
        let current = version.reaches(check.since) && !version.reaches_before(check.until);
        let covered = policy.level == Level::Restricted && version.reaches(check.covered_since);
        let covered = covered && check.covered_since != NEVER;
        policy.level >= check.level && current && !covered
    };
    CHECKS.iter().filter(holds).filter_map(|check| (check.judge)(pod)).collect()
}

impl Version {
    /// Whether rules that ended with a minor version are over.
    fn reaches_before(self, until: u32) -> bool {
        until != NEVER && self.reaches(until)
    }
}

/// All violations in one text.
pub(super) fn detail(violations: &[Violation]) -> String {
    let texts = violations.iter().map(|violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// All violations in short.
pub(super) fn reason(violations: &[Violation]) -> String {
    let texts: Vec<&str> = violations.iter().map(|violation| violation.reason.as_str()).collect();
    texts.join(", ")
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    let all: Vec<String> = names.iter().map(|name| format!("{:?}", name.as_ref())).collect();
    all.join(", ")
}

/// The word in the number that fits.
pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Who did something: the pod itself, and these containers.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}
