//! Label selectors and node selectors, compiled once per pod.

use std::collections::BTreeMap;

use kontiki_api::k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
    /// An operator or operand that cannot be read matches nothing.
    Never,
}

impl Requirement {
    fn new(key: &str, operator: &str, values: Option<&Vec<String>>) -> Requirement {
        let values = || values.cloned().unwrap_or_default();
        let bound = || match values().as_slice() {
            [only] => only.parse::<i64>().ok(),
            _ => None,
        };
        let test = match operator {
            "In" => Test::In(values()),
            "NotIn" => Test::NotIn(values()),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            "Gt" => bound().map_or(Test::Never, Test::GreaterThan),
            "Lt" => bound().map_or(Test::Never, Test::LessThan),
            _ => Test::Never,
        };
        Requirement { key: key.to_owned(), test }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Test::NotIn(values) => !value.is_some_and(|v| values.iter().any(|w| w == v)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Test::LessThan(bound) => number().is_some_and(|n| n < *bound),
            Test::Never => false,
        }
    }
}

/// A label selector. The absent selector matches nothing, the empty one everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Option<Vec<Requirement>>);

impl Selector {
    /// Compiles the API's selector.
    pub fn new(selector: Option<&LabelSelector>) -> Selector {
        let Some(selector) = selector else { return Selector(None) };
        let mut requirements: Vec<Requirement> = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements
                .push(Requirement { key: key.clone(), test: Test::In(vec![value.clone()]) });
        }
        for e in selector.match_expressions.iter().flatten() {
            requirements.push(Requirement::new(&e.key, &e.operator, e.values.as_ref()));
        }
        requirements.sort();
        Selector(Some(requirements))
    }

    /// The selector narrowed to objects whose `key` has `value` (or has not, when `!equal`).
    pub fn and(mut self, key: &str, value: &str, equal: bool) -> Selector {
        if let Some(requirements) = &mut self.0 {
            let values = vec![value.to_owned()];
            let test = if equal { Test::In(values) } else { Test::NotIn(values) };
            requirements.push(Requirement { key: key.to_owned(), test });
            requirements.sort();
        }
        self
    }

    /// Whether labels match.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.as_ref().is_some_and(|requirements| {
            requirements.iter().all(|r| r.matches(labels.get(&r.key).map(String::as_str)))
        })
    }
}

/// A term of a node selector: all its conditions hold. The empty term matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    name: Vec<Requirement>,
}

impl NodeTerm {
    /// Compiles the API's term. `metadata.name` is the only field there is.
    pub fn new(term: &NodeSelectorTerm) -> NodeTerm {
        let compile = |r: &NodeSelectorRequirement| {
            Requirement::new(&r.key, &r.operator, r.values.as_ref())
        };
        NodeTerm {
            labels: term.match_expressions.iter().flatten().map(compile).collect(),
            name: term
                .match_fields
                .iter()
                .flatten()
                .map(|r| {
                    let mut requirement = compile(r);
                    if r.key != "metadata.name" {
                        requirement.test = Test::Never;
                    }
                    requirement
                })
                .collect(),
        }
    }

    /// Whether a node matches.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        if self.labels.is_empty() && self.name.is_empty() {
            return false;
        }
        self.labels.iter().all(|r| r.matches(labels.get(&r.key).map(String::as_str)))
            && self.name.iter().all(|r| r.matches(Some(name)))
    }

    /// The only nodes that can match, if the term names them.
    pub fn node_names(&self) -> Option<&[String]> {
        self.name.iter().find_map(|r| match &r.test {
            Test::In(names) => Some(names.as_slice()),
            _ => None,
        })
    }
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
            assert_eq!(term(key, operator, values).matches("n", &node), expected, "{key} {operator}");
        }
    }

    #[test]
    fn the_absent_selector_matches_nothing_and_the_empty_one_everything() {
        assert!(!Selector::new(None).matches(&labels("a=b")));
        assert!(Selector::new(Some(&LabelSelector::default())).matches(&labels("a=b")));
        let narrowed = Selector::new(Some(&LabelSelector::default())).and("a", "b", false);
        assert!(!narrowed.matches(&labels("a=b")));
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
        assert_eq!(term.node_names(), Some(&["n1".to_owned()][..]));
        assert!(term.matches("n1", &Labels::new()) && !term.matches("n2", &Labels::new()));
    }
}
