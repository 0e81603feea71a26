//! Strategic merge patch: a merge patch that knows which lists are keyed.
//!
//! Beside plain values a patch may hold directives: `$patch` (replace, delete, merge) in maps and
//! list items, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD` and `$retainKeys`. What
//! a list's key is comes from the [`Schema`]; where the schema knows nothing (custom fields,
//! unknown fields), lists are replaced.

mod order;

use serde_json::{Map, Value};

use super::Error;
use crate::schema::{Schema, Semantics, Shape, TypeId};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Applies a strategic merge patch to an object of the given type.
pub fn strategic_merge(
    schema: &Schema,
    type_id: TypeId,
    document: &mut Value,
    patch: Value,
) -> Result<(), Error> {
    let (Value::Object(target), Value::Object(patch)) = (document, patch) else {
        return Err(Error::Malformed("a strategic merge patch must be an object".to_owned()));
    };
    let merge = Merge { schema };
    merge.map(target, patch, Some(&Shape::Struct(type_id)))
}

struct Merge<'a> {
    schema: &'a Schema,
}

/// What the schema says about one key of a map.
#[derive(Clone, Copy, Default)]
struct Known<'a> {
    shape: Option<&'a Shape>,
    semantics: Option<&'a Semantics>,
}

impl<'a> Known<'a> {
    fn merges(self) -> bool {
        self.semantics.is_some_and(|semantics| semantics.merge)
    }

    fn merge_key(self) -> Option<&'a str> {
        self.semantics.and_then(|semantics| semantics.merge_key.as_deref())
    }

    fn item(self) -> Option<&'a Shape> {
        match self.shape {
            Some(Shape::List(item)) => Some(item),
            _ => None,
        }
    }
}

impl<'a> Merge<'a> {
    fn known(&self, shape: Option<&'a Shape>, key: &str) -> Known<'a> {
        match shape {
            Some(Shape::Struct(id)) => match self.schema.get(*id).field(key) {
                Some(field) => {
                    Known { shape: Some(&field.shape), semantics: Some(&field.semantics) }
                }
                None => Known::default(),
            },
            Some(Shape::Map(value)) => Known { shape: Some(value), semantics: None },
            _ => Known::default(),
        }
    }

    /// Merges a patch into a map.
    fn map(
        &self,
        target: &mut Map<String, Value>,
        mut patch: Map<String, Value>,
        shape: Option<&'a Shape>,
    ) -> Result<(), Error> {
        if let Some(directive) = patch.shift_remove(DIRECTIVE) {
            match directive.as_str() {
                Some("replace") => {
                    target.clear();
                    return self.map(target, patch, shape);
                }
                Some("delete") => {
                    target.clear();
                    return Ok(());
                }
                Some("merge") => {}
                _ => return Err(unknown_directive(&directive)),
            }
        }
        retain_keys(target, &mut patch)?;
        let deletions = take_prefixed(&mut patch, DELETE_FROM);
        let orders = take_prefixed(&mut patch, SET_ORDER);
        for (key, values) in deletions {
            delete_from_primitives(target, &key, &values)?;
        }
        let orders: Map<String, Value> = orders.into_iter().collect();
        for (key, order) in &orders {
            // An order without changes still puts what is there in that order.
            let known = self.known(shape, key);
            let lonely = !patch.contains_key(key) && target.get(key).is_some_and(Value::is_array);
            if lonely && known.merges() {
                self.list(target, key, Vec::new(), Some(order), known)?;
            }
        }
        for (key, value) in patch {
            let known = self.known(shape, &key);
            match value {
                Value::Null => {
                    target.shift_remove(&key);
                }
                Value::Object(inner) => self.nested(target, &key, inner, known.shape)?,
                Value::Array(items) => self.list(target, &key, items, orders.get(&key), known)?,
                plain => {
                    target.insert(key, plain);
                }
            }
        }
        Ok(())
    }

    /// Merges a map below a key; what is not a map there is replaced.
    fn nested(
        &self,
        target: &mut Map<String, Value>,
        key: &str,
        patch: Map<String, Value>,
        shape: Option<&'a Shape>,
    ) -> Result<(), Error> {
        if shape == Some(&Shape::Any) {
            // Opaque content has no directives; it merges as plain JSON.
            let mut merged = target.get(key).cloned().unwrap_or_default();
            super::merge(&mut merged, &Value::Object(patch));
            target.insert(key.to_owned(), merged);
            return Ok(());
        }
        let deleted = patch.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
        let slot = target.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(inner) = slot else { unreachable!("just made a map") };
        self.map(inner, patch, shape)?;
        if deleted {
            target.shift_remove(key);
        }
        Ok(())
    }

    /// Merges a list below a key.
    fn list(
        &self,
        target: &mut Map<String, Value>,
        key: &str,
        patch: Vec<Value>,
        order: Option<&Value>,
        known: Known<'a>,
    ) -> Result<(), Error> {
        if !known.merges() {
            target.insert(key.to_owned(), Value::Array(self.plain_items(patch, known.item())?));
            return Ok(());
        }
        let original = match target.shift_remove_entry(key) {
            Some((_, Value::Array(items))) => items,
            _ => Vec::new(),
        };
        let order = match order {
            None => None,
            Some(Value::Array(order)) => Some(order.as_slice()),
            Some(_) => {
                let what = format!("{SET_ORDER}{key} must be a list");
                return Err(Error::Malformed(what));
            }
        };
        let merged = match known.merge_key() {
            Some(merge_key) => self.keyed(original, patch, order, merge_key, known.item(), key)?,
            None => primitives(original, patch, order),
        };
        target.insert(key.to_owned(), Value::Array(merged));
        Ok(())
    }

    /// Merges lists of objects by key.
    fn keyed(
        &self,
        mut original: Vec<Value>,
        patch: Vec<Value>,
        order: Option<&[Value]>,
        merge_key: &str,
        item: Option<&'a Shape>,
        field: &str,
    ) -> Result<Vec<Value>, Error> {
        let (patch, replace) = split_directives(&mut original, patch, merge_key)?;
        if replace {
            return self.plain_items(patch, item);
        }
        let before = original.clone();
        let mut named = Vec::with_capacity(patch.len());
        for entry in patch {
            let Value::Object(entry) = entry else {
                return Err(Error::Malformed(format!("{field}: list items must be objects")));
            };
            let Some(value) = entry.get(merge_key).cloned() else {
                let entry = Value::Object(entry);
                let what = format!("map: {entry} does not contain declared merge key: {merge_key}");
                return Err(Error::Malformed(what));
            };
            let mut one = Map::new();
            one.insert(merge_key.to_owned(), value.clone());
            named.push(Value::Object(one));
            let found = original.iter_mut().find(|known| known.get(merge_key) == Some(&value));
            match found {
                Some(Value::Object(known)) => self.map(known, entry, item)?,
                _ => {
                    let mut fresh = Map::new();
                    self.map(&mut fresh, entry, item)?;
                    original.push(Value::Object(fresh));
                }
            }
        }
        let same = |a: &Value, b: &Value| a.get(merge_key) == b.get(merge_key);
        Ok(order::settle(original, order.unwrap_or(&named), &before, same))
    }

    /// The items of a list that is taken as it is, with directives resolved.
    fn plain_items(&self, items: Vec<Value>, item: Option<&'a Shape>) -> Result<Vec<Value>, Error> {
        let mut plain = Vec::with_capacity(items.len());
        for value in items {
            match value {
                Value::Object(patch) => {
                    let only_directive = patch.len() == 1 && patch.contains_key(DIRECTIVE);
                    let mut fresh = Map::new();
                    self.map(&mut fresh, patch, item)?;
                    if !only_directive {
                        plain.push(Value::Object(fresh));
                    }
                }
                other => plain.push(other),
            }
        }
        Ok(plain)
    }
}

fn unknown_directive(directive: &Value) -> Error {
    let text = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    Error::Malformed(format!("unknown patch type found: {text}"))
}

/// Takes `PREFIXfield` entries out of a patch, as (field, value).
fn take_prefixed(patch: &mut Map<String, Value>, prefix: &str) -> Vec<(String, Value)> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    let taken = keys.into_iter().filter_map(|key| patch.shift_remove_entry(&key));
    taken.map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
}

