//! The pod's own fields and resources, as variables and as files of the downward API.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use kontiki_api::Object;

use super::{Context, Error};
use crate::{
    pod::spec::PodExt,
    resources::{self, limits, quantity, requests},
};

/// What the node can give to pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocatable {
    /// Thousandths of a CPU.
    pub millicpu: i64,
    /// Bytes of memory.
    pub memory: i64,
}

/// The value of a field path.
pub fn field(context: &Context<'_>, path: &str) -> Result<String, Error> {
    let pod = context.pod;
    if let Some(value) = keyed(path, "metadata.labels", pod.metadata.labels.as_ref())
        .or_else(|| keyed(path, "metadata.annotations", pod.metadata.annotations.as_ref()))
    {
        return Ok(value);
    }
    let spec = pod.pod_spec();
    let first = |addresses: &[IpAddr]| addresses.first().map(IpAddr::to_string).unwrap_or_default();
    let all = |addresses: &[IpAddr]| -> String {
        addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
    };
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(context.node_addresses),
        "status.hostIPs" => all(context.node_addresses),
        "status.podIP" => first(context.pod_addresses),
        "status.podIPs" => all(context.pod_addresses),
        _ => return Err(Error(format!("unsupported fieldPath: {path}"))),
    })
}

/// `metadata.labels['KEY']`
fn keyed(path: &str, prefix: &str, map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let key = path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
    Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// `key="value"` lines, as upstream's files have them.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// The value of a resource of a container: its request or limit in units of the divisor; without
/// a limit, what the node can give.
pub fn resource_field(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    allocatable: Allocatable,
) -> Result<String, Error> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => pod.container(name),
        None => own.map(Cow::Borrowed),
    };
    let container = &*container
        .ok_or_else(|| Error(format!("container {:?} not found", named.unwrap_or_default())))?;
    let divisor = selector.divisor.as_ref().map_or("1", |divisor| divisor.0.as_str());
    let divisor = match divisor {
        "" | "0" => "1",
        divisor => divisor,
    };
    let (value, unit) = match selector.resource.as_str() {
        "limits.cpu" => {
            let limit = resources::millicpu(&limits(container));
            (limit.unwrap_or(allocatable.millicpu), quantity::milli(divisor))
        }
        "requests.cpu" => {
            (resources::millicpu(&requests(container)).unwrap_or(0), quantity::milli(divisor))
        }
        "limits.memory" => {
            let limit = resources::memory(&limits(container));
            (limit.unwrap_or(allocatable.memory), quantity::value(divisor))
        }
        "requests.memory" => {
            (resources::memory(&requests(container)).unwrap_or(0), quantity::value(divisor))
        }
        other => return Err(Error(format!("unsupported container resource : {other}"))),
    };
    let unit = unit
        .filter(|unit| *unit > 0)
        .ok_or_else(|| Error(format!("bad divisor {divisor:?} of {}", selector.resource)))?;
    Ok(((value + unit - 1) / unit).to_string())
}
