//! What containers and pods ask for.

use serde_json::Value;

use super::{Usage, read};

/// Requests and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// What must be there.
    pub requests: Usage,
    /// What is never exceeded.
    pub limits: Usage,
}

impl Demand {
    /// Of one container or claim, by its `resources`.
    pub fn of(resources: &Value) -> Demand {
        Demand { requests: read(&resources["requests"]), limits: read(&resources["limits"]) }
    }

    /// Of the containers of a pod: all together with the init containers that stay, but no less
    /// than an init container needs on its turn.
    pub fn of_containers(spec: &Value) -> Demand {
        let mut sum = Demand::default();
        let list = |field: &str| spec[field].as_array().into_iter().flatten();
        for container in list("containers") {
            sum.add(&Demand::of(&container["resources"]));
        }
        let (mut staying, mut most) = (Demand::default(), Demand::default());
        for container in list("initContainers") {
            let mut own = Demand::of(&container["resources"]);
            if container["restartPolicy"] == "Always" {
                sum.add(&own);
                staying.add(&own);
                most.raise(&staying);
            } else {
                own.add(&staying);
                most.raise(&own);
            }
        }
        sum.raise(&most);
        sum
    }

    /// Of a pod: what it names for all its containers together counts instead of theirs, and
    /// the overhead of its runtime comes on top.
    pub fn of_pod(spec: &Value) -> Demand {
        let mut demand = Demand::of_containers(spec);
        let whole = Demand::of(&spec["resources"]);
        demand.requests.extend(whole.requests);
        demand.limits.extend(whole.limits);
        for (name, amount) in read(&spec["overhead"]) {
            if let Some(limit) = demand.limits.get_mut(&name) {
                *limit += amount;
            }
            *demand.requests.entry(name).or_default() += amount;
        }
        demand
    }

    fn add(&mut self, other: &Demand) {
        for (own, other) in self.beside(other) {
            for (name, amount) in other {
                *own.entry(name.clone()).or_default() += *amount;
            }
        }
    }

    fn raise(&mut self, other: &Demand) {
        for (own, other) in self.beside(other) {
            for (name, amount) in other {
                let entry = own.entry(name.clone()).or_insert(*amount);
                *entry = (*entry).max(*amount);
            }
        }
    }

    fn beside<'a>(&'a mut self, other: &'a Demand) -> [(&'a mut Usage, &'a Usage); 2] {
        [(&mut self.requests, &other.requests), (&mut self.limits, &other.limits)]
    }
}
