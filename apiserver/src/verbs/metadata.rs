//! The rules of `metadata`: what the server fills in, keeps and checks on every object.

use jiff::Timestamp;
use kontiki_api::{
    Status,
    field::{self, Path},
    meta, names,
    status::STALE,
};
use serde_json::{Map, Value};

use super::stored::Target;
use crate::{cache::Resource, request_info::RequestInfo};

/// Letters of generated names: no vowels, so that none becomes a word; nothing that looks alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const RANDOM_LETTERS: usize = 5;
const GENERATED_MAX: usize = 63 - RANDOM_LETTERS;
/// Most bytes of all annotations together.
const ANNOTATION_BYTES_MAX: usize = 256 << 10;

/// Checks that an object is addressed where it says it is, and puts it there if it says nothing.
pub fn place(object: &mut Value, info: &RequestInfo, resource: &Resource) -> Result<(), Status> {
    let namespace = if resource.row.namespaced() { info.namespace.as_str() } else { "" };
    let own = meta::namespace(object);
    if !resource.row.namespaced() {
        if !own.is_empty() {
            return Err(Status::bad_request("namespace is not allowed on this type"));
        }
    } else {
        within(object, namespace)?;
    }
    if info.verb == "create" || info.name.is_empty() {
        return Ok(());
    }
    let name = meta::name(object);
    if name.is_empty() {
        meta::metadata_mut(object).insert("name".to_owned(), info.name.as_str().into());
    } else if name != info.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            info.name
        )));
    }
    Ok(())
}

/// Puts an object in the namespace of its request, if it is in none.
pub fn within(object: &mut Value, namespace: &str) -> Result<(), Status> {
    match meta::namespace(object) {
        "" => meta::set(object, "namespace", Some(namespace.into())),
        own if own == namespace => {}
        _ => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
    }
    Ok(())
}

/// Checks that an applied object is the one it is applied to.
pub fn address(object: &mut Value, target: Target<'_>) -> Result<(), Status> {
    let row = &target.resource.row;
    let own = meta::namespace(object);
    if !row.namespaced() {
        if !own.is_empty() {
            return Err(Status::bad_request("namespace is not allowed on this type"));
        }
    } else {
        within(object, target.namespace)?;
    }
    let name = meta::name(object);
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    Ok(())
}

/// A name from a prefix. The letters are drawn by the caller.
pub fn generated_name(prefix: &str, mut random_below: impl FnMut(usize) -> usize) -> String {
    let mut end = prefix.len().min(GENERATED_MAX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let letters = (0..RANDOM_LETTERS).map(|_| char::from(ALPHABET[random_below(ALPHABET.len())]));
    let mut name = prefix[..end].to_owned();
    name.extend(letters);
    name
}

/// Fills in what the server decides about a new object.
pub fn initialise(object: &mut Value, uid: &str, now: Timestamp, has_generation: bool) {
    let metadata = meta::metadata_mut(object);
    for field in [
        "selfLink",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.shift_remove(field);
    }
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), meta::time(now).into());
    if has_generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
}

/// Keeps what an update may not touch, and refuses one that is meant for another object. What it
/// says about the owners of fields is left for [`super::managed`] to judge.
pub fn preserve(object: &mut Value, old: &Value, resource: &Resource) -> Result<(), Status> {
    let row = &resource.row;
    let conflict = |why: &str| Status::conflict(&row.group, &row.resource, meta::name(old), why);
    let uid = meta::uid(object);
    if !uid.is_empty() && uid != meta::uid(old) {
        return Err(conflict(&format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(old)
        )));
    }
    let version = meta::resource_version(object);
    if version.is_empty() || version == "0" {
        if !resource.strategy.allow_unconditional_update() {
            let error = field::Error::invalid(
                &Path::new("metadata").child("resourceVersion"),
                if version.is_empty() { Value::from(0) } else { Value::from(version) },
                "must be specified for an update",
            );
            return Err(Status::invalid(&row.group, &row.kind, meta::name(old), &error.into()));
        }
    } else if version != meta::resource_version(old) {
        return Err(conflict(STALE));
    }
    let kept = old["metadata"].clone();
    let metadata = meta::metadata_mut(object);
    for field in [
        "name",
        "namespace",
        "uid",
        "selfLink",
        "generateName",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match kept.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.shift_remove(field),
        };
    }
    Ok(())
}

