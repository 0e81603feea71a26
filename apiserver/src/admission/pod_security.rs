//! Pods keep to the security level that their namespace's labels ask for.
//!
//! Enforcement refuses pods; the audit and warn modes only tell, and look at workloads' templates
//! too, so that an author hears of it when the template is written and not when its pods fail.

mod baseline;
mod checks;
mod policy;
mod restricted;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use kontiki_api::{Status, meta};
use serde_json::Value;

use self::{
    checks::{Pod, detail, evaluate, reason},
    policy::{Level, LevelVersion, Policy},
};
use super::{Attempt, Operation, Step};
use crate::core::Core;

/// Most pods looked at when a namespace's level is raised, as upstream.
const PODS_MAX: usize = 3000;
/// Subresources of pods that do not change what runs.
const IGNORED: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

pub(super) struct PodSecurity;

#[async_trait]
impl Step for PodSecurity {
    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        if attempt.operation == Operation::Delete {
            return Ok(());
        }
        let row = &attempt.resource.row;
        match (row.group.as_ref(), row.resource.as_ref()) {
            ("", "namespaces") if attempt.subresource.is_empty() => namespace(core, attempt),
            ("", "pods") => {
                if IGNORED.contains(&attempt.subresource)
                    || attempt.old.is_some_and(|old| !matters(attempt.object, old))
                {
                    return Ok(());
                }
                let pod =
                    Pod { metadata: &attempt.object["metadata"], spec: &attempt.object["spec"] };
                pod_like(core, attempt, pod, true).await
            }
            (group, resource) if attempt.subresource.is_empty() => {
                match template(group, resource, attempt.object) {
                    Some(pod) => pod_like(core, attempt, pod, false).await,
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// The pod template of a workload.
fn template<'a>(group: &str, resource: &str, object: &'a Value) -> Option<Pod<'a>> {
    let template = match (group, resource) {
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    let spec = template.get("spec")?;
    Some(Pod { metadata: &template["metadata"], spec })
}

/// Judges a pod or a template by its namespace's policy.
async fn pod_like(
    core: &Core,
    attempt: &Attempt<'_>,
    pod: Pod<'_>,
    enforce: bool,
) -> Result<(), Status> {
    let Some(found) = core.find("", "namespaces", "", attempt.namespace).await? else {
        let why = format!("failed to lookup namespace {}", attempt.namespace);
        return Err(Status::internal_error(&why));
    };
    if !found.labels.iter().any(|(key, _)| key.starts_with(policy::LABELS)) {
        return Ok(());
    }
    let (policy, errors) = Policy::of(&found.value());
    if !errors.is_empty() {
        let why = format!("Failed to parse policy: {}", errors.aggregate());
        attempt.writer.notes.annotate("pod-security.kubernetes.io/error", why);
    }
    let verdict = judge(policy, pod, enforce);
    let notes = &attempt.writer.notes;
    if enforce {
        let level = policy.enforce.to_string();
        notes.annotate("pod-security.kubernetes.io/enforce-policy", level);
    }
    if let Some(violations) = verdict.audit {
        notes.annotate("pod-security.kubernetes.io/audit-violations", violations);
    }
    if let Some(refusal) = verdict.refusal {
        return Err(attempt.forbidden(&refusal));
    }
    if let Some(warning) = verdict.warning {
        notes.warn(warning);
    }
    Ok(())
}

/// What a policy has to say of a pod.
#[derive(Debug, Default)]
struct Verdict {
    refusal: Option<String>,
    audit: Option<String>,
    warning: Option<String>,
}

fn judge(policy: Policy, pod: Pod<'_>, enforce: bool) -> Verdict {
    let against = |wanted: LevelVersion| {
        let violations = evaluate(wanted, pod);
        let text =
            || format!("violate PodSecurity {:?}: {}", wanted.to_string(), detail(&violations));
        (!violations.is_empty()).then(text)
    };
    let mut verdict = Verdict::default();
    if enforce && policy.enforce.level != Level::Privileged {
        let refusal = against(policy.enforce);
        verdict.refusal = refusal.map(|text| text.replacen("violate ", "violates ", 1));
    }
    if policy.audit.level != Level::Privileged {
        verdict.audit = against(policy.audit).map(|text| format!("would {text}"));
    }
    // Whoever is refused need not be warned.
    if verdict.refusal.is_none() && policy.warn.level != Level::Privileged {
        verdict.warning = against(policy.warn).map(|text| format!("would {text}"));
    }
    verdict
}

/// Whether an update changes what the checks look at: images, seccomp annotations, containers.
fn matters(pod: &Value, old: &Value) -> bool {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    if meta::annotation(pod, POD) != meta::annotation(old, POD) {
        return true;
    }
    let list = |pod: &'_ Value, field: &str| -> Vec<Value> {
        pod["spec"][field].as_array().cloned().unwrap_or_default()
    };
    let differs = |new: &Value, before: &Value| {
        let key = format!("{CONTAINER}{}", new["name"].as_str().unwrap_or_default());
        new["image"] != before["image"]
            || meta::annotation(pod, &key) != meta::annotation(old, &key)
    };
    for field in ["containers", "initContainers"] {
        let (new, before) = (list(pod, field), list(old, field));
        if new.len() != before.len() || new.iter().zip(&before).any(|(a, b)| differs(a, b)) {
            return true;
        }
    }
    let before = list(old, "ephemeralContainers");
    list(pod, "ephemeralContainers").iter().any(|new| {
        let same = before.iter().find(|other| other["name"] == new["name"]);
        same.is_none_or(|same| differs(new, same))
    })
}

/// Checks the labels of a namespace, and tells which of its pods a stricter level would refuse.
fn namespace(core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
    let (policy, errors) = Policy::of(attempt.object);
    let before = attempt.old.map(Policy::of);
    let known = before.as_ref().is_some_and(|(_, old)| old.aggregate() == errors.aggregate());
    if !errors.is_empty() && !known {
        return Err(Status::invalid("", "Namespace", attempt.name, &errors));
    }
    let Some((old, _)) = before else { return Ok(()) };
    let relaxed =
        policy.enforce.version == old.enforce.version && policy.enforce.level <= old.enforce.level;
    if policy.enforce.level == Level::Privileged || relaxed {
        return Ok(());
    }
    for warning in existing(core, attempt.name, policy.enforce) {
        attempt.writer.notes.warn(warning);
    }
    Ok(())
}

fn existing(core: &Core, namespace: &str, enforce: LevelVersion) -> Vec<String> {
    let pods = core.in_namespace("", "pods", namespace);
    // What is wrong, the first pod it is wrong with, and how many there are.
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let value = pod.value();
        let judged = Pod { metadata: &value["metadata"], spec: &value["spec"] };
        let violations = evaluate(enforce, judged);
        if !violations.is_empty() {
            let entry = found.entry(reason(&violations)).or_insert((pod.name().to_owned(), 0));
            entry.1 += 1;
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} \
             existing pods",
            pods.len()
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \
             {:?}",
            enforce.to_string()
        ));
    }
    let mut pods: Vec<String> = found
        .into_iter()
        .map(|(reason, (first, count))| match count {
            1 => format!("{first}: {reason}"),
            2 => format!("{first} (and 1 other pod): {reason}"),
            _ => format!("{first} (and {} other pods): {reason}", count - 1),
        })
        .collect();
    pods.sort_unstable();
    warnings.extend(pods);
    warnings
}
