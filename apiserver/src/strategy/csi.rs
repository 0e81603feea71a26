//! What drivers of storage say of themselves, of nodes, of what they have left, and of what is
//! attached where.

use serde_json::{Value, json};

use super::{
    declared::{Declared, PLAIN},
    storage_class::{driver, parameters},
    value,
};

/// The strategy of `csidrivers`.
pub(super) static DRIVERS: Declared = Declared {
    defaults: |object: &mut Value| {
        let spec = value::child_or_new(object, "spec");
        for (flag, to) in [
            ("attachRequired", true),
            ("podInfoOnMount", false),
            ("storageCapacity", false),
            ("requiresRepublish", false),
            ("seLinuxMount", false),
        ] {
            value::default(spec, flag, to);
        }
        value::default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec["volumeLifecycleModes"].as_array().is_none_or(Vec::is_empty) {
            value::set(spec, "volumeLifecycleModes", json!(["Persistent"]));
        }
    },
    check: |check, driver| {
        let spec = driver.at("spec");
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        check.chosen_if_set(&spec.at("fsGroupPolicy"), &policies);
        for mode in spec.at("volumeLifecycleModes").items() {
            check.one_of(&mode.path, mode.text(), &["Ephemeral", "Persistent"]);
        }
        for token in spec.at("tokenRequests").items() {
            let seconds = token.at("expirationSeconds");
            if seconds.number().is_some_and(|seconds| seconds < 600) {
                let detail = "may not specify a duration less than 10 minutes";
                check.invalid(&seconds.path, seconds.value.clone(), detail);
            }
        }
    },
    check_update: |check, new, old| {
        for field in ["attachRequired", "volumeLifecycleModes"] {
            check.fixed(&new.at("spec").at(field), &old.at("spec").at(field));
        }
    },
    ..PLAIN
};

/// The strategy of `csinodes`.
pub(super) static NODES: Declared = Declared {
    check: |check, node| {
        let mut seen = Vec::new();
        for one in node.at("spec").at("drivers").items() {
            driver(check, &one.at("name"));
            if seen.contains(&one.at("name").text()) {
                let name = one.at("name");
                check.push(kontiki_api::field::Error::duplicate(&name.path, name.text()));
            }
            seen.push(one.at("name").text());
            if one.at("nodeID").is_empty() {
                check.required(&one.at("nodeID").path, "");
            }
            check.counts(&one.at("allocatable"), &["count"]);
        }
    },
    ..PLAIN
};

/// The strategy of `csistoragecapacities`.
pub(super) static CAPACITIES: Declared = Declared {
    check: |check, capacity| {
        let class = capacity.at("storageClassName");
        check.named(&class.path, class.text(), kontiki_api::names::dns1123_subdomain);
        for field in ["capacity", "maximumVolumeSize"] {
            let amount = capacity.at(field);
            if amount.is_set() {
                check.quantity(&amount.path, &super::check::amount_text(amount.value));
            }
        }
        if capacity.at("nodeTopology").is_set() {
            check.selects(&capacity.at("nodeTopology"));
        }
    },
    check_update: |check, new, old| {
        for field in ["nodeTopology", "storageClassName"] {
            check.fixed(&new.at(field), &old.at(field));
        }
    },
    ..PLAIN
};

/// The strategy of `volumeattachments`.
pub(super) static ATTACHMENTS: Declared = Declared {
    check: |check, attachment| {
        let spec = attachment.at("spec");
        driver(check, &spec.at("attacher"));
        let source = spec.at("source");
        let (inline, name) = (source.at("inlineVolumeSpec"), source.at("persistentVolumeName"));
        match (inline.is_set(), !name.is_empty()) {
            (false, false) => check.required(
                &source.path,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
            (true, true) => check.invalid(
                &source.path,
                source.value.clone(),
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            ),
            _ => {}
        }
        let node = spec.at("nodeName");
        check.named(&node.path, node.text(), kontiki_api::names::dns1123_subdomain);
    },
    check_update: |check, new, old| check.fixed(&new.at("spec"), &old.at("spec")),
    create: |object, _| value::set(object, "status", json!({"attached": false})),
    has_status: true,
    status_metadata: &[],
    unconditional: false,
    ..PLAIN
};

/// The strategy of `volumeattributesclasses`.
pub(super) static ATTRIBUTES: Declared = Declared {
    check: |check, class| {
        driver(check, &class.at("driverName"));
        if class.at("parameters").is_empty() {
            let detail = "must contain at least one key/value pair";
            check.required(&class.at("parameters").path, detail);
        }
        parameters(check, &class.at("parameters"));
    },
    check_update: |check, new, old| {
        for field in ["driverName", "parameters"] {
            if new.at(field).value != old.at(field).value {
                let detail = format!("updates to {field} are forbidden.");
                check.forbidden(&new.at(field).path, &detail);
            }
        }
    },
    ..PLAIN
};
