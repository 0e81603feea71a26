//! Environment variables.

use kontiki_api::{
    field::Path,
    k8s_openapi::api::core::v1::{Container, EnvVarSource, ObjectFieldSelector},
    names,
};

use crate::strategy::check::Check;

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Checks a container's environment.
pub(super) fn validate(check: &mut Check, at: &Path, container: &Container) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let at = at.child("env").index(index);
        check.named(&at.child("name"), &variable.name, names::environment_name);
        if let Some(source) = &variable.value_from {
            let value = variable.value.as_deref().unwrap_or_default();
            one_source(check, &at.child("valueFrom"), source, value);
        }
    }
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        let at = at.child("envFrom").index(index);
        check.optional_named(
            &at.child("prefix"),
            source.prefix.as_deref(),
            names::environment_name,
        );
        let map = source.config_map_ref.as_ref().map(|source| ("configMapRef", &source.name));
        let secret = source.secret_ref.as_ref().map(|source| ("secretRef", &source.name));
        match (map, secret) {
            (None, None) => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                check.invalid(&at, "", detail);
            }
            (Some(_), Some(_)) => {
                let detail = "may not have more than one field specified at a time";
                check.invalid(&at, "", detail);
            }
            (Some((field, name)), None) | (None, Some((field, name))) => {
                check.named(&at.child(field).child("name"), name, names::dns1123_subdomain);
            }
        }
    }
}

fn one_source(check: &mut Check, at: &Path, source: &EnvVarSource, value: &str) {
    let mut sources = 0;
    if let Some(reference) = &source.field_ref {
        sources += 1;
        field(check, &at.child("fieldRef"), reference, FIELDS);
    }
    if let Some(reference) = &source.resource_field_ref {
        sources += 1;
        if reference.resource.is_empty() {
            check.required(&at.child("resourceFieldRef").child("resource"), "");
        }
    }
    if let Some(reference) = &source.config_map_key_ref {
        sources += 1;
        key(check, &at.child("configMapKeyRef"), &reference.name, &reference.key);
    }
    if let Some(reference) = &source.secret_key_ref {
        sources += 1;
        key(check, &at.child("secretKeyRef"), &reference.name, &reference.key);
    }
    if source.file_key_ref.is_some() {
        sources += 1;
    }
    if sources == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or \
                      `secretKeyRef`";
        check.invalid(at, "", detail);
    } else if !value.is_empty() {
        check.invalid(at, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        check.invalid(at, "", "may not have more than one field specified at a time");
    }
}

/// Checks a reference to a field of the pod.
pub(super) fn field(check: &mut Check, at: &Path, reference: &ObjectFieldSelector, known: &[&str]) {
    let path = &reference.field_path;
    let at_path = at.child("fieldPath");
    if reference.api_version.as_deref().unwrap_or_default().is_empty() {
        check.required(&at.child("apiVersion"), "");
    } else if path.is_empty() {
        check.required(&at_path, "");
    } else if let Some((map, key)) = subscript(path) {
        match map {
            "metadata.annotations" => {
                let wrong = names::qualified_name(&key.to_lowercase());
                check.errors.invalid_each(&at_path, key, wrong);
            }
            "metadata.labels" => {
                check.errors.invalid_each(&at_path, key, names::qualified_name(key));
            }
            _ => {
                let detail = "does not support subscript";
                check.invalid(&at_path, path.as_str(), detail);
            }
        }
    } else {
        check.one_of(&at_path, path, known);
    }
}

/// Splits `metadata.labels['key']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

fn key(check: &mut Check, at: &Path, name: &str, key: &str) {
    if !name.is_empty() {
        check.errors.invalid_each(&at.child("name"), name, names::dns1123_subdomain(name));
    }
    check.named(&at.child("key"), key, names::config_key);
}
