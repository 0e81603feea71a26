//! DaemonSets: one pod of a template on every node that fits.

use kontiki_api::meta;
use serde_json::Value;

use super::{
    check::{Check, percent},
    declared::{Declared, WANTED},
    place::Place,
    replica_set, template, value,
};

/// Counts changes of the template, as upstream's first API versions did.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The strategy of `daemonsets`.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    create: |object, _| count_templates(object, 1),
    update: |object, old| {
        let before = meta::annotation(old, TEMPLATE_GENERATION);
        let before: i64 = before.and_then(|text| text.parse().ok()).unwrap_or(1);
        let changed = object["spec"]["template"] != old["spec"]["template"];
        count_templates(object, before + i64::from(changed));
    },
    check,
    check_update: |check, new, old| {
        check.fixed(&new.at("spec").at("selector"), &old.at("spec").at("selector"));
    },
    check_status: |check, new, _| {
        check.counts(
            &new.at("status"),
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ],
        );
    },
    ..WANTED
};

fn count_templates(object: &mut Value, generation: i64) {
    meta::set_annotation(object, TEMPLATE_GENERATION, &generation.to_string());
}

fn defaults(object: &mut Value) {
    let spec = value::child_or_new(object, "spec");
    value::default(spec, "revisionHistoryLimit", 10);
    let strategy = value::child_or_new(spec, "updateStrategy");
    value::default(strategy, "type", "RollingUpdate");
    if value::text(strategy, "type") == "RollingUpdate" {
        let rolling = value::child_or_new(strategy, "rollingUpdate");
        value::default(rolling, "maxUnavailable", 1);
        value::default(rolling, "maxSurge", 0);
    }
    replica_set::template_defaults(spec);
}

fn check(check: &mut Check, daemon_set: &Place<'_>) {
    let spec = daemon_set.at("spec");
    template::selected(check, &spec, "daemonset");
    check.counts(&spec, &["minReadySeconds"]);
    let strategy = spec.at("updateStrategy");
    let rolling = strategy.at("rollingUpdate");
    match strategy.at("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_set() => rolling_update(check, &rolling),
        "RollingUpdate" => check.required(&rolling.path, ""),
        other => check.one_of(&strategy.at("type").path, other, &["RollingUpdate", "OnDelete"]),
    }
    check.counts(&spec, &["revisionHistoryLimit"]);
}

fn rolling_update(check: &mut Check, rolling: &Place<'_>) {
    let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
    for share in [&unavailable, &surge] {
        check.share(share);
        check.not_above_all(share);
    }
    let some = |share: &Place<'_>| {
        share.number().is_some_and(|number| number != 0)
            || percent(share.text()).is_some_and(|percent| percent != 0)
    };
    match (some(&unavailable), some(&surge)) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            check.invalid(&surge.path, surge.value.clone(), detail);
        }
        (false, false) => check.required(&unavailable.path, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}
