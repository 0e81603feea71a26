//! When this process first saw taints that do not say since when they are there.
//!
//! People taint nodes without a time, and pods tolerate a taint for a while from then on. As upstream
//! the time is this process's own: after a restart it counts anew, after a change of leader it does
//! not, since every server has watched.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};

/// First sights of taints by node name.
#[derive(Default)]
pub struct Taints {
    seen: BTreeMap<String, Vec<(Taint, Timestamp)>>,
}

impl Taints {
    /// Since when a node has a taint, as far as that is known.
    pub fn since(&self, node: &str, taint: &Taint) -> Option<Timestamp> {
        let told = taint.time_added.as_ref().map(|time| time.0);
        told.or_else(|| {
            let seen = self.seen.get(node)?;
            seen.iter().find(|(known, _)| known == taint).map(|(_, at)| *at)
        })
    }

    pub(super) fn observe(&mut self, node: &str, taints: &[Taint], now: Timestamp) {
        let untold = taints.iter().filter(|taint| taint.time_added.is_none());
        let seen: Vec<(Taint, Timestamp)> =
            untold.map(|taint| (taint.clone(), self.since(node, taint).unwrap_or(now))).collect();
        if seen.is_empty() {
            self.seen.remove(node);
        } else {
            self.seen.insert(node.to_owned(), seen);
        }
    }

    pub(super) fn forget(&mut self, node: &str) {
        self.seen.remove(node);
    }
}

/// The taints of a node.
pub(super) fn of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_counts_from_when_it_came() {
        let taint = |key: &str| Taint { key: key.to_owned(), ..Taint::default() };
        let at = |seconds| Timestamp::from_second(seconds).expect("a time");
        let (a, b) = (taint("a"), taint("b"));
        let mut taints = Taints::default();
        taints.observe("n", std::slice::from_ref(&a), at(1));
        taints.observe("n", &[b.clone(), a.clone()], at(2));
        assert_eq!((taints.since("n", &a), taints.since("n", &b)), (Some(at(1)), Some(at(2))));
        taints.observe("n", std::slice::from_ref(&b), at(3));
        assert_eq!((taints.since("n", &a), taints.since("n", &b)), (None, Some(at(2))));
        taints.observe("n", std::slice::from_ref(&a), at(4));
        assert_eq!(taints.since("n", &a), Some(at(4)));
        taints.forget("n");
        assert_eq!(taints.since("n", &a), None);
    }
}
