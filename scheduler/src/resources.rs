//! Amounts of node resources: what a node offers, what pods ask for.

use std::{collections::BTreeMap, sync::Arc};

use kontiki_api::{
    k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    quantity,
    slim::{Container, PodSpec},
};

/// What a container that asks for nothing is scored as, so that many small pods still spread.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource. CPU in thousandths, storage in bytes, the rest in units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of local storage.
    pub ephemeral_storage: i64,
    /// Number of pods.
    pub pods: i64,
    /// Extended resources and huge pages, by name.
    pub scalars: BTreeMap<Arc<str>, i64>,
}

impl Resources {
    /// Reads a resource list of the API.
    pub fn from_list(list: &BTreeMap<String, Quantity>) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => resources.milli_cpu = parsed(quantity).millis(),
                "memory" => resources.memory = parsed(quantity).units(),
                "ephemeral-storage" => resources.ephemeral_storage = parsed(quantity).units(),
                "pods" => resources.pods = parsed(quantity).units(),
                other => {
                    resources.scalars.insert(other.into(), parsed(quantity).units());
                }
            }
        }
        resources
    }

    /// Adds another amount.
    pub fn add(&mut self, other: &Resources) {
        self.combine(other, |mine, theirs| mine.saturating_add(theirs));
    }

    /// Takes another amount away.
    pub fn subtract(&mut self, other: &Resources) {
        self.combine(other, |mine, theirs| mine.saturating_sub(theirs));
    }

    /// Raises every amount to at least the other's.
    pub fn raise_to(&mut self, other: &Resources) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Resources, operation: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = operation(self.milli_cpu, other.milli_cpu);
        self.memory = operation(self.memory, other.memory);
        self.ephemeral_storage = operation(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = operation(self.pods, other.pods);
        for (name, theirs) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = operation(*mine, *theirs);
        }
    }

    /// The amount of an extended resource; absent is none.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalars.get(name).copied().unwrap_or_default()
    }
}

/// What a pod asks for: as the filter counts it, and as the scores do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequests {
    /// The effective requests, with `pods` = 1.
    pub effective: Resources,
    /// CPU and memory with defaults for containers that ask for none.
    pub scored: Load,
}

/// CPU and memory as scores count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
}

impl PodRequests {
    /// Sums a pod: containers together with sidecars, or the largest moment of its start
    /// (an init container runs beside the sidecars started before it), plus overhead.
    /// Requests at pod level replace those of the containers.
    pub fn of(spec: &PodSpec) -> PodRequests {
        let overhead = spec.overhead.as_ref().map(Resources::from_list).unwrap_or_default();
        let pod_level = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        let total = |defaults: Option<&Resources>| {
            let mut sum = aggregate(spec, defaults);
            if let Some(list) = pod_level {
                let stated = Resources::from_list(list);
                if list.contains_key("cpu") {
                    sum.milli_cpu = stated.milli_cpu;
                }
                if list.contains_key("memory") {
                    sum.memory = stated.memory;
                }
            }
            sum.add(&overhead);
            sum
        };
        let mut effective = total(None);
        effective.pods = 1;
        let defaults = Resources {
            milli_cpu: DEFAULT_MILLI_CPU,
            memory: DEFAULT_MEMORY,
            ..Resources::default()
        };
        let scored = total(Some(&defaults));
        PodRequests {
            effective,
            scored: Load { milli_cpu: scored.milli_cpu, memory: scored.memory },
        }
    }
}

/// Unparsable text counts as nothing: the API server admits none.
fn parsed(quantity: &Quantity) -> quantity::Quantity {
    quantity::Quantity::parse(&quantity.0).unwrap_or_default()
}

fn aggregate(spec: &PodSpec, defaults: Option<&Resources>) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&requests(container, defaults));
    }
    let mut sidecars = Resources::default();
    let mut start_peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let own = requests(container, defaults);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own);
            start_peak.raise_to(&sidecars);
        } else {
            let mut moment = sidecars.clone();
            moment.add(&own);
            start_peak.raise_to(&moment);
        }
    }
    running.add(&sidecars);
    running.raise_to(&start_peak);
    running
}

fn requests(container: &Container, defaults: Option<&Resources>) -> Resources {
    let list = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let mut own = list.map(Resources::from_list).unwrap_or_default();
    if let Some(defaults) = defaults {
        if !list.is_some_and(|l| l.contains_key("cpu")) {
            own.milli_cpu = defaults.milli_cpu;
        }
        if !list.is_some_and(|l| l.contains_key("memory")) {
            own.memory = defaults.memory;
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use kontiki_api::{Object, slim::Pod};
    use serde_json::{Value, json};

    use super::*;

    fn effective(spec: &Value) -> (i64, i64) {
        let pod = Pod::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod");
        let requests = PodRequests::of(&pod.spec.expect("a spec"));
        (requests.effective.milli_cpu, requests.scored.milli_cpu)
    }

    fn container(cpu: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn containers_add_up_and_silent_ones_are_scored_by_default() {
        assert_eq!(
            effective(&json!({"containers": [container("1"), {"name": "d"}]})),
            (1000, 1100)
        );
    }

    #[test]
    fn the_largest_moment_of_the_start_counts() {
        let mut sidecar = container("300m");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "initContainers": [container("500m"), sidecar, container("1")],
            "containers": [container("200m")],
        });
        assert_eq!(effective(&spec), (1300, 1300));
    }

    #[test]
    fn overhead_and_pod_level_requests_count() {
        let spec = json!({
            "overhead": {"cpu": "50m"},
            "resources": {"requests": {"cpu": "2"}},
            "containers": [container("200m")],
        });
        assert_eq!(effective(&spec), (2050, 2050));
    }
}
