//! What scheduling needs to know of a pod, read once from the API's object.

use std::{collections::BTreeSet, fmt, sync::Arc};

use kontiki_api::{
    Object,
    k8s_openapi::{
        api::core::v1::{Affinity, PodAffinityTerm, Toleration, TopologySpreadConstraint},
        jiff::Timestamp,
    },
    selector::Operator,
    slim::{Container, Pod, PodSpec},
};

use crate::{
    query::{Clause, Namespaces, Query},
    resources::{PodRequests, Resources},
    selector::{Labels, NodeTerm, compile, narrowed},
};

/// The profile that serves pods which name no scheduler.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// Namespace and name of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl PodKey {
    /// The key of an object.
    pub fn of(pod: &Pod) -> PodKey {
        PodKey { namespace: pod.namespace().into(), name: pod.name().into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The address it is bound to; the unspecified one takes the port on all.
    pub address: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts_with(&self, other: &HostPort) -> bool {
        let any = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || any(&self.address) || any(&other.address))
    }
}

/// A term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AffinityTerm {
    /// Which pods are meant.
    pub query: Query,
    /// The node label whose equal values are one place.
    pub topology_key: Arc<str>,
}

/// A rule on how evenly pods are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadConstraint {
    /// Which pods are counted.
    pub query: Query,
    /// The node label whose equal values are one domain.
    pub topology_key: Arc<str>,
    /// The largest difference between two domains.
    pub max_skew: i64,
    /// Fewer domains than this count as one that is empty.
    pub min_domains: i64,
    /// A condition (`DoNotSchedule`), not a wish (`ScheduleAnyway`).
    pub required: bool,
    /// Nodes that the pod's node affinity excludes are no domains.
    pub honor_affinity: bool,
    /// Nodes whose taints the pod does not tolerate are no domains.
    pub honor_taints: bool,
}

/// Pod affinity and anti-affinity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodAffinity {
    /// Terms that must hold.
    pub required: Vec<AffinityTerm>,
    /// The pods that satisfy them: those that match every required term.
    pub required_query: Option<Query>,
    /// Terms that are wished for, with their weights; negative where pods are to be avoided.
    pub preferred: Vec<(i64, AffinityTerm)>,
    /// Terms that must not hold.
    pub required_anti: Vec<AffinityTerm>,
}

impl PodAffinity {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.preferred.is_empty() && self.required_anti.is_empty()
    }
}

/// A pod as scheduling sees it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Namespace and name.
    pub key: PodKey,
    /// Its uid.
    pub uid: Arc<str>,
    /// The node it is bound to.
    pub node_name: Option<Arc<str>>,
    /// The profile that is to place it.
    pub scheduler_name: Arc<str>,
    /// Higher goes first.
    pub priority: i32,
    /// May it displace others?
    pub preempts: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Its labels.
    pub labels: Labels,
    /// What it asks for.
    pub requests: PodRequests,
    /// The taints it bears.
    pub tolerations: Vec<Toleration>,
    /// `spec.nodeSelector`.
    pub node_selector: Labels,
    /// Required node affinity: one of the terms must match.
    pub required_node_terms: Option<Vec<NodeTerm>>,
    /// Preferred node affinity with weights.
    pub preferred_node_terms: Vec<(i64, NodeTerm)>,
    /// Ports on the node.
    pub host_ports: Vec<HostPort>,
    /// Spread rules.
    pub spread: Vec<SpreadConstraint>,
    /// Affinity to other pods.
    pub affinity: PodAffinity,
    /// The pods of the same controller, by its uid.
    pub owner: Option<Arc<str>>,
    /// Images of its containers.
    pub images: BTreeSet<String>,
    /// Names of gates that hold it back.
    pub gates: Vec<String>,
    /// Ended, so that it takes no room.
    pub terminal: bool,
    /// Deletion was requested.
    pub deleting: bool,
    /// The node where room is made, or was made, for it.
    pub nominated: Option<Arc<str>>,
    /// The PodScheduled condition's message, while it says Unschedulable.
    pub unschedulable_message: Option<String>,
}

