//! ResourceQuotas: how much all objects of a namespace may ask for together.

use kontiki_api::{field::Error, names};

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    place::Place,
};

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// The strategy of `resourcequotas`.
pub(super) static STRATEGY: Declared = Declared {
    check,
    check_update: |check, new, old| {
        for field in ["scopes", "scopeSelector"] {
            check.fixed(&new.at("spec").at(field), &old.at("spec").at(field));
        }
    },
    check_status: |check, new, _| {
        for field in ["hard", "used"] {
            amounts(check, &new.at("status").at(field));
        }
    },
    has_status: true,
    ..PLAIN
};

fn check(check: &mut Check, quota: &Place<'_>) {
    let spec = quota.at("spec");
    amounts(check, &spec.at("hard"));
    let mut all: Vec<&str> = Vec::new();
    for scope in spec.at("scopes").items() {
        known(check, &scope, &spec.at("scopes"));
        all.push(scope.text());
    }
    for expression in spec.at("scopeSelector").at("matchExpressions").items() {
        let scope = expression.at("scopeName");
        known(check, &scope, &scope);
        all.push(scope.text());
        operator(check, &expression);
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if all.contains(&one) && all.contains(&other) {
            let scopes = spec.at("scopes");
            check.invalid(&scopes.path, scopes.value.clone(), "conflicting scopes");
        }
    }
}

fn known(check: &mut Check, scope: &Place<'_>, at: &Place<'_>) {
    if !SCOPES.contains(&scope.text()) {
        check.invalid(&at.path, at.value.clone(), "unsupported scope");
    }
}

fn operator(check: &mut Check, expression: &Place<'_>) {
    let (operator, values) = (expression.at("operator"), expression.at("values"));
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope \
                          selector";
            check.required(&values.path, detail);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for \
                          scope selector";
            check.invalid(&values.path, values.value.clone(), detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let known = &["DoesNotExist", "Exists", "In", "NotIn"];
            check.push(Error::not_supported(&operator.path, other, known));
        }
    }
}

/// Amounts by resource, or counts by `count/RESOURCE.GROUP`.
fn amounts(check: &mut Check, amounts: &Place<'_>) {
    for (name, amount) in amounts.entries() {
        check.errors.invalid_each(&amount.path, name, names::qualified_name(name));
        let text = super::check::amount_text(amount.value);
        let parsed = check.quantity(&amount.path, &text);
        let counted = name.starts_with("count/")
            || [
                "pods",
                "services",
                "replicationcontrollers",
                "resourcequotas",
                "secrets",
                "configmaps",
                "persistentvolumeclaims",
                "services.nodeports",
                "services.loadbalancers",
            ]
            .contains(&name);
        if counted && parsed.is_some_and(|amount| !amount.is_whole()) {
            check.invalid(&amount.path, &*text, "must be an integer");
        }
    }
}
