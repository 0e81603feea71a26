//! The files of ConfigMap, Secret, downward API and projected volumes. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{
        ConfigMap, DownwardAPIVolumeFile, KeyToPath, Secret, Volume, VolumeProjection,
    },
};

use crate::{
    environment::{
        self, Objects,
        fields::{field, resource_field},
    },
    tokens::{TokenKey, TokenRequestFor},
};

/// Upstream's default mode of these files.
const DEFAULT_MODE: i32 = 0o644;

/// Tokens that were fetched for the pod's projections.
pub type Tokens = BTreeMap<TokenKey, String>;

/// A file: its contents and mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Contents.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

type Files = BTreeMap<String, File>;

/// The files of a volume by path; `None` if it is not a volume of files.
pub fn of(
    volume: &Volume,
    context: &environment::Context<'_>,
    objects: &Objects,
    tokens: &Tokens,
) -> Option<Result<Files, String>> {
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let object = objects.config_maps.get(&source.name).map(|map| config_map(map));
        let optional = source.optional == Some(true);
        return Some(select(
            "configmap",
            &source.name,
            object,
            source.items.as_deref(),
            mode,
            optional,
        ));
    }
    if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let object = objects.secrets.get(name).map(|secret| secret_data(secret));
        let optional = source.optional == Some(true);
        return Some(select("secret", name, object, source.items.as_deref(), mode, optional));
    }
    if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        return Some(downward(context, source.items.as_deref().unwrap_or_default(), mode));
    }
    let projected = volume.projected.as_ref()?;
    let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
    let mut files = Files::new();
    for source in projected.sources.iter().flatten() {
        match projection(source, context, objects, tokens, mode) {
            Ok(more) => files.extend(more),
            Err(reason) => return Some(Err(reason)),
        }
    }
    Some(Ok(files))
}

fn projection(
    source: &VolumeProjection,
    context: &environment::Context<'_>,
    objects: &Objects,
    tokens: &Tokens,
    mode: i32,
) -> Result<Files, String> {
    if let Some(source) = &source.config_map {
        let object = objects.config_maps.get(&source.name).map(|map| config_map(map));
        let optional = source.optional == Some(true);
        return select("configmap", &source.name, object, source.items.as_deref(), mode, optional);
    }
    if let Some(source) = &source.secret {
        let object = objects.secrets.get(&source.name).map(|secret| secret_data(secret));
        let optional = source.optional == Some(true);
        return select("secret", &source.name, object, source.items.as_deref(), mode, optional);
    }
    if let Some(source) = &source.downward_api {
        return downward(context, source.items.as_deref().unwrap_or_default(), mode);
    }
    if let Some(source) = &source.service_account_token {
        let key = TokenRequestFor::projection(context.pod, source).key();
        let token = tokens.get(&key).ok_or("the token was not fetched")?;
        let file = File { bytes: token.clone().into_bytes(), mode: permissions(mode) };
        return Ok([(source.path.clone(), file)].into());
    }
    Err("this kind of projection is not supported by this node".to_owned())
}

fn config_map(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text =
        map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    let binary =
        map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let entry = |(key, ByteString(bytes)): (&String, &ByteString)| (key.clone(), bytes.clone());
    secret.data.iter().flatten().map(entry).collect()
}

/// All keys of an object, or the chosen ones under the chosen paths.
fn select(
    kind: &str,
    name: &str,
    object: Option<BTreeMap<String, Vec<u8>>>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<Files, String> {
    let data = match object {
        Some(data) => data,
        None if optional => return Ok(Files::new()),
        None => return Err(format!("{kind} {name:?} not found")),
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let file = |bytes| File { bytes, mode: permissions(mode) };
        return Ok(data.into_iter().map(|(key, bytes)| (key, file(bytes))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                let mode = permissions(item.mode.unwrap_or(mode));
                files.insert(item.path.clone(), File { bytes: bytes.clone(), mode });
            }
            None if optional => {}
            None => return Err(format!("{kind} references non-existent config key: {}", item.key)),
        }
    }
    Ok(files)
}

fn downward(
    context: &environment::Context<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
) -> Result<Files, String> {
    let mut files = Files::new();
    for item in items {
        let value = if let Some(reference) = &item.field_ref {
            field(context, &reference.field_path)
        } else if let Some(reference) = &item.resource_field_ref {
            resource_field(context.pod, None, reference, context.allocatable)
        } else {
            continue;
        };
        let bytes = value.map_err(|error| error.to_string())?.into_bytes();
        files.insert(
            item.path.clone(),
            File { bytes, mode: permissions(item.mode.unwrap_or(mode)) },
        );
    }
    Ok(files)
}

fn permissions(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0) & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{Context, fields::Allocatable};
    use k8s_openapi::api::core::v1::Pod;
    use kontiki_api::Object;
    use std::sync::Arc;

    fn check(volume: &str, expected: &str) {
        let pod = Pod::decode(
            format!(
                r#"{{"metadata":{{"name":"web","namespace":"shop","uid":"u1"}},"spec":{{"serviceAccountName":"default","containers":[],"volumes":[{volume}]}}}}"#
            )
            .as_bytes(),
        )
        .unwrap();
        let map = ConfigMap::decode(br#"{"data":{"a":"1","b":"2"},"binaryData":{"c":"Mw=="}}"#);
        let objects = Objects {
            config_maps: [("map".to_owned(), Arc::new(map.unwrap()))].into(),
            ..Objects::default()
        };
        let context = Context {
            pod: &pod,
            pod_addresses: &[],
            node_addresses: &[],
            allocatable: Allocatable::default(),
            objects: &objects,
            services: &BTreeMap::new(),
        };
        let volume = &pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
        let key = TokenKey {
            uid: "u1".to_owned(),
            namespace: "shop".to_owned(),
            account: "default".to_owned(),
            audience: None,
            seconds: 3607,
        };
        let tokens = [(key, "T".to_owned())].into();
        let text = match of(volume, &context, &objects, &tokens).unwrap() {
            Ok(files) => files
                .into_iter()
                .map(|(path, file)| {
                    format!("{path}={} {:o}", String::from_utf8_lossy(&file.bytes), file.mode)
                })
                .collect::<Vec<_>>()
                .join(", "),
            Err(reason) => reason,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn volumes_of_files_hold_what_they_name() {
        check(r#"{"name":"v","configMap":{"name":"map"}}"#, "a=1 644, b=2 644, c=3 644");
        check(
            r#"{"name":"v","configMap":{"name":"map","defaultMode":256,"items":[{"key":"a","path":"x/y"},{"key":"b","path":"z","mode":511}]}}"#,
            "x/y=1 400, z=2 777",
        );
        check(r#"{"name":"v","configMap":{"name":"none"}}"#, "configmap \"none\" not found");
        check(r#"{"name":"v","configMap":{"name":"none","optional":true}}"#, "");
        check(
            r#"{"name":"v","projected":{"sources":[
                {"serviceAccountToken":{"path":"token","expirationSeconds":3607}},
                {"configMap":{"name":"map","items":[{"key":"a","path":"ca.crt"}]}},
                {"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"fieldPath":"metadata.namespace"}}]}}]}}"#,
            "ca.crt=1 644, namespace=shop 644, token=T 644",
        );
    }
}
