//! The snapshot together with what is decided but not yet seen: assumed pods.
//!
//! A pod is assumed on its node from the decision until the watch shows it there, so that the
//! next cycle counts with it. It is forgotten when binding fails, when it is deleted, or when the
//! watch does not show it bound in time. A nominated pod is counted likewise on the node where
//! others make way for it, but only pods that are not more important see it there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    node::NodeOffer,
    pod::{PodInfo, PodKey},
    queue::{Changes, Moment},
    selector::Labels,
    snapshot::{NodeChange, Snapshot},
};

/// How long a bound pod may take to show up in the watch.
const SEEN_MAX: Duration = Duration::from_secs(60);
/// How long a binding may take, whatever becomes of it.
const BOUND_MAX: Duration = Duration::from_secs(180);

#[derive(Debug)]
struct Assumed {
    uid: Arc<str>,
    expires: Moment,
}

/// What is known of the cluster, and what of it changed since it was last asked.
#[derive(Debug, Default)]
pub struct Cluster {
    /// What cycles read.
    pub snapshot: Snapshot,
    assumed: HashMap<PodKey, Assumed>,
    nominated: BTreeMap<(i32, PodKey), (Arc<PodInfo>, Arc<str>)>,
    changes: Changes,
}

impl Cluster {
    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// A node is there, or changed.
    pub fn set_node(&mut self, name: &str, offer: Arc<NodeOffer>) {
        match self.snapshot.set_node(name, offer) {
            NodeChange::None => {}
            NodeChange::Added(slot) | NodeChange::Changed(slot) => {
                self.changes.nodes.insert(slot);
            }
        }
    }

    /// A node is gone.
    pub fn remove_node(&mut self, name: &str) {
        self.snapshot.remove_node(name);
        // A pod that spreads may fit now that a domain is gone.
        self.changes.all = true;
    }

