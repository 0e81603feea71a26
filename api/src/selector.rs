//! Label selectors ([`Selector`]) and field selectors ([`FieldSelector`]).
//!
//! Both are parsed once per request or object and then matched against many; matching allocates
//! nothing.

mod parse;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

pub use parse::Error;

/// What a requirement asks of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// The label is there and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is an integer greater than the value.
    GreaterThan,
    /// The label is an integer less than the value.
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked.
    pub operator: Operator,
    /// The values it is compared with.
    pub values: BTreeSet<String>,
}

impl Requirement {
    /// Whether a label of this value (or none) meets the condition.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match (self.operator, value) {
            (Operator::In, Some(value)) => self.values.contains(value),
            (Operator::NotIn, Some(value)) => !self.values.contains(value),
            (Operator::NotIn | Operator::DoesNotExist, None) => true,
            (Operator::Exists, value) => value.is_some(),
            (Operator::GreaterThan, Some(value)) => self.compare(value, |a, b| a > b),
            (Operator::LessThan, Some(value)) => self.compare(value, |a, b| a < b),
            _ => false,
        }
    }

    fn compare(&self, value: &str, holds: fn(i64, i64) -> bool) -> bool {
        let bound = self.values.first().and_then(|bound| bound.parse().ok());
        match (value.parse(), bound) {
            (Ok(value), Some(bound)) => holds(value, bound),
            _ => false,
        }
    }
}

/// Labels by key; implemented for the maps that objects keep them in.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Option<BTreeMap<String, String>> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl Labels for serde_json::Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl Labels for [(&str, &str)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }
}

/// A conjunction of requirements on labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Selects what meets all requirements; everything if there are none.
    Requirements(Vec<Requirement>),
    /// Selects nothing.
    Nothing,
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Selector {
        Selector::Requirements(Vec::new())
    }

    /// Reads `app=web,tier in (a, b),!old`.
    pub fn parse(text: &str) -> Result<Selector, Error> {
        parse::labels(text).map(Selector::Requirements)
    }

    /// A selector of exact values, as services and replication controllers have. Unlike there, an
    /// empty set selects everything here.
    pub fn from_map<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Selector {
        Selector::Requirements(labels.into_iter().map(|(key, value)| equals(key, value)).collect())
    }

    /// The typed selector of the API: an absent one selects nothing, an empty one everything.
    pub fn from_typed(selector: Option<&LabelSelector>) -> Result<Selector, Error> {
        let Some(selector) = selector else { return Ok(Selector::Nothing) };
        let mut requirements: Vec<Requirement> = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(equals(key, value));
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(Error::UnknownOperator(other.to_owned())),
            };
            let values = expression.values.iter().flatten().cloned().collect();
            requirements.push(Requirement { key: expression.key.clone(), operator, values });
        }
        Ok(Selector::Requirements(requirements))
    }

    /// Whether labels are selected.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        match self {
            Selector::Nothing => false,
            Selector::Requirements(all) => {
                all.iter().all(|requirement| requirement.matches(labels.label(&requirement.key)))
            }
        }
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        matches!(self, Selector::Requirements(all) if all.is_empty())
    }

    /// The requirements; none if nothing is selected.
    pub fn requirements(&self) -> &[Requirement] {
        match self {
            Selector::Nothing => &[],
            Selector::Requirements(all) => all,
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, requirement) in self.requirements().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::In if self.values.len() == 1 => write!(f, "{key}={values}"),
            Operator::NotIn if self.values.len() == 1 => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

fn equals(key: &str, value: &str) -> Requirement {
    Requirement {
        key: key.to_owned(),
        operator: Operator::In,
        values: BTreeSet::from([value.to_owned()]),
    }
}

/// One condition of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field, e.g. `spec.nodeName`.
    pub field: String,
    /// Whether the field must equal the value, or differ from it.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// A conjunction of conditions on fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The conditions.
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Reads `spec.nodeName=n1,status.phase!=Failed`.
    pub fn parse(text: &str) -> Result<FieldSelector, Error> {
        parse::fields(text).map(|requirements| FieldSelector { requirements })
    }

    /// Whether an object is selected whose fields are read by the given function.
    pub fn matches(&self, mut field: impl FnMut(&str) -> Option<String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = field(&requirement.field).unwrap_or_default();
            (value == requirement.value) == requirement.equal
        })
    }

    /// The value that a field must equal, if one is asked for.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let found = self.requirements.iter().find(|all| all.equal && all.field == field)?;
        Some(&found.value)
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let parsed = Selector::parse(selector).expect("a selector");
        assert_eq!(parsed.matches(labels), expected, "{selector} on {labels:?}");
    }

    #[test]
    fn label_selectors_select() {
        let web = [("app", "web"), ("tier", "front"), ("n", "5")];
        check("", &web, true);
        check("app=web", &web, true);
        check("app==web,tier=front", &web, true);
        check("app=db", &web, false);
        check("app!=db", &web, true);
        check("other!=x", &web, true);
        check("app in (db, web)", &web, true);
        check("app notin (db,web)", &web, false);
        check("app", &web, true);
        check("!app", &web, false);
        check("!gone , app", &web, true);
        check("n>4,n<6", &web, true);
        check("n>5", &web, false);
        check("app=", &web, false);
        check("x in ()", &[("x", "")], true);
    }

    #[test]
    fn typed_selectors_follow_the_api() {
        assert!(!Selector::from_typed(None).expect("valid").matches(&[][..]));
        let empty = LabelSelector::default();
        assert!(Selector::from_typed(Some(&empty)).expect("valid").matches(&[][..]));
        let typed = LabelSelector {
            match_labels: Some(BTreeMap::from([("a".to_owned(), "1".to_owned())])),
            ..LabelSelector::default()
        };
        let selector = Selector::from_typed(Some(&typed)).expect("valid");
        assert_eq!(selector.to_string(), "a=1");
        assert!(selector.matches(&[("a", "1")][..]));
    }

    #[test]
    fn malformed_selectors_are_explained() {
        let cases = [
            ("!!", "unable to parse requirement: found '!', expected: identifier"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a,=", "found '=', expected: identifier after ','"),
            ("a=b,,c", "found ',', expected: identifier after ','"),
            (
                "a ? b",
                "unable to parse requirement: found '?', expected: in, notin, =, ==, !=, gt, lt",
            ),
        ];
        for (text, expected) in cases {
            let error = Selector::parse(text).expect_err(text);
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn field_selectors_select() {
        let selector =
            FieldSelector::parse("spec.nodeName=n1,status.phase!=Failed").expect("valid");
        let read = |field: &str| match field {
            "spec.nodeName" => Some("n1".to_owned()),
            _ => Some("Running".to_owned()),
        };
        assert!(selector.matches(read));
        assert_eq!(selector.exact("spec.nodeName"), Some("n1"));
        assert_eq!(selector.exact("status.phase"), None);
        assert!(FieldSelector::parse("").expect("valid").is_everything());
        assert_eq!(
            FieldSelector::parse("abc").expect_err("no operator").to_string(),
            "invalid selector: 'abc'; can't understand 'abc'"
        );
        let escaped = FieldSelector::parse(r"reason=a\,b\=c").expect("valid");
        assert_eq!(escaped.exact("reason"), Some("a,b=c"));
    }
}