/// Resolves `$retainKeys`: the target keeps only these, and the patch may hold no others.
fn retain_keys(
    target: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), Error> {
    let Some(retained) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || {
        let what = "invalid patch format of $retainKeys, expected a list of the patch's keys";
        Error::Malformed(what.to_owned())
    };
    let Value::Array(retained) = retained else { return Err(bad()) };
    let kept = |key: &str| retained.iter().any(|known| known == key);
    let stray =
        patch.iter().any(|(key, value)| !value.is_null() && !key.starts_with('$') && !kept(key));
    if stray {
        return Err(bad());
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

fn delete_from_primitives(
    target: &mut Map<String, Value>,
    key: &str,
    values: &Value,
) -> Result<(), Error> {
    let Value::Array(values) = values else {
        return Err(Error::Malformed(format!("{DELETE_FROM}{key} must be a list")));
    };
    if let Some(Value::Array(items)) = target.get_mut(key) {
        items.retain(|item| !values.contains(item));
    }
    Ok(())
}

/// Takes special items out of a patch list: `$patch: delete` items are carried out on the
/// original, `$patch: replace` says that the rest replaces it.
fn split_directives(
    original: &mut Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, bool), Error> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    for mut item in patch {
        let directive = item.as_object_mut().and_then(|item| item.shift_remove(DIRECTIVE));
        match directive.as_ref().map(Value::as_str) {
            None => rest.push(item),
            Some(Some("delete")) => {
                let Some(key) = item.get(merge_key) else {
                    let what = "delete patch type with no merge key defined";
                    return Err(Error::Malformed(what.to_owned()));
                };
                original.retain(|known| known.get(merge_key) != Some(key));
            }
            Some(Some("replace")) => {
                replace = true;
                if item.as_object().is_some_and(|item| !item.is_empty()) {
                    rest.push(item);
                }
            }
            Some(Some("merge")) => {
                let what = "merging lists cannot yet be specified in the patch";
                return Err(Error::Malformed(what.to_owned()));
            }
            Some(_) => return Err(unknown_directive(&directive.unwrap_or_default())),
        }
    }
    Ok((rest, replace))
}

/// The union of two lists of plain values.
fn primitives(original: Vec<Value>, patch: Vec<Value>, order: Option<&[Value]>) -> Vec<Value> {
    let before = original.clone();
    let named = patch.clone();
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for value in original.into_iter().chain(patch) {
        if !merged.contains(&value) {
            merged.push(value);
        }
    }
    order::settle(merged, order.unwrap_or(&named), &before, |a, b| a == b)
}

#[cfg(test)]
mod tests;
