//! PodDisruptionBudgets: how many of some pods must stay when others make room.

use super::{
    check::Check,
    declared::{Declared, WANTED},
    place::Place,
};

/// The strategy of `poddisruptionbudgets`.
pub(super) static STRATEGY: Declared = Declared {
    check,
    check_status: |check, new, _| {
        let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        check.counts(&new.at("status"), &counts);
    },
    unconditional: false,
    ..WANTED
};

fn check(check: &mut Check, budget: &Place<'_>) {
    let spec = budget.at("spec");
    let (least, most) = (spec.at("minAvailable"), spec.at("maxUnavailable"));
    if least.is_set() && most.is_set() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        check.invalid(&spec.path, spec.value.clone(), detail);
    }
    for share in [&least, &most] {
        check.share(share);
        check.not_above_all(share);
    }
    check.selects(&spec.at("selector"));
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    check.chosen_if_set(&spec.at("unhealthyPodEvictionPolicy"), &policies);
}