impl PodInfo {
    /// Reads a pod.
    pub fn new(pod: &Pod) -> PodInfo {
        let absent = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&absent);
        let metadata = pod.metadata();
        let key = PodKey::of(pod);
        let labels = metadata.labels.clone().unwrap_or_default();
        let scheduler = spec.scheduler_name.as_deref().unwrap_or_default();
        let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let status = pod.status.as_ref();
        PodInfo {
            uid: pod.uid().into(),
            node_name: spec.node_name.as_deref().filter(|n| !n.is_empty()).map(Arc::from),
            scheduler_name: if scheduler.is_empty() { DEFAULT_SCHEDULER } else { scheduler }.into(),
            priority: spec.priority.unwrap_or_default(),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            created: metadata.creation_timestamp.as_ref().map(|t| t.0).unwrap_or_default(),
            requests: PodRequests::of(spec),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            required_node_terms: node_affinity
                .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
                .map(|s| s.node_selector_terms.iter().map(NodeTerm::new).collect()),
            preferred_node_terms: node_affinity
                .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .map(|t| (i64::from(t.weight), NodeTerm::new(&t.preference)))
                .collect(),
            host_ports: host_ports(spec),
            spread: spread_constraints(spec, &key.namespace, &labels),
            affinity: pod_affinity(spec.affinity.as_deref(), &key.namespace, &labels),
            owner: controller_uid(pod),
            images: containers(spec).filter_map(|c| c.image.clone()).collect(),
            gates: spec.scheduling_gates.iter().flatten().map(|g| g.name.clone()).collect(),
            terminal: status
                .and_then(|s| s.phase.as_deref())
                .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed")),
            deleting: pod.is_deleting(),
            nominated: status
                .and_then(|s| s.nominated_node_name.as_deref())
                .filter(|name| !name.is_empty())
                .map(Arc::from),
            unschedulable_message: unschedulable_message(pod),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            labels,
            key,
        }
    }

    /// What takes room on a node.
    pub fn requested(&self) -> &Resources {
        &self.requests.effective
    }

    /// Whether it is spread with its siblings although it does not say how.
    pub fn spreads_by_default(&self) -> bool {
        self.spread.is_empty() && self.owner.is_some()
    }

    /// Whether a change of the pod can change where it may go. Status and annotations cannot.
    pub fn schedules_like(&self, other: &PodInfo) -> bool {
        self.labels == other.labels
            && self.requests == other.requests
            && self.tolerations == other.tolerations
            && self.gates == other.gates
            && self.node_selector == other.node_selector
            && self.priority == other.priority
            && self.spread == other.spread
            && self.affinity == other.affinity
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Ports of containers and of sidecars; ordinary init containers are gone by then.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let host_network = spec.host_network == Some(true);
    sidecars
        .chain(&spec.containers)
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.filter(|n| *n > 0);
            Some(HostPort {
                port: number.or(host_network.then_some(port.container_port))?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                address: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

fn spread_constraints(
    spec: &PodSpec,
    namespace: &Arc<str>,
    labels: &Labels,
) -> Vec<SpreadConstraint> {
    let compile = |c: &TopologySpreadConstraint| {
        let mut selector = compile(c.label_selector.as_ref());
        for key in c.match_label_keys.iter().flatten() {
            if let Some(value) = labels.get(key) {
                selector = narrowed(selector, key, Operator::In, value);
            }
        }
        SpreadConstraint {
            query: Query {
                clauses: vec![Clause {
                    namespaces: Namespaces::Listed(vec![namespace.clone()]),
                    selector,
                }],
                terminating: false,
            },
            topology_key: c.topology_key.as_str().into(),
            max_skew: i64::from(c.max_skew),
            min_domains: i64::from(c.min_domains.unwrap_or(1)),
            required: c.when_unsatisfiable == "DoNotSchedule",
            honor_affinity: c.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: c.node_taints_policy.as_deref() == Some("Honor"),
        }
    };
    spec.topology_spread_constraints.iter().flatten().map(compile).collect()
}

fn pod_affinity(affinity: Option<&Affinity>, namespace: &Arc<str>, labels: &Labels) -> PodAffinity {
    let term = |t: &PodAffinityTerm| affinity_term(t, namespace, labels);
    let toward = affinity.and_then(|a| a.pod_affinity.as_ref());
    let away = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    let mut preferred = Vec::new();
    let wishes = toward
        .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
        .map(|terms| (1, terms));
    let avoidances = away
        .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
        .map(|terms| (-1, terms));
    for (sign, terms) in wishes.into_iter().chain(avoidances) {
        for weighted in terms {
            preferred.push((sign * i64::from(weighted.weight), term(&weighted.pod_affinity_term)));
        }
    }
    let required: Vec<AffinityTerm> = toward
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
        .into_iter()
        .flatten()
        .map(term)
        .collect();
    let clauses: Vec<Clause> = required.iter().flat_map(|t| t.query.clauses.clone()).collect();
    PodAffinity {
        required_query: (!clauses.is_empty()).then_some(Query { clauses, terminating: true }),
        required,
        preferred,
        required_anti: away
            .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
            .into_iter()
            .flatten()
            .map(term)
            .collect(),
    }
}

fn affinity_term(term: &PodAffinityTerm, namespace: &Arc<str>, labels: &Labels) -> AffinityTerm {
    let mut selector = compile(term.label_selector.as_ref());
    let narrowings =
        [(&term.match_label_keys, Operator::In), (&term.mismatch_label_keys, Operator::NotIn)];
    for (keys, operator) in narrowings {
        for key in keys.iter().flatten() {
            if let Some(value) = labels.get(key) {
                selector = narrowed(selector, key, operator, value);
            }
        }
    }
    let mut listed: Vec<Arc<str>> =
        term.namespaces.iter().flatten().map(|n| Arc::from(n.as_str())).collect();
    listed.sort();
    let namespaces = match &term.namespace_selector {
        Some(selected) => Namespaces::ListedOrSelected(listed, compile(Some(selected))),
        None if listed.is_empty() => Namespaces::Listed(vec![namespace.clone()]),
        None => Namespaces::Listed(listed),
    };
    AffinityTerm {
        query: Query { clauses: vec![Clause { namespaces, selector }], terminating: true },
        topology_key: term.topology_key.as_str().into(),
    }
}

fn controller_uid(pod: &Pod) -> Option<Arc<str>> {
    let owners = pod.metadata().owner_references.iter().flatten();
    owners.into_iter().find(|o| o.controller == Some(true)).map(|o| o.uid.as_str().into())
}

fn unschedulable_message(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|c| c.type_ == "PodScheduled")?;
    (condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
        .then(|| condition.message.clone().unwrap_or_default())
}