    /// A namespace is there, changed, or gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        self.snapshot.set_namespace(name, labels);
    }

    /// The watch shows a pod on a node.
    pub fn set_placed(&mut self, pod: Arc<PodInfo>) {
        self.assumed.remove(&pod.key);
        self.withdraw(&pod);
        let node = pod.node_name.clone().expect("a placed pod names its node");
        let former = self.snapshot.pod(&pod.key);
        let unchanged = former.is_some_and(|former| {
            former.uid == pod.uid
                && former.schedules_like(&pod)
                && former.owner == pod.owner
                && former.deleting == pod.deleting
        });
        let same_node = self.snapshot.node_of(&pod.key).is_some_and(|n| n.name == node);
        if unchanged && same_node {
            return self.snapshot.refresh(pod);
        }
        let freed = self.snapshot.node_of(&pod.key).map(|node| node.slot);
        if let Some(slot) = freed {
            self.changes.nodes.insert(slot);
            self.wake_nominees(slot);
        }
        self.snapshot.place(pod.clone(), &node);
        self.changes.pods.push(pod);
    }

    /// A pod is gone, has ended, or was never placed.
    pub fn remove_pod(&mut self, key: &PodKey) {
        self.assumed.remove(key);
        if let Some((pod, slot)) = self.snapshot.displace(key) {
            self.nominated.remove(&(pod.priority, key.clone()));
            self.changes.nodes.insert(slot);
            self.wake_nominees(slot);
            self.changes.pods.push(pod);
        }
    }

    /// Keeps room on a node for a pod that others made way for.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: &Arc<str>) {
        if self.snapshot.node_named(node).is_none() {
            return;
        }
        self.withdraw(pod);
        self.snapshot.place(pod.clone(), node);
        let entry = (pod.clone(), node.clone());
        self.nominated.insert((pod.priority, pod.key.clone()), entry);
    }

    /// Whether room is kept for this very pod.
    pub fn is_nominated(&self, pod: &PodInfo) -> bool {
        let entry = self.nominated.get(&(pod.priority, pod.key.clone()));
        entry.is_some_and(|(nominee, _)| nominee.uid == pod.uid)
    }

    /// Runs a cycle as a pod sees the cluster: room that is kept for itself, or for pods less
    /// important, is free.
    pub fn seen_by<R>(&mut self, pod: &PodInfo, cycle: impl FnOnce(&mut Snapshot) -> R) -> R {
        let lesser = |(priority, key): &(i32, PodKey)| *priority < pod.priority || *key == pod.key;
        let aside: Vec<(Arc<PodInfo>, Arc<str>)> = self
            .nominated
            .iter()
            .take_while(|((priority, _), _)| *priority <= pod.priority)
            .filter(|(key, _)| lesser(key))
            .map(|(_, entry)| entry.clone())
            .collect();
        for (nominee, _) in &aside {
            self.snapshot.displace(&nominee.key);
        }
        let result = cycle(&mut self.snapshot);
        for (nominee, node) in aside {
            self.snapshot.place(nominee, &node);
        }
        result
    }

    /// Keeps room no longer.
    pub fn withdraw(&mut self, pod: &PodInfo) {
        if let Some((nominee, _)) = self.nominated.remove(&(pod.priority, pod.key.clone())) {
            self.snapshot.displace(&nominee.key);
        }
    }

    /// Does as the pod's status says: another member may have nominated it.
    pub fn follow_nomination(&mut self, pod: &Arc<PodInfo>) {
        let kept = self.nominated.get(&(pod.priority, pod.key.clone()));
        match (&pod.nominated, kept) {
            (Some(node), None) => self.nominate(pod, node),
            // What was kept because the status said so.
            (None, Some((nominee, _))) if nominee.nominated.is_some() => self.withdraw(pod),
            _ => {}
        }
    }

    /// Whoever is nominated on a node waits for what happens there.
    fn wake_nominees(&mut self, slot: usize) {
        if self.nominated.is_empty() {
            return;
        }
        let node = &self.snapshot.node(slot).name;
        let there = self.nominated.values().filter(|(_, nominated)| nominated == node);
        self.changes.nominees.extend(there.map(|(pod, _)| pod.key.clone()));
    }

    /// Counts a pod on the node that was decided for it.
    pub fn assume(&mut self, pod: Arc<PodInfo>, slot: usize, now: Moment) {
        let node = self.snapshot.node(slot).name.clone();
        self.withdraw(&pod);
        let assumed = Assumed { uid: pod.uid.clone(), expires: now + BOUND_MAX };
        self.assumed.insert(pod.key.clone(), assumed);
        self.snapshot.place(pod.clone(), &node);
        self.changes.pods.push(pod);
    }

    /// Whether this very pod is assumed somewhere.
    pub fn is_assumed(&self, key: &PodKey, uid: &str) -> bool {
        self.assumed.get(key).is_some_and(|assumed| &*assumed.uid == uid)
    }

    /// The binding was acknowledged: the watch will show it.
    pub fn bound(&mut self, key: &PodKey, now: Moment) {
        if let Some(assumed) = self.assumed.get_mut(key) {
            assumed.expires = now + SEEN_MAX;
        }
    }

    /// Takes an assumption back. `false` if the watch has confirmed it meanwhile.
    pub fn forget(&mut self, key: &PodKey) -> bool {
        let was_assumed = self.assumed.contains_key(key);
        if was_assumed {
            self.remove_pod(key);
        }
        was_assumed
    }

    /// Assumptions that outlived their time.
    pub fn expired(&self, now: Moment) -> Vec<PodKey> {
        let over = |a: &Assumed| a.expires <= now;
        self.assumed.iter().filter(|(_, a)| over(a)).map(|(key, _)| key.clone()).collect()
    }

    /// When the first assumption runs out.
    pub fn next_expiry(&self) -> Option<Moment> {
        self.assumed.values().map(|a| a.expires).min()
    }

    /// All assumptions: a turn ended before they were seen.
    pub fn assumptions(&self) -> Vec<PodKey> {
        self.assumed.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use kontiki_api::{Object, k8s_openapi::api::core::v1::Node, slim::Pod};
    use serde_json::json;

    use super::*;

    fn pod(name: &str, priority: i32, node: Option<&str>) -> Arc<PodInfo> {
        let object = json!({
            "metadata": { "name": name, "namespace": "d", "uid": name },
            "spec": {
                "priority": priority, "nodeName": node,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
            },
        });
        Arc::new(PodInfo::new(&Pod::from_value(object).expect("a pod")))
    }

    fn cluster() -> Cluster {
        let object = json!({
            "metadata": { "name": "n" },
            "status": { "allocatable": { "cpu": "4", "pods": "10" } },
        });
        let mut cluster = Cluster::default();
        let node = Node::from_value(object).expect("a node");
        cluster.set_node("n", Arc::new(NodeOffer::new(&node)));
        cluster.take_changes();
        cluster
    }

    fn taken(cluster: &Cluster) -> i64 {
        cluster.snapshot.node(0).requested.milli_cpu
    }

    #[test]
    fn an_assumed_pod_counts_once_when_the_watch_shows_it() {
        let mut cluster = cluster();
        cluster.assume(pod("a", 0, None), 0, Duration::ZERO);
        assert!(cluster.is_assumed(&pod("a", 0, None).key, "a"));
        assert_eq!(taken(&cluster), 1000);
        cluster.set_placed(pod("a", 0, Some("n")));
        assert_eq!((taken(&cluster), cluster.next_expiry()), (1000, None));
    }

    #[test]
    fn an_assumption_that_nobody_confirms_runs_out() {
        let mut cluster = cluster();
        let assumed = pod("a", 0, None);
        cluster.assume(assumed.clone(), 0, Duration::ZERO);
        cluster.bound(&assumed.key, Duration::from_secs(1));
        assert!(cluster.expired(Duration::from_secs(60)).is_empty());
        assert_eq!(cluster.expired(Duration::from_secs(61)).len(), 1);
        assert!(cluster.forget(&assumed.key));
        assert_eq!(taken(&cluster), 0);
        assert!(cluster.take_changes().nodes.contains(&0), "its room may wake others");
    }

    #[test]
    fn room_kept_for_a_pod_is_free_for_itself_and_the_more_important_only() {
        let mut cluster = cluster();
        let nominee = pod("important", 5, None);
        cluster.nominate(&nominee, &Arc::from("n"));
        for (name, priority, expected) in [("other", 5, 1000), ("lord", 9, 0), ("important", 5, 0)]
        {
            let seen =
                cluster.seen_by(&pod(name, priority, None), |s| s.node(0).requested.milli_cpu);
            assert_eq!(seen, expected, "{name}");
        }
        assert_eq!(taken(&cluster), 1000);
        cluster.remove_pod(&nominee.key);
        assert_eq!(taken(&cluster), 0);
    }
}
