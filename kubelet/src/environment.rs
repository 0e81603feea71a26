//! A container's environment: literal values, references to ConfigMaps, Secrets and the pod's own
//! fields, `$(NAME)` expansion. Pure, over objects that were fetched before.

pub mod expand;
pub mod fields;
pub mod services;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret};

use expand::expand;
use fields::{Allocatable, field, resource_field};

/// Why an environment cannot be made; upstream's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Error(pub String);

/// Names of the ConfigMaps and Secrets that something refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

/// Fetched ConfigMaps and Secrets by name; what does not exist is absent.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// ConfigMaps.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

/// What a container's environment depends on besides its specification.
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Addresses of the pod, the primary one first.
    pub pod_addresses: &'a [IpAddr],
    /// Addresses of the node.
    pub node_addresses: &'a [IpAddr],
    /// What the node can give, for resources without limits.
    pub allocatable: Allocatable,
    /// Referenced objects.
    pub objects: &'a Objects,
    /// Variables that tell of Services.
    pub services: &'a BTreeMap<String, String>,
}

/// The objects that a container's environment refers to.
pub fn references(container: &Container) -> References {
    let mut references = References::default();
    for source in container.env_from.iter().flatten() {
        references.config_maps.extend(source.config_map_ref.iter().map(|r| r.name.clone()));
        references.secrets.extend(source.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        references.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        references.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    references
}

/// The environment of a container, in order.
pub fn environment(
    context: &Context<'_>,
    container: &Container,
) -> Result<Vec<(String, String)>, Error> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let map = context.objects.config_maps.get(&reference.name);
            let data = found(map, "configmap", &reference.name, reference.optional)?;
            let data = data.and_then(|map| map.data.as_ref()).into_iter().flatten();
            known.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
        }
        if let Some(reference) = &source.secret_ref {
            let secret = context.objects.secrets.get(&reference.name);
            let data = found(secret, "secret", &reference.name, reference.optional)?;
            let data = data.and_then(|secret| secret.data.as_ref()).into_iter().flatten();
            known.extend(data.map(|(key, value)| {
                (format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned())
            }));
        }
    }
    let mut order: Vec<String> = known.keys().cloned().collect();
    for variable in container.env.iter().flatten() {
        let Some(value) = value(context, container, variable, &known)? else { continue };
        if known.insert(variable.name.clone(), value).is_none() {
            order.push(variable.name.clone());
        }
    }
    for (name, value) in context.services {
        if !known.contains_key(name) {
            known.insert(name.clone(), value.clone());
            order.push(name.clone());
        }
    }
    Ok(order.into_iter().map(|name| (known[&name].clone(), name)).map(|(v, n)| (n, v)).collect())
}

/// An object that must be there unless it is optional.
fn found<'a, T>(
    object: Option<&'a Arc<T>>,
    kind: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a T>, Error> {
    match object {
        Some(object) => Ok(Some(object)),
        None if optional == Some(true) => Ok(None),
        None => Err(Error(format!("{kind} {name:?} not found"))),
    }
}

fn value(
    context: &Context<'_>,
    container: &Container,
    variable: &EnvVar,
    known: &BTreeMap<String, String>,
) -> Result<Option<String>, Error> {
    let Some(source) = &variable.value_from else {
        let text = variable.value.as_deref().unwrap_or_default();
        let lookup = |name: &str| known.get(name).or_else(|| context.services.get(name)).cloned();
        return Ok(Some(expand(text, lookup)));
    };
    if let Some(reference) = &source.field_ref {
        return field(context, &reference.field_path).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return resource_field(context.pod, Some(container), reference, context.allocatable)
            .map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let map = context.objects.config_maps.get(&reference.name);
        let Some(map) = found(map, "configmap", &reference.name, reference.optional)? else {
            return Ok(None);
        };
        let value = map.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        return key_found(
            context,
            value,
            "ConfigMap",
            &reference.name,
            &reference.key,
            reference.optional,
        );
    }
    if let Some(reference) = &source.secret_key_ref {
        let secret = context.objects.secrets.get(&reference.name);
        let Some(secret) = found(secret, "secret", &reference.name, reference.optional)? else {
            return Ok(None);
        };
        let value = secret.data.as_ref().and_then(|data| data.get(&reference.key));
        let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
        return key_found(
            context,
            value,
            "Secret",
            &reference.name,
            &reference.key,
            reference.optional,
        );
    }
    Ok(Some(String::new()))
}

fn key_found(
    context: &Context<'_>,
    value: Option<String>,
    kind: &str,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, Error> {
    if value.is_some() || optional == Some(true) {
        return Ok(value);
    }
    let namespace = context.pod.metadata.namespace.as_deref().unwrap_or_default();
    Err(Error(format!("couldn't find key {key} in {kind} {namespace}/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_api::Object;

    #[test]
    fn variables_come_from_everywhere_and_later_ones_win() {
        let pod = Pod::decode(
            br#"{"metadata":{"name":"web-1","namespace":"shop","labels":{"app":"web"}},"spec":{"containers":[{
                "name":"web","resources":{"limits":{"memory":"64Mi"}},
                "envFrom":[{"configMapRef":{"name":"all"},"prefix":"C_"},{"secretRef":{"name":"gone","optional":true}}],
                "env":[{"name":"A","value":"1"},{"name":"B","value":"$(A)-$(C_x)-$$(A)-$(NONE)"},
                    {"name":"POD_NAME","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},
                    {"name":"LABEL","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['app']"}}},
                    {"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},
                    {"name":"MEM","valueFrom":{"resourceFieldRef":{"resource":"limits.memory","divisor":"1Mi"}}},
                    {"name":"WORD","valueFrom":{"secretKeyRef":{"name":"word","key":"w"}}},
                    {"name":"MAYBE","valueFrom":{"configMapKeyRef":{"name":"all","key":"none","optional":true}}}]}]}}"#,
        )
        .unwrap();
        let map = ConfigMap::decode(br#"{"data":{"x":"9"}}"#).unwrap();
        let secret = Secret::decode(br#"{"data":{"w":"aGVsbG8="}}"#).unwrap();
        let objects = Objects {
            config_maps: [("all".to_owned(), Arc::new(map))].into(),
            secrets: [("word".to_owned(), Arc::new(secret))].into(),
        };
        let context = Context {
            pod: &pod,
            pod_addresses: &["10.42.0.7".parse().unwrap()],
            node_addresses: &["10.99.0.11".parse().unwrap()],
            allocatable: Allocatable { millicpu: 2000, memory: 1 << 30 },
            objects: &objects,
            services: &[("DB_PORT".to_owned(), "5432".to_owned())].into(),
        };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let text: Vec<String> = environment(&context, container)
            .unwrap()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            text.join(" "),
            "C_x=9 A=1 B=1-9-$(A)-$(NONE) POD_NAME=web-1 LABEL=web IP=10.42.0.7 MEM=64 WORD=hello DB_PORT=5432"
        );
        let empty = Context { objects: &Objects::default(), ..context };
        assert_eq!(
            environment(&empty, container),
            Err(Error("configmap \"all\" not found".to_owned()))
        );
    }
}
