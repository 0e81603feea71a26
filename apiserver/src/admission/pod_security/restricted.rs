//! The checks of the restricted level: pods harden themselves explicitly.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    baseline,
    checks::{Pod, Violation, containers, plural, quoted, setters},
};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn privilege_escalation(pod: Pod<'_>) -> Option<Violation> {
    let names =
        pod.named(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if names.is_empty() {
        return None;
    }
    let who = containers(&names);
    Violation::new(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

pub(super) fn privilege_escalation_but_windows(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { privilege_escalation(pod) }
}

pub(super) fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    let mut forbidden = BTreeSet::new();
    let names_of = |value: &'_ Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|name| text(name).to_owned()).collect()
    };
    let keeping = pod.named(|container| {
        let dropped = names_of(&container["securityContext"]["capabilities"]["drop"]);
        !dropped.iter().any(|name| name == "ALL")
    });
    let adding = pod.named(|container| {
        let mut added = names_of(&container["securityContext"]["capabilities"]["add"]);
        added.retain(|name| name != "NET_BIND_SERVICE");
        let adds = !added.is_empty();
        forbidden.extend(added);
        adds
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let what = quoted(&forbidden.into_iter().collect::<Vec<_>>());
        let who = containers(&adding);
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    if details.is_empty() {
        return None;
    }
    Violation::new("unrestricted capabilities", details.join("; "))
}

pub(super) fn capabilities_but_windows(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { capabilities(pod) }
}

const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What else a volume can be, as far as upstream's message names it.
const OTHER_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub(super) fn volumes(pod: Pod<'_>) -> Option<Violation> {
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let is = |kind: &&&str| !volume[**kind].is_null();
        if VOLUMES.iter().find(is).is_some() {
            continue;
        }
        names.push(text(&volume["name"]));
        types.insert(OTHER_VOLUMES.iter().find(is).copied().unwrap_or("unknown"));
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", types.len()),
        quoted(&types.into_iter().collect::<Vec<_>>())
    );
    Violation::new("restricted volume types", detail)
}

pub(super) fn run_as_non_root(pod: Pod<'_>) -> Option<Violation> {
    let set = |context: &Value| context["securityContext"]["runAsNonRoot"].as_bool();
    const REASON: &str = "runAsNonRoot != true";
    let own = set(pod.spec);
    let explicit = pod.named(|container| set(container) == Some(false));
    if let Some(who) = setters(own == Some(false), &explicit) {
        return Violation::new(
            REASON,
            format!("{who} must not set securityContext.runAsNonRoot=false"),
        );
    }
    let implicit = pod.named(|container| set(container).is_none() && own != Some(true));
    if implicit.is_empty() {
        return None;
    }
    let who = containers(&implicit);
    Violation::new(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
}

pub(super) fn run_as_non_root_of_host_users(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { run_as_non_root(pod) }
}

pub(super) fn run_as_user(pod: Pod<'_>) -> Option<Violation> {
    let bad = |context: &Value| context["securityContext"]["runAsUser"] == 0;
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn run_as_user_of_host_users(pod: Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { run_as_user(pod) }
}

pub(super) fn seccomp_profile(pod: Pod<'_>) -> Option<Violation> {
    let explicit = baseline::seccomp_profile(pod);
    if explicit.is_some() {
        return explicit;
    }
    let unset = |context: &Value| context["securityContext"]["seccompProfile"].is_null();
    let implicit = pod.named(|container| unset(container) && unset(pod.spec));
    if implicit.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\"",
        containers(&implicit)
    );
    Violation::new("seccompProfile", detail)
}

pub(super) fn seccomp_profile_but_windows(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { seccomp_profile(pod) }
}
