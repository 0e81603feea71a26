//! A pod that gates hold may still be steered: its choice of nodes may become narrower.

use kontiki_api::{
    field::Path,
    k8s_openapi::api::core::v1::{Affinity, NodeAffinity, PodSpec},
};
use serde_json::Value;

use crate::strategy::{check::Check, place::Place};

const ONLY_MORE: &str = "only additions are allowed (no mutations or deletions)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Checks that nodes were only ruled out.
pub(super) fn validate(check: &mut Check, at: &Path, new: &Value, old: &Value) {
    let place = |value| Place { path: at.clone(), value };
    let (new, old) = (place(new), place(old));
    let (selector, before) = (new.at("nodeSelector"), old.at("nodeSelector"));
    if before.entries().any(|(key, value)| selector.at(key).value != value.value) {
        let detail = "only additions are allowed to spec.nodeSelector (no mutations or deletions)";
        check.invalid(&selector.path, selector.value.clone(), detail);
    }
    let affinity = |spec: &Place<'_>| spec.at("affinity").at("nodeAffinity").value.clone();
    let path = at.child("affinity").child("nodeAffinity");
    terms(check, &path, &affinity(&new), &affinity(&old));
}

fn terms(check: &mut Check, at: &Path, new: &Value, old: &Value) {
    let of = |affinity: &Value| {
        affinity[REQUIRED]["nodeSelectorTerms"].as_array().cloned().unwrap_or_default()
    };
    let (new_terms, old_terms) = (of(new), of(old));
    if old_terms.is_empty() {
        return;
    }
    let at = at.child(REQUIRED).child("nodeSelectorTerms");
    if new_terms.len() != old_terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return check.invalid(&at, Value::from(new_terms), detail);
    }
    for (index, (new, old)) in new_terms.iter().zip(&old_terms).enumerate() {
        let kept = ["matchExpressions", "matchFields"].iter().all(|list| {
            let rules = |term: &Value| term[*list].as_array().cloned().unwrap_or_default();
            let (new, old) = (rules(new), rules(old));
            // A term without rules selects nothing; rules would make it select something.
            new.starts_with(&old)
        });
        let selects = |term: &Value| {
            ["matchExpressions", "matchFields"]
                .iter()
                .any(|list| term[*list].as_array().is_some_and(|rules| !rules.is_empty()))
        };
        if !kept || (!selects(old) && selects(new)) {
            check.invalid(&at.index(index), new.clone(), ONLY_MORE);
        }
    }
}

/// Puts back what may change of a gated pod.
pub(super) fn settle(new: &mut PodSpec, old: &PodSpec) {
    new.node_selector.clone_from(&old.node_selector);
    let nodes = |affinity: &Option<Affinity>| -> Option<NodeAffinity> {
        affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone())
    };
    let before = nodes(&old.affinity);
    if nodes(&new.affinity) == before {
        return;
    }
    let affinity = new.affinity.get_or_insert_default();
    affinity.node_affinity = before;
    // An affinity that only came for the nodes' sake is as good as none.
    if *affinity == Affinity::default() && old.affinity.is_none() {
        new.affinity = None;
    }
}
