//! Label selectors, matched against labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

type Labels = BTreeMap<String, String>;

/// Whether a selector has no requirement, and so would select everything.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether labels satisfy every requirement of a selector.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let labels_match = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, wanted)| value(key).is_some_and(|found| found == wanted));
    labels_match
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let found = value(&requirement.key);
            let listed = |found: &String| {
                requirement.values.as_ref().is_some_and(|values| values.contains(found))
            };
            match requirement.operator.as_str() {
                "In" => found.is_some_and(listed),
                "NotIn" => !found.is_some_and(listed),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// Whether labels contain every pair of a Service's selector.
pub(crate) fn matches_pairs(pairs: &Labels, labels: Option<&Labels>) -> bool {
    pairs
        .iter()
        .all(|(key, wanted)| labels.and_then(|labels| labels.get(key)).is_some_and(|v| v == wanted))
}