/// Counts a change of what is wanted.
pub fn raise_generation(object: &mut Value) {
    let next = meta::generation(object) + 1;
    meta::metadata_mut(object).insert("generation".to_owned(), next.into());
}

/// Checks the metadata of an object that is about to be written.
pub fn validate(object: &Value, old: Option<&Value>, resource: &Resource) -> field::Errors {
    let mut errors = field::Errors::new();
    let path = Path::new("metadata");
    let name = meta::name(object);
    if old.is_none() {
        let generate = meta::text(object, "generateName");
        if !generate.is_empty() {
            let wrong = resource.strategy.validate_name(generate, true);
            errors.invalid_each(&path.child("generateName"), generate, wrong);
        }
        if name.is_empty() {
            let detail = "name or generateName is required";
            errors.push(field::Error::required(&path.child("name"), detail));
        } else {
            let wrong = resource.strategy.validate_name(name, false);
            errors.invalid_each(&path.child("name"), name, wrong);
        }
    }
    let metadata = &object["metadata"];
    validate_labels(metadata, &path, &mut errors);
    validate_annotations(metadata, &path, &mut errors);
    validate_owners(metadata, &path, &mut errors);
    for finalizer in meta::finalizers(object) {
        let wrong = names::qualified_name(finalizer);
        errors.invalid_each(&path.child("finalizers"), finalizer, wrong);
    }
    if let Some(old) = old
        && meta::is_deleting(old)
    {
        let known = meta::finalizers(old);
        let added: Vec<&str> = meta::finalizers(object)
            .into_iter()
            .filter(|finalizer| !known.contains(finalizer))
            .collect();
        if !added.is_empty() {
            errors.push(field::Error::forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new \
                     finalizers []string{{{}}}",
                    added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
                ),
            ));
        }
    }
    errors
}

fn entries<'a>(metadata: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    metadata.get(field).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn validate_labels(metadata: &Value, path: &Path, errors: &mut field::Errors) {
    let path = path.child("labels");
    for (key, value) in entries(metadata, "labels") {
        errors.invalid_each(&path, key, names::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        errors.invalid_each(&path, value, names::label_value(value));
    }
}

fn validate_annotations(metadata: &Value, path: &Path, errors: &mut field::Errors) {
    let path = path.child("annotations");
    let mut bytes = 0;
    for (key, value) in entries(metadata, "annotations") {
        errors.invalid_each(&path, key, names::qualified_name(&key.to_lowercase()));
        bytes += key.len() + value.as_str().unwrap_or_default().len();
    }
    if bytes > ANNOTATION_BYTES_MAX {
        errors.push(field::Error::too_long(&path, ANNOTATION_BYTES_MAX));
    }
}

fn validate_owners(metadata: &Value, path: &Path, errors: &mut field::Errors) {
    let path = path.child("ownerReferences");
    let owners = metadata["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let mut controllers = Vec::new();
    for (index, owner) in owners.iter().enumerate() {
        for name in ["apiVersion", "kind", "name", "uid"] {
            if owner[name].as_str().unwrap_or_default().is_empty() {
                let at = path.index(index).child(name);
                let detail = match name {
                    "apiVersion" => "version must not be empty",
                    _ => "must not be empty",
                };
                errors.push(field::Error::invalid(&at, "", detail));
            }
        }
        if owner["controller"] == true {
            controllers.push(owner["name"].as_str().unwrap_or_default());
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        errors.push(field::Error::invalid(
            &path,
            metadata["ownerReferences"].clone(),
            format!(
                "Only one reference can have Controller set to true. Found \"true\" in references \
                 for {first} and {second}"
            ),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_a_label() {
        let mut next = 0;
        let mut draw = |bound: usize| {
            next += 1;
            next % bound
        };
        assert_eq!(generated_name("web-", &mut draw), "web-cdfgh");
        assert_eq!(generated_name(&"x".repeat(100), &mut draw).len(), 63);
    }
}
