//! Label selectors and node selectors, compiled once per pod.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_api::{
    k8s_openapi::{
        api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm},
        apimachinery::pkg::apis::meta::v1::LabelSelector,
    },
    selector::{Operator, Requirement, Selector},
};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Compiles a label selector. The absent one selects nothing, and so does one that the API
/// server would not have admitted.
pub fn compile(selector: Option<&LabelSelector>) -> Selector {
    match Selector::from_typed(selector) {
        Ok(Selector::Requirements(mut all)) => {
            all.sort();
            Selector::Requirements(all)
        }
        Ok(Selector::Nothing) | Err(_) => Selector::Nothing,
    }
}

/// A selector narrowed to objects whose `key` has `value` (or has not, with [`Operator::NotIn`]).
pub fn narrowed(selector: Selector, key: &str, operator: Operator, value: &str) -> Selector {
    let Selector::Requirements(mut all) = selector else { return selector };
    let values = BTreeSet::from([value.to_owned()]);
    all.push(Requirement { key: key.to_owned(), operator, values });
    all.sort();
    Selector::Requirements(all)
}

/// A term of a node selector: all its conditions hold. The empty term matches nothing, and so
/// does one with an operator or a field that there is not (`None` below).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTerm(Option<Conditions>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Conditions {
    labels: Vec<Requirement>,
    name: Vec<Requirement>,
}

impl NodeTerm {
    /// Compiles the API's term. `metadata.name` is the only field there is.
    pub fn new(term: &NodeSelectorTerm) -> NodeTerm {
        let labels: Option<Vec<Requirement>> =
            term.match_expressions.iter().flatten().map(requirement).collect();
        let name: Option<Vec<Requirement>> = term
            .match_fields
            .iter()
            .flatten()
            .map(|field| requirement(field).filter(|_| field.key == "metadata.name"))
            .collect();
        let conditions = labels.zip(name).map(|(labels, name)| Conditions { labels, name });
        NodeTerm(conditions.filter(|c| !c.labels.is_empty() || !c.name.is_empty()))
    }

    /// Whether a node matches.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.0.as_ref().is_some_and(|conditions| {
            let label = |key: &str| labels.get(key).map(String::as_str);
            conditions.labels.iter().all(|r| r.matches(label(&r.key)))
                && conditions.name.iter().all(|r| r.matches(Some(name)))
        })
    }

    /// The only nodes that can match, if the term names them.
    pub fn node_names(&self) -> Option<Vec<&str>> {
        let Some(conditions) = &self.0 else { return Some(Vec::new()) };
        let named = conditions.name.iter().find(|r| r.operator == Operator::In)?;
        Some(named.values.iter().map(String::as_str).collect())
    }
}

fn requirement(requirement: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    let values = requirement.values.iter().flatten().cloned().collect();
    Some(Requirement { key: requirement.key.clone(), operator, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    fn term(key: &str, operator: &str, values: &[&str]) -> NodeTerm {
        NodeTerm::new(&NodeSelectorTerm {
            match_expressions: Some(vec![NodeSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            }]),
            match_fields: None,
        })
    }

    #[test]
    fn node_terms_match_by_operator() {
        let node = labels("zone=a cpus=8");
        for (key, operator, values, expected) in [
            ("zone", "In", &["a", "b"][..], true),
            ("zone", "NotIn", &["a"], false),
            ("disk", "NotIn", &["ssd"], true),
            ("zone", "Exists", &[], true),
            ("disk", "DoesNotExist", &[], true),
            ("cpus", "Gt", &["4"], true),
            ("cpus", "Lt", &["8"], false),
            ("cpus", "Gt", &["few"], false),
            ("zone", "Resembles", &["a"], false),
        ] {
            assert_eq!(
                term(key, operator, values).matches("n", &node),
                expected,
                "{key} {operator}"
            );
        }
    }

    #[test]
    fn the_absent_selector_matches_nothing_and_the_empty_one_everything() {
        assert!(!compile(None).matches(&labels("a=b")));
        assert!(compile(Some(&LabelSelector::default())).matches(&labels("a=b")));
        let all = compile(Some(&LabelSelector::default()));
        assert!(!narrowed(all, "a", Operator::NotIn, "b").matches(&labels("a=b")));
    }

    #[test]
    fn a_term_names_nodes_by_field() {
        let term: NodeSelectorTerm = NodeSelectorTerm {
            match_expressions: None,
            match_fields: Some(vec![NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec!["n1".to_owned()]),
            }]),
        };
        let term = NodeTerm::new(&term);
        assert_eq!(term.node_names(), Some(vec!["n1"]));
        assert!(term.matches("n1", &Labels::new()) && !term.matches("n2", &Labels::new()));
    }
}
