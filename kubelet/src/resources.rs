//! Quantities into kernel numbers: CPU shares and quotas, memory limits, quality of service,
//! cgroup paths. Pure.

pub mod cgroup;
pub mod quantity;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::pod::spec::PodExt;

type Resources = BTreeMap<String, Quantity>;

/// Requests of a container; what has only a limit requests that.
pub fn requests(container: &Container) -> Resources {
    let resources = container.resources.clone().unwrap_or_default();
    let mut requests = resources.limits.unwrap_or_default();
    requests.extend(resources.requests.unwrap_or_default());
    requests
}

/// Limits of a container.
pub fn limits(container: &Container) -> Resources {
    container.resources.as_ref().and_then(|r| r.limits.clone()).unwrap_or_default()
}

/// Thousandths of a CPU.
pub fn millicpu(resources: &Resources) -> Option<i64> {
    resources.get("cpu").and_then(|q| quantity::milli(&q.0))
}

/// Bytes of memory.
pub fn memory(resources: &Resources) -> Option<i64> {
    resources.get("memory").and_then(|q| quantity::value(&q.0))
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by upstream's rule.
pub fn qos_class(pod: &Pod) -> &'static str {
    let all = || pod.init_containers().iter().chain(&pod.pod_spec().containers);
    let positive = |value: Option<i64>| value.filter(|value| *value > 0);
    let has_any = all().any(|container| {
        let requests = requests(container);
        positive(millicpu(&requests)).is_some() || positive(memory(&requests)).is_some()
    });
    if !has_any {
        return "BestEffort";
    }
    let guaranteed = all().all(|container| {
        let (requests, limits) = (requests(container), limits(container));
        let equal = |get: fn(&Resources) -> Option<i64>| {
            positive(get(&limits)).is_some() && get(&limits) == get(&requests)
        };
        equal(millicpu) && equal(memory)
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}
