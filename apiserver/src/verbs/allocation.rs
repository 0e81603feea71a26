//! Values that the cluster hands out: drawn by the strategy, claimed by the write.
//!
//! A draw is only a guess at what is free; the transaction decides. When another request was
//! faster the strategy draws again. What the object asked for by itself is refused instead.

use std::{collections::BTreeSet, ops::RangeInclusive};

use ipnet::IpNet;
use kontiki_api::{Status, meta};
use serde_json::Value;

use crate::{cache::Resource, core::Core, registry::Allocator};

/// Draws tried when others are faster every time.
const DRAWS_MAX: usize = 64;

/// The draws of one write.
pub struct Allocation<'a> {
    resource: &'a Resource,
    object: Value,
    old: Option<&'a Value>,
    pools: Pools<'a>,
    asked: BTreeSet<String>,
    handed_out: Vec<String>,
    draws: usize,
}

impl<'a> Allocation<'a> {
    /// Before the first draw.
    pub fn new(
        core: &'a Core,
        resource: &'a Resource,
        object: Value,
        old: Option<&'a Value>,
    ) -> Allocation<'a> {
        let mut asked = claim_keys(resource, &object);
        asked.extend(old.iter().flat_map(|old| claim_keys(resource, old)));
        let pools = Pools { core, lost: BTreeSet::new() };
        Allocation { resource, object, old, pools, asked, handed_out: Vec::new(), draws: 0 }
    }

    /// The object with everything it needs.
    pub fn draw(&mut self) -> Result<Value, Status> {
        let row = &self.resource.row;
        let mut object = self.object.clone();
        self.resource.strategy.allocate(&mut object, self.old, &self.pools).map_err(|errors| {
            Status::invalid(&row.group, &row.kind, meta::name(&self.object), &errors)
        })?;
        self.handed_out = claim_keys(self.resource, &object)
            .into_iter()
            .filter(|key| !self.asked.contains(key))
            .collect();
        self.draws += 1;
        Ok(object)
    }

    /// The write did not succeed: is another draw worth it? If not, this is the final answer.
    pub async fn lost(&mut self, status: Status) -> Result<(), Status> {
        if status.reason != "Invalid" || self.handed_out.is_empty() || self.draws >= DRAWS_MAX {
            return Err(status);
        }
        let core = self.pools.core;
        core.catch_up().await?;
        let taken: Vec<String> =
            self.handed_out.drain(..).filter(|key| core.caches.is_claimed(key)).collect();
        if taken.is_empty() {
            return Err(status);
        }
        self.pools.lost.extend(taken);
        Ok(())
    }
}

fn claim_keys(resource: &Resource, object: &Value) -> BTreeSet<String> {
    resource.strategy.claims(object).into_iter().map(|claim| claim.key).collect()
}

struct Pools<'a> {
    core: &'a Core,
    lost: BTreeSet<String>,
}

impl Allocator for Pools<'_> {
    fn service_cidrs(&self) -> &[IpNet] {
        &self.core.options.service_cidrs
    }

    fn service_ranges(&self) -> Vec<IpNet> {
        let mut ranges = self.service_cidrs().to_vec();
        for range in self.core.in_namespace("networking.k8s.io", "servicecidrs", "") {
            let added = usable(&range.value()).into_iter();
            ranges.extend(added.filter(|range| !self.service_cidrs().contains(range)));
        }
        ranges
    }

    fn node_ports(&self) -> RangeInclusive<u16> {
        self.core.options.node_ports.clone()
    }

    fn is_taken(&self, claim: &str) -> bool {
        self.lost.contains(claim) || self.core.caches.is_claimed(claim)
    }

    fn random_below(&self, bound: u64) -> u64 {
        rand::random_range(0..bound.max(1))
    }
}

/// The ranges of a ServiceCIDR, if addresses may be taken from it.
fn usable(object: &Value) -> Vec<IpNet> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ready = list(&object["status"]["conditions"]);
    if meta::is_deleting(object)
        || !ready.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    {
        return Vec::new();
    }
    list(&object["spec"]["cidrs"]).iter().filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranges_are_used_while_they_are_ready() {
        let range = |status: &str, deleting: Option<&str>| {
            let mut object = json!({
                "metadata": {}, "spec": {"cidrs": ["10.44.0.0/24"]},
                "status": {"conditions": [{"type": "Ready", "status": status}]},
            });
            if let Some(deleting) = deleting {
                object["metadata"]["deletionTimestamp"] = deleting.into();
            }
            usable(&object).len()
        };
        assert_eq!(range("True", None), 1);
        assert_eq!(range("False", None), 0);
        assert_eq!(range("True", Some("2026-01-01T00:00:00Z")), 0);
    }
}
