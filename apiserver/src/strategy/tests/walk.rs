//! The walk over the catalogue: a row that lacks something is a red test. Columns, types and
//! strategies are looked for beside this; who reads what, in `authz::policy`; schemas and paths, in
//! `openapi`.

use kontiki_api::Catalogue;
use serde_json::{Value, json};

use super::{super::of, kinds};
use crate::schema::{self, Expected, FieldValidation};

/// What upstream takes as it comes, or never stores.
const TAKES_ANYTHING: [&str; 3] = ["bindings", "componentstatuses", "customresourcedefinitions"];

/// Kinds whose minimal object has nothing that could be wrong but its metadata; what else they
/// refuse stands in tables of their own.
const ONLY_METADATA: [&str; 4] = ["namespaces", "serviceaccounts", "priorityclasses", "csidrivers"];

/// All objects that differ from one in one place, where something stands that is wrong in most.
fn spoilt(object: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let mut places = vec![String::new()];
    while let Some(place) = places.pop() {
        let children: Vec<String> = match object.pointer(&place) {
            Some(Value::Object(map)) => map.keys().map(|name| name.replace('/', "~1")).collect(),
            Some(Value::Array(items)) => (0..items.len()).map(|index| index.to_string()).collect(),
            _ => Vec::new(),
        };
        places.extend(children.iter().map(|name| format!("{place}/{name}")));
        for wrong in [json!("-!-"), json!(-7), json!({"-!-": "-!-"}), json!([]), Value::Null] {
            let mut changed = object.clone();
            if let Some(at) = changed.pointer_mut(&place).filter(|_| !place.is_empty()) {
                *at = wrong;
                all.push(changed);
            }
        }
    }
    all
}

#[test]
fn every_row_has_a_valid_object_and_refuses_others() {
    let minimal: Vec<(&str, Value)> =
        super::minimal_objects().into_iter().chain(kinds::minimal()).collect();
    let mut unchecked = Vec::new();
    for row in Catalogue::builtin().rows() {
        let resource = row.resource.as_ref();
        if TAKES_ANYTHING.contains(&resource) {
            continue;
        }
        let found = minimal.iter().find(|(name, _)| *name == resource);
        let (_, object) = found.unwrap_or_else(|| panic!("no valid object of {resource}"));
        let strategy = of(&row.group, resource);
        let expected = Expected { group: &row.group, version: &row.version, kind: &row.kind };
        let refuses = |object: &Value| {
            let read = schema::conform_patched(
                expected,
                object.clone(),
                &Value::Null,
                &[],
                FieldValidation::Ignore,
            );
            read.is_ok_and(|read| {
                let mut object = read.object;
                strategy.set_defaults(&mut object);
                !strategy.validate(&object).is_empty()
            })
        };
        assert!(!refuses(object) || row.stored_as.is_some(), "{resource}: {object}");
        if !spoilt(object).iter().any(refuses) {
            unchecked.push(resource.to_owned());
        }
    }
    assert_eq!(unchecked, ONLY_METADATA, "who checks nothing but metadata");
}
