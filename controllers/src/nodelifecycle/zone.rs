//! The brake: how fast pods may be evicted from lost nodes, per zone.
//!
//! One lost node is the node's fault; half a zone, or everything at once, is more likely the
//! network's or ours, and evicting would turn a small problem into a large one. The state is read
//! off the nodes themselves: the time of a zone's latest eviction is the newest taint in it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use super::taints;
use crate::{Options, pods, world::World};

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

#[derive(Default)]
struct Zone {
    size: usize,
    lost: usize,
    latest_eviction: Option<Timestamp>,
}

/// What is known of all zones.
pub(super) struct Brake {
    zones: BTreeMap<String, Zone>,
}

/// When a node's pods may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    In(Duration),
    Never,
}

/// The zone a node is in, as metrics name it.
pub(super) fn zone_key(node: &Node) -> String {
    let label = |name: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(name)).map(String::as_str).unwrap_or_default()
    };
    format!("{}:{}", label(REGION), label(ZONE))
}

impl Brake {
    /// Counts the nodes of each zone.
    pub(super) fn observe(world: &World, is_lost: impl Fn(&Node) -> bool) -> Brake {
        let mut zones: BTreeMap<String, Zone> = BTreeMap::new();
        for node in world.nodes.iter() {
            let zone = zones.entry(zone_key(node)).or_default();
            zone.size += 1;
            zone.lost += usize::from(is_lost(node));
            zone.latest_eviction = zone.latest_eviction.max(taints::evicting_since(node));
        }
        Brake { zones }
    }

    /// Whether no node at all is left.
    pub(super) fn all_lost(&self) -> bool {
        self.zones.values().all(|zone| zone.lost == zone.size)
    }

    /// When it is this node's turn.
    pub(super) fn turn(&self, options: &Options, node: &Node, now: Timestamp) -> Turn {
        let Some(zone) = self.zones.get(&zone_key(node)) else { return Turn::Now };
        if self.all_lost() {
            return Turn::Never;
        }
        if taints::evicting_since(node).is_some() {
            return Turn::Now;
        }
        let rate = zone.rate(options);
        if rate <= 0.0 {
            return Turn::Never;
        }
        let Some(latest) = zone.latest_eviction else { return Turn::Now };
        let pause = Duration::from_secs_f64(1.0 / rate);
        match pause.checked_sub(pods::elapsed(latest, now)) {
            Some(rest) if !rest.is_zero() => Turn::In(rest),
            _ => Turn::Now,
        }
    }
}

impl Zone {
    #[expect(clippy::cast_precision_loss, reason = "no cluster has 2^52 nodes")]
    fn rate(&self, options: &Options) -> f64 {
        let share = self.lost as f64 / self.size.max(1) as f64;
        let all = self.lost == self.size;
        let disrupted = self.lost > 2 && share >= options.unhealthy_zone_threshold;
        if !disrupted || all {
            options.node_eviction_rate
        } else if self.size > options.large_cluster_size_threshold {
            options.secondary_node_eviction_rate
        } else {
            0.0
        }
    }
}
