//! Preemption: which pods of lower priority would have to go so that this one fits?
//!
//! Tried only on nodes whose refusal other pods may be the cause of. The plan is made on the
//! snapshot itself: victims are taken off, filters asked again, victims put back one by one, the
//! most important first, as long as the pod still fits; at the end everything is as it was.
//!
//! ```text
//! refused --plan--> victims on the node where it hurts least --delete--> room --> next attempt
//!                   (the room is kept for the pod: it is nominated there)
//! ```

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use crate::{
    cycle::Filters,
    pod::PodInfo,
    snapshot::Snapshot,
    verdict::{FitError, Reason, Verdict, counted},
};

/// At least so many nodes are tried, and at least a tenth of all.
const CANDIDATES_MIN: usize = 100;

/// What preemption can do for a pod.
#[derive(Clone, Debug)]
pub enum Preemption {
    /// Nothing, and why.
    No(String),
    /// Nothing more: pods are leaving already.
    Waiting(String),
    /// These pods must go from the node in this slot.
    Victims {
        /// The node's slot.
        slot: usize,
        /// At least one pod.
        victims: Vec<Arc<PodInfo>>,
    },
}

/// Plans for a pod that every node refused. The snapshot is left as it was.
pub fn plan(pod: &PodInfo, cluster: &mut Snapshot, error: &FitError) -> Preemption {
    if !pod.preempts {
        return Preemption::No("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if makes_room(pod, cluster) {
        let why = "not eligible due to a terminating pod on the nominated node.";
        return Preemption::Waiting(why.to_owned());
    }
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let helpless = error.nodes - error.resolvable.len();
    if helpless > 0 {
        let reason = Reason::new("Preemption is not helpful for scheduling");
        reasons.insert(reason, helpless);
    }
    let wanted = (error.nodes / 10).max(CANDIDATES_MIN);
    let mut candidates = Vec::new();
    for slot in &error.resolvable {
        match victims(pod, cluster, *slot) {
            Ok(victims) => candidates.push((*slot, victims)),
            Err(why) => {
                for reason in why {
                    *reasons.entry(reason).or_default() += 1;
                }
            }
        }
        if candidates.len() == wanted {
            break;
        }
    }
    match candidates.into_iter().min_by_key(|(_, victims)| harm(victims)) {
        Some((slot, victims)) => Preemption::Victims { slot, victims },
        None => {
            let nodes = error.nodes;
            let reasons = counted(&reasons);
            Preemption::No(format!("0/{nodes} nodes are available: {reasons}."))
        }
    }
}

/// Whether less important pods are leaving the node where the pod is nominated.
fn makes_room(pod: &PodInfo, cluster: &Snapshot) -> bool {
    let leaving = |other: &Arc<PodInfo>| other.deleting && other.priority < pod.priority;
    let node = pod.nominated.as_deref().and_then(|name| cluster.node_named(name));
    node.is_some_and(|node| node.pods.iter().any(leaving))
}

/// The fewest and least important pods without which the node takes the pod.
fn victims(
    pod: &PodInfo,
    cluster: &mut Snapshot,
    slot: usize,
) -> Result<Vec<Arc<PodInfo>>, Vec<Reason>> {
    let name = cluster.node(slot).name.clone();
    let lower = |other: &&Arc<PodInfo>| other.priority < pod.priority;
    let mut lesser: Vec<Arc<PodInfo>> =
        cluster.node(slot).pods.iter().filter(lower).cloned().collect();
    if lesser.is_empty() {
        return Err(vec![Reason::new("No preemption victims found for incoming pod")]);
    }
    for other in &lesser {
        cluster.displace(&other.key);
    }
    if let Some(why) = refusal(pod, cluster, slot) {
        for other in lesser {
            cluster.place(other, &name);
        }
        return Err(why);
    }
    // The important and long-running first: they have the best chance to stay.
    lesser.sort_by_key(|other| (Reverse(other.priority), other.created, other.key.clone()));
    let mut victims = Vec::new();
    for other in &lesser {
        cluster.place(other.clone(), &name);
        if refusal(pod, cluster, slot).is_some() {
            cluster.displace(&other.key);
            victims.push(other.clone());
        }
    }
    for victim in &victims {
        cluster.place(victim.clone(), &name);
    }
    Ok(victims)
}

fn refusal(pod: &PodInfo, cluster: &Snapshot, slot: usize) -> Option<Vec<Reason>> {
    match Filters::new(pod, cluster) {
        Err(error) => Some(error.reasons.into_keys().collect()),
        Ok(filters) => match filters.refusal(cluster, slot) {
            None | Some((_, Verdict::Fits)) => None,
            Some((_, Verdict::Unschedulable(why) | Verdict::UnschedulableAndUnresolvable(why))) => {
                Some(why)
            }
        },
    }
}

/// Less is better: the highest priority among the victims, the sum of priorities (each raised so
/// that more victims always weigh more), their number, and last the age of the most important,
/// youngest first.
fn harm(victims: &[Arc<PodInfo>]) -> (i32, i64, usize, Reverse<i64>) {
    let highest = victims.iter().map(|v| v.priority).max().unwrap_or(i32::MIN);
    let raised = |v: &Arc<PodInfo>| i64::from(v.priority) - i64::from(i32::MIN) + 1;
    let sum = victims.iter().map(raised).sum();
    let most_important = victims.iter().filter(|v| v.priority == highest);
    let oldest = most_important.map(|v| v.created.as_second()).min().unwrap_or_default();
    (highest, sum, victims.len(), Reverse(oldest))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use kontiki_api::{Object, k8s_openapi::api::core::v1::Node, slim::Pod};
    use serde_json::json;

    use super::*;
    use crate::{
        cycle::{CycleInput, schedule},
        node::NodeOffer,
    };

    fn pod(name: &str, priority: i32, cpu: &str) -> PodInfo {
        let object = json!({
            "metadata": { "name": name, "namespace": "d", "uid": name },
            "spec": {
                "priority": priority,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
            },
        });
        PodInfo::new(&Pod::from_value(object).expect("a pod"))
    }

    /// `node NAME CPU`, `pod NAME NODE PRIORITY CPU`, `new PRIORITY CPU`.
    fn check(world: &str, expected: &Expect) {
        let mut cluster = Snapshot::default();
        let mut answer = String::new();
        for line in world.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let number = |text: &str| text.parse::<i32>().expect("a number");
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["node", name, cpu] => {
                    let object = json!({
                        "metadata": { "name": name },
                        "status": { "allocatable": { "cpu": cpu, "pods": "10" } },
                    });
                    let node = Node::from_value(object).expect("a node");
                    cluster.set_node(name, Arc::new(NodeOffer::new(&node)));
                }
                ["pod", name, node, priority, cpu] => {
                    cluster.place(Arc::new(pod(name, number(priority), cpu)), node);
                }
                ["new", priority, cpu] => {
                    let pod = pod("new", number(priority), cpu);
                    cluster.prepare(&pod);
                    let before = format!("{:?}", sorted(&cluster));
                    let output = schedule(&pod, &cluster, CycleInput::default());
                    let error = output.decision.expect_err("no room");
                    answer = match plan(&pod, &mut cluster, &error) {
                        Preemption::No(why) | Preemption::Waiting(why) => why,
                        Preemption::Victims { slot, victims } => {
                            let names: Vec<&str> = victims.iter().map(|v| &*v.key.name).collect();
                            format!("{}: {}", cluster.node(slot).name, names.join(" "))
                        }
                    };
                    assert_eq!(before, format!("{:?}", sorted(&cluster)), "left as it was");
                }
                _ => panic!("unknown line {line}"),
            }
        }
        expected.assert_eq(&answer);
    }

    fn sorted(cluster: &Snapshot) -> Vec<(String, i64, Vec<String>)> {
        let describe = |slot: &usize| {
            let node = cluster.node(*slot);
            let mut pods: Vec<String> = node.pods.iter().map(|p| p.key.to_string()).collect();
            pods.sort();
            (node.name.to_string(), node.requested.milli_cpu, pods)
        };
        cluster.order().iter().map(describe).collect()
    }

    #[test]
    fn equals_are_not_displaced_and_the_message_counts_nodes() {
        check(
            "
            node a 2
            node tiny 1
            pod x a 5 2
            new 5 2
            ",
            &expect![
                "0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
            ],
        );
    }

    #[test]
    fn only_as_many_go_as_must_and_the_least_important_first() {
        check(
            "
            node a 4
            pod high a 9 1
            pod mid a 5 1
            pod low a 1 1
            pod lowest a 0 1
            new 10 2
            ",
            &expect!["a: low lowest"],
        );
    }

    #[test]
    fn the_node_with_the_least_important_victims_is_chosen() {
        check(
            "
            node a 2
            node b 2
            node c 2
            pod one a 5 2
            pod two b 3 2
            pod three c 3 1
            pod four c 3 1
            new 10 2
            ",
            &expect!["b: two"],
        );
    }
}
