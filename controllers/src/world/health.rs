//! When this process last saw a sign of life of each node.
//!
//! A node's clock is not trusted: what counts is when a *change* of its Lease or of its heartbeat
//! arrived here, by this process's own clock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};

/// Signs of life by node name.
#[derive(Default)]
pub struct Health {
    seen: BTreeMap<String, Sign>,
    missing: BTreeMap<String, Timestamp>,
}

struct Sign {
    renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    at: Timestamp,
}

impl Sign {
    fn at(now: Timestamp) -> Sign {
        Sign { renewed: None, heartbeat: None, at: now }
    }
}

impl Health {
    /// When the last sign of life of a node arrived; `None` if there never was one.
    pub fn last_seen(&self, node: &str) -> Option<Timestamp> {
        self.seen.get(node).map(|sign| sign.at)
    }

    /// Since when pods name a node that does not exist.
    pub fn missing_since(&self, node: &str) -> Option<Timestamp> {
        self.missing.get(node).copied()
    }

    pub(super) fn renewed(&mut self, node: &str, renewed: Option<Timestamp>, now: Timestamp) {
        let sign = self.seen.entry(node.to_owned()).or_insert_with(|| Sign::at(now));
        if renewed.is_some() && sign.renewed != renewed {
            sign.renewed = renewed;
            sign.at = now;
        }
    }

    pub(super) fn heartbeat(&mut self, node: &str, beat: Option<Timestamp>, now: Timestamp) {
        self.missing.remove(node);
        let sign = self.seen.entry(node.to_owned()).or_insert_with(|| Sign::at(now));
        if beat.is_some() && sign.heartbeat != beat {
            sign.heartbeat = beat;
            sign.at = now;
        }
    }

    pub(super) fn node_removed(&mut self, node: &str, now: Timestamp) {
        self.seen.remove(node);
        self.missing.insert(node.to_owned(), now);
    }

    pub(super) fn node_missing(&mut self, node: &str, now: Timestamp) {
        self.missing.entry(node.to_owned()).or_insert(now);
    }
}

/// When a Lease says it was renewed.
pub(super) fn renew_time(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

/// The heartbeat in a node's Ready condition, unless it was written for the node.
pub(super) fn last_heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|time| time.0)
}
