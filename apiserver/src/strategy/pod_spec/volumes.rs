//! Volumes: one source each, and paths that stay inside.

use std::collections::BTreeSet;

use kontiki_api::{
    field::{Error, Path},
    k8s_openapi::api::core::v1::{
        DownwardAPIVolumeFile, KeyToPath, PodSpec, ProjectedVolumeSource, Volume, VolumeProjection,
    },
    names,
};

use super::environment;
use crate::strategy::check::{self, Check};

const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
const DOWNWARD_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks all volumes and tells their names.
pub(super) fn validate<'a>(check: &mut Check, at: &Path, spec: &'a PodSpec) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let at = at.index(index);
        check.named(&at.child("name"), &volume.name, names::dns1123_label);
        if !volume.name.is_empty() && !seen.insert(volume.name.as_str()) {
            check.push(Error::duplicate(&at.child("name"), volume.name.as_str()));
        }
        one_source_only(check, &at, volume);
        sources(check, &at, volume);
    }
    seen
}

fn one_source_only(check: &mut Check, at: &Path, volume: &Volume) {
    let value = check::as_value(volume);
    let mut chosen = value.as_object().into_iter().flatten().filter(|(key, _)| *key != "name");
    if chosen.next().is_none() {
        check.required(at, "must specify a volume type");
    }
    for (extra, _) in chosen {
        check.forbidden(&at.child(extra), "may not specify more than 1 volume type");
    }
}

fn sources(check: &mut Check, at: &Path, volume: &Volume) {
    if let Some(source) = &volume.host_path {
        let at = at.child("hostPath");
        if source.path.is_empty() {
            check.required(&at.child("path"), "");
        } else if source.path.split('/').any(|part| part == "..") {
            check.invalid(&at.child("path"), source.path.as_str(), "must not contain '..'");
        }
        check.one_of(
            &at.child("type"),
            source.type_.as_deref().unwrap_or_default(),
            HOST_PATH_TYPES,
        );
    }
    if let Some(limit) = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref())
        && kontiki_api::quantity::Quantity::parse(&limit.0).is_ok_and(|limit| limit.is_negative())
    {
        let detail = "SizeLimit field must be a valid resource quantity";
        check.forbidden(&at.child("emptyDir").child("sizeLimit"), detail);
    }
    if let Some(source) = &volume.config_map {
        let at = at.child("configMap");
        if source.name.is_empty() {
            check.required(&at.child("name"), "");
        }
        mode(check, &at.child("defaultMode"), source.default_mode);
        keys(check, &at.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.secret {
        let at = at.child("secret");
        if source.secret_name.as_deref().unwrap_or_default().is_empty() {
            check.required(&at.child("secretName"), "");
        }
        mode(check, &at.child("defaultMode"), source.default_mode);
        keys(check, &at.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.downward_api {
        let at = at.child("downwardAPI");
        mode(check, &at.child("defaultMode"), source.default_mode);
        downward(check, &at.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &volume.projected {
        projected(check, &at.child("projected"), source);
    }
    if let Some(source) = &volume.persistent_volume_claim
        && source.claim_name.is_empty()
    {
        check.required(&at.child("persistentVolumeClaim").child("claimName"), "");
    }
    if let Some(source) = &volume.nfs {
        let at = at.child("nfs");
        if source.server.is_empty() {
            check.required(&at.child("server"), "");
        }
        if source.path.is_empty() {
            check.required(&at.child("path"), "");
        } else if !source.path.starts_with('/') {
            check.invalid(&at.child("path"), source.path.as_str(), "must be an absolute path");
        }
    }
}

fn projected(check: &mut Check, at: &Path, source: &ProjectedVolumeSource) {
    mode(check, &at.child("defaultMode"), source.default_mode);
    for (index, projection) in source.sources.iter().flatten().enumerate() {
        one_projection(check, &at.child("sources").index(index), projection);
    }
}

fn one_projection(check: &mut Check, at: &Path, projection: &VolumeProjection) {
    let mut chosen = 0;
    if let Some(source) = &projection.config_map {
        chosen += 1;
        let at = at.child("configMap");
        if source.name.is_empty() {
            check.required(&at.child("name"), "");
        }
        keys(check, &at.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &projection.secret {
        chosen += 1;
        let at = at.child("secret");
        if source.name.is_empty() {
            check.required(&at.child("name"), "");
        }
        keys(check, &at.child("items"), source.items.as_deref().unwrap_or_default());
    }
    if let Some(source) = &projection.downward_api {
        chosen += 1;
        let at = at.child("downwardAPI").child("items");
        downward(check, &at, source.items.as_deref().unwrap_or_default());
    }
    if let Some(token) = &projection.service_account_token {
        chosen += 1;
        let at = at.child("serviceAccountToken");
        if token.path.is_empty() {
            check.required(&at.child("path"), "");
        } else {
            descending(check, &at.child("path"), &token.path);
        }
        let seconds = token.expiration_seconds.unwrap_or_default();
        if seconds < 600 {
            let detail = "may not specify a duration less than 10 minutes";
            check.invalid(&at.child("expirationSeconds"), seconds, detail);
        } else if seconds > 1 << 32 {
            let detail = "may not specify a duration larger than 2^32 seconds";
            check.invalid(&at.child("expirationSeconds"), seconds, detail);
        }
    }
    if chosen > 1 {
        check.forbidden(at, "may not specify more than 1 volume type");
    }
}

fn downward(check: &mut Check, at: &Path, files: &[DownwardAPIVolumeFile]) {
    for (index, file) in files.iter().enumerate() {
        let at = at.index(index);
        if file.path.is_empty() {
            check.required(&at.child("path"), "");
        } else {
            descending(check, &at.child("path"), &file.path);
        }
        match (&file.field_ref, &file.resource_field_ref) {
            (Some(reference), None) => {
                environment::field(check, &at.child("fieldRef"), reference, DOWNWARD_FIELDS);
            }
            (None, Some(reference)) => {
                let at = at.child("resourceFieldRef");
                if reference.container_name.as_deref().unwrap_or_default().is_empty() {
                    check.required(&at.child("containerName"), "");
                }
                if reference.resource.is_empty() {
                    check.required(&at.child("resource"), "");
                }
            }
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                check.invalid(&at, "resource", detail);
            }
            (None, None) => {
                check.required(&at, "one of fieldRef and resourceFieldRef is required");
            }
        }
        mode(check, &at.child("mode"), file.mode);
    }
}

fn keys(check: &mut Check, at: &Path, items: &[KeyToPath]) {
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        if item.key.is_empty() {
            check.required(&at.child("key"), "");
        }
        if item.path.is_empty() {
            check.required(&at.child("path"), "");
        } else {
            descending(check, &at.child("path"), &item.path);
            if item.path.starts_with("..") && !item.path.starts_with("../") && item.path != ".." {
                check.invalid(&at.child("path"), item.path.as_str(), "must not start with '..'");
            }
        }
        mode(check, &at.child("mode"), item.mode);
    }
}

fn mode(check: &mut Check, at: &Path, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        check.invalid(at, mode, MODE);
    }
}

/// A path that is relative and never climbs out.
pub(super) fn descending(check: &mut Check, at: &Path, path: &str) {
    if path.starts_with('/') {
        check.invalid(at, path, "must be a relative path");
    }
    if path.split('/').any(|part| part == "..") {
        check.invalid(at, path, "must not contain '..'");
    }
}
