//! What may change in a pod through endpoints of their own: containers added for a look inside, and
//! what containers may use.

use kontiki_api::{field::Error, names};
use serde_json::Value;

use super::quality;
use crate::{
    registry::{keep_metadata, restore},
    strategy::{check::Check, place::Place, value},
};

const PART_OF_ADDED: &str = "ephemeralcontainers";
const ADDED: &str = "ephemeralContainers";
/// What makes no sense for a container that was not there from the start.
const NOT_FOR_ADDED: [&str; 7] = [
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "startupProbe",
];
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Puts back what the part may not change.
pub(super) fn prepare(part: &str, object: &mut Value, old: &Value) {
    let wanted = object["spec"].take();
    restore(object, old, "spec");
    restore(object, old, "status");
    keep_metadata(object, old);
    let Some(spec) = value::child(object, "spec") else { return };
    if part == PART_OF_ADDED {
        restore(spec, &wanted, ADDED);
        return;
    }
    for list in ["initContainers", "containers"] {
        let wanted = wanted[list].as_array().cloned().unwrap_or_default();
        for container in value::items(spec, list) {
            let name = container["name"].clone();
            let Some(same) = wanted.iter().find(|one| one["name"] == name) else { continue };
            restore(container, same, "resources");
            restore(container, same, "resizePolicy");
        }
    }
}

/// Checks what the part changes.
pub(super) fn check(part: &str, check: &mut Check, new: &Place<'_>, old: &Place<'_>) {
    if part == PART_OF_ADDED {
        added(check, &new.at("spec"), &old.at("spec"));
    } else {
        resized(check, new, old);
    }
}

fn added(check: &mut Check, spec: &Place<'_>, old: &Place<'_>) {
    let mut taken: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        taken.extend(spec.at(list).items().map(|one| value::text(one.value, "name")));
    }
    let others = taken.clone();
    for container in spec.at(ADDED).items() {
        let name = container.at("name");
        check.named(&name.path, name.text(), names::dns1123_label);
        if taken.contains(&name.text()) {
            check.push(Error::duplicate(&name.path, name.text()));
        }
        taken.push(name.text());
        if container.at("image").is_empty() {
            check.required(&container.at("image").path, "");
        }
        let target = container.at("targetContainerName");
        if !target.is_empty() && !others.contains(&target.text()) {
            check.push(Error::not_found(&target.path, target.text()));
        }
        for field in NOT_FOR_ADDED {
            if !container.at(field).is_empty() {
                let detail = "cannot be set for an Ephemeral Container";
                check.forbidden(&container.at(field).path, detail);
            }
        }
        for mount in container.at("volumeMounts").items() {
            if !mount.at("subPath").is_empty() {
                let detail = "cannot be set for an Ephemeral Container";
                check.forbidden(&mount.at("subPath").path, detail);
            }
        }
    }
    for before in old.at(ADDED).items() {
        let name = before.at("name");
        let now = spec.at(ADDED).items().find(|one| one.at("name").text() == name.text());
        let word = match now {
            None => "removed",
            Some(now) if now.value != before.value => "changed",
            Some(_) => continue,
        };
        let detail = format!("existing ephemeral containers {:?} may not be {word}\n", name.text());
        check.forbidden(&spec.at(ADDED).path, &detail);
    }
}

fn resized(check: &mut Check, new: &Place<'_>, old: &Place<'_>) {
    let class = quality::class(new.at("spec").value);
    let before = old.at("status").at("qosClass");
    if !before.is_empty() && before.text() != class {
        let detail = "Pod QOS Class may not change as a result of resizing";
        check.invalid(&new.at("spec").path, class, detail);
    }
    for list in ["containers", "initContainers"] {
        let was: Vec<Place<'_>> = old.at("spec").at(list).items().collect();
        for (container, was) in new.at("spec").at(list).items().zip(&was) {
            for kind in ["limits", "requests"] {
                let amounts = container.at("resources").at(kind);
                let before = was.at("resources").at(kind);
                changes(check, kind, &amounts, &before);
            }
        }
    }
}

fn changes(check: &mut Check, kind: &str, new: &Place<'_>, old: &Place<'_>) {
    for (name, amount) in old.entries() {
        let now = new.at(name);
        if !now.is_set() {
            check.forbidden(&new.path, &format!("resource {kind} cannot be removed"));
        } else if now.value != amount.value && !RESIZABLE.contains(&name) {
            check.forbidden(&new.path, "only cpu and memory resources are mutable");
        }
    }
    for (name, _) in new.entries() {
        if !old.at(name).is_set() && !RESIZABLE.contains(&name) {
            check.forbidden(&new.path, "only cpu and memory resources are mutable");
        }
    }
}
