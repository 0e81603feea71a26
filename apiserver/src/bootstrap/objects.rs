//! Objects outside RBAC that every cluster begins with: priority classes, the range of Service
//! addresses, and what flow control tells apart.

use serde_json::{Value, json};

use crate::{options::Options, strategy::priority_class::SYSTEM};

const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";

/// The objects with their groups and resources, in the order in which they need one another.
pub(super) fn all(options: &Options) -> Vec<(&'static str, &'static str, Value)> {
    let mut all: Vec<(&'static str, &'static str, Value)> = Vec::new();
    for (name, value, description) in SYSTEM {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "description": description,
        });
        all.push(("scheduling.k8s.io", "priorityclasses", class));
    }
    let cidrs: Vec<String> = options.service_cidrs.iter().map(ToString::to_string).collect();
    let range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
    });
    all.push(("networking.k8s.io", "servicecidrs", range));
    all.extend(levels().into_iter().map(|one| (FLOW_CONTROL, "prioritylevelconfigurations", one)));
    all.extend(schemas().into_iter().map(|one| (FLOW_CONTROL, "flowschemas", one)));
    all
}

/// The status of the range of Service addresses: it is in use from the start.
pub(super) fn ready(now: &str) -> Value {
    json!([{
        "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now,
        "message": "Kubernetes default Service CIDR is ready",
    }])
}

type Level = (&'static str, u32, u32, Option<(u32, u32, u32)>);

/// Levels: name, shares, how much others may borrow in percent, and queues, hand, length.
const LEVELS: [Level; 7] = [
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

fn kept(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{FLOW_CONTROL}/v1"),
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"},
        },
        "spec": spec,
    })
}

fn levels() -> Vec<Value> {
    let kind = "PriorityLevelConfiguration";
    let exempt = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
    let mut all = vec![kept(kind, "exempt", &json!({"type": "Exempt", "exempt": exempt}))];
    all.extend(LEVELS.iter().map(|(name, shares, lendable, queues)| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand, length)) => json!({
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length},
            }),
        };
        let limited = json!({
            "nominalConcurrencyShares": shares,
            "lendablePercent": lendable,
            "limitResponse": response,
        });
        kept(kind, name, &json!({"type": "Limited", "limited": limited}))
    }));
    all
}

/// Schemas: name, precedence, level, what tells flows apart, whose requests, and which.
///
/// Subjects are `group NAME`, `user NAME` or `account NAMESPACE/NAME`; requests are `all` or
/// `VERBS GROUP RESOURCES` or `urls VERBS PATHS`.
type Schema = (
    &'static str,
    u32,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const USER: &str = "ByUser";
const NAMESPACE: &str = "ByNamespace";
const LEASES: &str = "get,create,update coordination.k8s.io leases";

const SCHEMAS: &[Schema] = &[
    (
        "catch-all",
        10_000,
        "catch-all",
        USER,
        &["group system:unauthenticated", "group system:authenticated"],
        &["all"],
    ),
    (
        "endpoint-controller",
        150,
        "workload-high",
        USER,
        &[
            "user system:kube-controller-manager",
            "account kube-system/endpoint-controller",
            "account kube-system/endpointslicemirroring-controller",
        ],
        &["get,create,update core endpoints"],
    ),
    ("exempt", 1, "exempt", "", &["group system:masters"], &["all"]),
    (
        "global-default",
        9_900,
        "global-default",
        USER,
        &["group system:unauthenticated", "group system:authenticated"],
        &["all"],
    ),
    (
        "kube-controller-manager",
        800,
        "workload-high",
        NAMESPACE,
        &["user system:kube-controller-manager"],
        &["all"],
    ),
    ("kube-scheduler", 800, "workload-high", NAMESPACE, &["user system:kube-scheduler"], &["all"]),
    (
        "kube-system-service-accounts",
        900,
        "workload-high",
        NAMESPACE,
        &["account kube-system/*"],
        &["all"],
    ),
    (
        "probes",
        2,
        "exempt",
        "",
        &["group system:unauthenticated", "group system:authenticated"],
        &["urls get /healthz,/readyz,/livez"],
    ),
    ("service-accounts", 9_000, "workload-low", USER, &["group system:serviceaccounts"], &["all"]),
    (
        "system-leader-election",
        100,
        "leader-election",
        USER,
        &[
            "user system:kube-controller-manager",
            "user system:kube-scheduler",
            "account kube-system/*",
        ],
        &[LEASES],
    ),
    (
        "system-node-high",
        400,
        "node-high",
        USER,
        &["group system:nodes"],
        &["* core nodes,nodes/status", "* coordination.k8s.io leases"],
    ),
    ("system-nodes", 500, "system", USER, &["group system:nodes"], &["all"]),
    (
        "workload-leader-election",
        200,
        "leader-election",
        USER,
        &["account kube-system/*"],
        &[LEASES],
    ),
];

pub(crate) fn schemas() -> Vec<Value> {
    SCHEMAS.iter().map(schema).collect()
}

fn schema((name, precedence, level, flows, subjects, requests): &Schema) -> Value {
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    for request in *requests {
        let words: Vec<&str> = request.split(' ').collect();
        let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
        match words[..] {
            ["urls", verbs, paths] => {
                others.push(json!({"verbs": list(verbs), "nonResourceURLs": list(paths)}));
            }
            [verbs, group, names] => {
                let group = if group == "core" { "" } else { group };
                resources.push(rule(&list(verbs), group, &list(names)));
            }
            _ => {
                resources.push(rule(&["*".to_owned()], "*", &["*".to_owned()]));
                others.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
            }
        }
    }
    let subjects: Vec<Value> = subjects.iter().map(|text| subject(text)).collect();
    let mut rule = json!({"subjects": subjects});
    for (field, rules) in [("resourceRules", resources), ("nonResourceRules", others)] {
        if !rules.is_empty() {
            rule[field] = rules.into();
        }
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    });
    if !flows.is_empty() {
        spec["distinguisherMethod"] = json!({"type": flows});
    }
    kept("FlowSchema", name, &spec)
}

fn rule(verbs: &[String], group: &str, resources: &[String]) -> Value {
    json!({
        "verbs": verbs, "apiGroups": [group], "resources": resources,
        "clusterScope": true, "namespaces": ["*"],
    })
}

fn subject(text: &str) -> Value {
    match text.split_once(' ') {
        Some(("group", name)) => json!({"kind": "Group", "group": {"name": name}}),
        Some(("user", name)) => json!({"kind": "User", "user": {"name": name}}),
        Some((_, account)) => {
            let (namespace, name) = account.split_once('/').unwrap_or(("", account));
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
        }
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use kontiki_api::{Catalogue, meta};

    use super::*;
    use crate::{schema as engine, strategy};

    #[test]
    fn what_every_cluster_begins_with_is_valid() {
        let catalogue = Catalogue::builtin();
        for (resource, objects) in
            [("flowschemas", schemas()), ("prioritylevelconfigurations", levels())]
        {
            let row = catalogue.find(resource).expect("built in");
            for object in objects {
                let expected =
                    engine::Expected { group: &row.group, version: &row.version, kind: &row.kind };
                let mut object = engine::conform_stored(expected, object).expect("it conforms");
                let strategy = strategy::of(&row.group, &row.resource);
                strategy.set_defaults(&mut object);
                let errors = strategy.validate(&object);
                assert!(errors.is_empty(), "{}: {}", meta::name(&object), errors.aggregate());
            }
        }
    }
}
