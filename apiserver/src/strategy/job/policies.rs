//! When the failure of a pod is that of its Job, and when some successes are enough.

use serde_json::Value;

use crate::strategy::{check::Check, place::Place, value};

const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// Sets defaults of the failure policy.
pub(super) fn defaults(spec: &mut Value) {
    let Some(policy) = value::child(spec, "podFailurePolicy") else { return };
    for rule in value::items(policy, "rules") {
        for pattern in value::items(rule, "onPodConditions") {
            value::default(pattern, "status", "True");
        }
    }
}

/// When a failing pod may be replaced.
pub(super) fn replacements(spec: &Place<'_>) -> &'static [&'static str] {
    if spec.at("podFailurePolicy").is_set() {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    }
}

/// Checks both policies.
pub(super) fn check(check: &mut Check, spec: &Place<'_>) {
    let policy = spec.at("podFailurePolicy");
    if policy.is_set() {
        let rules = policy.at("rules");
        if rules.len() > RULES_MAX {
            check.push(kontiki_api::field::Error::too_many(&rules.path, rules.len(), RULES_MAX));
        }
        for rule in rules.items() {
            failure_rule(check, spec, &rule);
        }
    }
    let policy = spec.at("successPolicy");
    if policy.is_set() {
        success(check, spec, &policy);
    }
}

fn failure_rule(check: &mut Check, spec: &Place<'_>, rule: &Place<'_>) {
    let action = rule.at("action");
    check.chosen(&action, &["Count", "FailIndex", "FailJob", "Ignore"]);
    if action.text() == "FailIndex" && !spec.at("backoffLimitPerIndex").is_set() {
        let detail = "requires the backoffLimitPerIndex to be set";
        check.invalid(&action.path, "FailIndex", detail);
    }
    let (codes, conditions) = (rule.at("onExitCodes"), rule.at("onPodConditions"));
    match (codes.is_set(), !conditions.is_empty()) {
        (true, true) => {
            let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
            check.invalid(&rule.path, Value::Null, detail);
        }
        (false, false) => {
            let detail = "specifying one of OnExitCodes and OnPodConditions is required";
            check.invalid(&rule.path, Value::Null, detail);
        }
        _ => {}
    }
    if codes.is_set() {
        exit_codes(check, spec, &codes);
    }
    if conditions.len() > PATTERNS_MAX {
        let error =
            kontiki_api::field::Error::too_many(&conditions.path, conditions.len(), PATTERNS_MAX);
        check.push(error);
    }
    for pattern in conditions.items() {
        let kind = pattern.at("type");
        check.errors.invalid_each(
            &kind.path,
            kind.text(),
            kontiki_api::names::qualified_name(kind.text()),
        );
        check.chosen(&pattern.at("status"), &["False", "True", "Unknown"]);
    }
}

fn exit_codes(check: &mut Check, spec: &Place<'_>, codes: &Place<'_>) {
    let operator = codes.at("operator");
    check.chosen(&operator, &["In", "NotIn"]);
    let container = codes.at("containerName");
    if container.is_set() {
        let pod = spec.at("template").at("spec");
        let known = ["containers", "initContainers"]
            .iter()
            .any(|list| pod.at(list).items().any(|one| one.at("name").text() == container.text()));
        if !known {
            let detail = "must be one of the container or initContainer names in the pod template";
            check.invalid(&container.path, container.text(), detail);
        }
    }
    let values = codes.at("values");
    if values.is_empty() {
        check.invalid(&values.path, values.value.clone(), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        let error = kontiki_api::field::Error::too_many(&values.path, values.len(), EXIT_CODES_MAX);
        check.push(error);
    }
    let mut last = None;
    let mut ordered = true;
    for value in values.items() {
        let code = value.number();
        if operator.text() == "In" && code == Some(0) {
            let detail = "must not be 0 for the In operator";
            check.invalid(&value.path, 0, detail);
        }
        if last.is_some() && code == last {
            check.push(kontiki_api::field::Error::duplicate(&value.path, value.value.clone()));
        }
        ordered &= code >= last;
        last = code;
    }
    if !ordered {
        check.invalid(&values.path, values.value.clone(), "must be ordered");
    }
}

fn success(check: &mut Check, spec: &Place<'_>, policy: &Place<'_>) {
    if spec.at("completionMode").text() != "Indexed" {
        check.invalid(&policy.path, policy.value.clone(), "requires indexed completion mode");
    }
    let rules = policy.at("rules");
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        check.required(&rules.path, detail);
    }
    if rules.len() > RULES_MAX {
        check.push(kontiki_api::field::Error::too_many(&rules.path, rules.len(), RULES_MAX));
    }
    for rule in rules.items() {
        let (count, indexes) = (rule.at("succeededCount"), rule.at("succeededIndexes"));
        if !count.is_set() && !indexes.is_set() {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            check.required(&rule.path, detail);
        }
        check.not_negative(&count.path, count.number());
        let completions = spec.at("completions").number().unwrap_or_default();
        if count.number().is_some_and(|count| count > completions) {
            let detail = format!(
                "must be less than or equal to {completions} (the number of specified completions)"
            );
            check.invalid(&count.path, count.value.clone(), &detail);
        }
    }
}
