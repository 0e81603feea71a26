//! Where a pod wants to run, and beside whom.

use kontiki_api::{
    field::Path,
    k8s_openapi::api::core::v1::{
        Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec,
        WeightedPodAffinityTerm,
    },
    names,
};

use crate::strategy::check::Check;

/// Checks affinity to nodes and pods.
pub(super) fn validate(check: &mut Check, at: &Path, affinity: &Affinity) {
    if let Some(node) = &affinity.node_affinity {
        let at = at.child("nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            let at = at
                .child("requiredDuringSchedulingIgnoredDuringExecution")
                .child("nodeSelectorTerms");
            if required.node_selector_terms.is_empty() {
                check.required(&at, "must have at least one node selector term");
            }
            for (index, term) in required.node_selector_terms.iter().enumerate() {
                node_term(check, &at.index(index), term);
            }
        }
        let preferred = node.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (index, term) in preferred.enumerate() {
            let at = at.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
            weight(check, &at, term.weight);
            node_term(check, &at.child("preference"), &term.preference);
        }
    }
    if let Some(pod) = &affinity.pod_affinity {
        pods(
            check,
            &at.child("podAffinity"),
            pod.required_during_scheduling_ignored_during_execution.as_deref(),
            pod.preferred_during_scheduling_ignored_during_execution.as_deref(),
        );
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        pods(
            check,
            &at.child("podAntiAffinity"),
            pod.required_during_scheduling_ignored_during_execution.as_deref(),
            pod.preferred_during_scheduling_ignored_during_execution.as_deref(),
        );
    }
}

fn weight(check: &mut Check, at: &Path, weight: i32) {
    if !(1..=100).contains(&weight) {
        check.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(check: &mut Check, at: &Path, term: &NodeSelectorTerm) {
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        let at = at.child("matchExpressions").index(index);
        node_expression(check, &at, expression);
        check.errors.invalid_each(
            &at.child("key"),
            &expression.key,
            names::qualified_name(&expression.key),
        );
    }
    for (index, field) in term.match_fields.iter().flatten().enumerate() {
        let at = at.child("matchFields").index(index);
        match field.operator.as_str() {
            "In" | "NotIn" => {
                if field.values.iter().flatten().count() != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for \
                                  node field selector";
                    check.required(&at.child("values"), detail);
                }
            }
            other => {
                check.invalid(&at.child("operator"), other, "not a valid selector operator");
            }
        }
        if field.key != "metadata.name" {
            let detail = "not a valid field selector key";
            check.invalid(&at.child("key"), field.key.as_str(), detail);
        }
    }
}

fn node_expression(check: &mut Check, at: &Path, expression: &NodeSelectorRequirement) {
    let count = expression.values.iter().flatten().count();
    let values = at.child("values");
    match expression.operator.as_str() {
        "In" | "NotIn" if count == 0 => {
            check.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if count > 0 => check.forbidden(
            &values,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "Gt" | "Lt" if count != 1 => check
            .required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'"),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => check.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
}

fn pods(
    check: &mut Check,
    at: &Path,
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
) {
    for (index, term) in required.unwrap_or_default().iter().enumerate() {
        let at = at.child("requiredDuringSchedulingIgnoredDuringExecution").index(index);
        pod_term(check, &at, term);
    }
    for (index, term) in preferred.unwrap_or_default().iter().enumerate() {
        let at = at.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
        weight(check, &at, term.weight);
        pod_term(check, &at.child("podAffinityTerm"), &term.pod_affinity_term);
    }
}

fn pod_term(check: &mut Check, at: &Path, term: &PodAffinityTerm) {
    if let Some(selector) = &term.label_selector {
        check.selector(&at.child("labelSelector"), selector);
    }
    if let Some(selector) = &term.namespace_selector {
        check.selector(&at.child("namespaceSelector"), selector);
    }
    for (index, namespace) in term.namespaces.iter().flatten().enumerate() {
        let at = at.child("namespaces").index(index);
        check.errors.invalid_each(&at, namespace, names::dns1123_label(namespace));
    }
    topology_key(check, &at.child("topologyKey"), &term.topology_key);
}

fn topology_key(check: &mut Check, at: &Path, key: &str) {
    if key.is_empty() {
        check.required(at, "can not be empty");
    } else {
        check.errors.invalid_each(at, key, names::qualified_name(key));
    }
}

/// Checks how a pod wants to be spread.
pub(super) fn spread(check: &mut Check, at: &Path, spec: &PodSpec) {
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let at = at.index(index);
        if constraint.max_skew <= 0 {
            check.invalid(&at.child("maxSkew"), constraint.max_skew, "must be greater than zero");
        }
        topology_key(check, &at.child("topologyKey"), &constraint.topology_key);
        check.one_of(
            &at.child("whenUnsatisfiable"),
            &constraint.when_unsatisfiable,
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        if let Some(minimum) = constraint.min_domains.filter(|minimum| *minimum <= 0) {
            check.invalid(&at.child("minDomains"), minimum, "must be greater than zero");
        }
        if let Some(selector) = &constraint.label_selector {
            check.selector(&at.child("labelSelector"), selector);
        }
    }
}
