//! PriorityClasses: whose pods make room for whose.

use kontiki_api::meta;
use serde_json::Value;

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    place::Place,
    value,
};

/// Highest priority that is not the system's own.
const USER_MAX: i64 = 1_000_000_000;
/// The classes that every cluster has, with what they are for.
pub(crate) const SYSTEM: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another \
         node if necessary.",
    ),
];

/// The strategy of `priorityclasses`.
pub(super) static STRATEGY: Declared = Declared {
    defaults: |object: &mut Value| {
        value::default(object, "preemptionPolicy", "PreemptLowerPriority")
    },
    check,
    check_update: |check, new, old| {
        let (now, was) = (new.at("value"), old.at("value"));
        if now.number().unwrap_or_default() != was.number().unwrap_or_default() {
            check.forbidden(&now.path, "may not be changed in an update.");
        }
        check.fixed(&new.at("preemptionPolicy"), &old.at("preemptionPolicy"));
    },
    has_generation: true,
    ..PLAIN
};

fn check(check: &mut Check, class: &Place<'_>) {
    let (name, value) = (meta::name(class.value), class.at("value"));
    let number = value.number().unwrap_or_default();
    if name.starts_with("system-") {
        let known = SYSTEM.iter().find(|(system, ..)| *system == name);
        let wrong = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, wanted, _)) if *wanted != number => {
                Some(format!("value of {name} PriorityClass must be {wanted}"))
            }
            Some(_) if class.at("globalDefault").flag() => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            let detail = format!(
                "priority class names with 'system-' prefix are reserved for system use only. \
                 error: {wrong}"
            );
            check.forbidden(&class.at("metadata").at("name").path, &detail);
        }
    } else if number > USER_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        check.forbidden(&value.path, &detail);
    }
    let policy = class.at("preemptionPolicy");
    if policy.is_set() {
        check.one_of(&policy.path, policy.text(), &["Never", "PreemptLowerPriority"]);
    }
}
