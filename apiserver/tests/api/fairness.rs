//! Priority and fairness over the whole pipeline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Caller, Cluster, config_map};

const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";

/// A level of its own for a group, with so many of a thousand shares.
async fn level(admin: &Caller, name: &str, shares: u32, response: Value) {
    let level = json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "limitResponse": response,
    }}});
    admin.create(LEVELS, &level).await.ok();
    let schema = json!({"metadata": {"name": name}, "spec": {
        "matchingPrecedence": 50,
        "priorityLevelConfiguration": {"name": name},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{
            "subjects": [{"kind": "Group", "group": {"name": name}}],
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                "namespaces": ["*"],
            }],
        }],
    }});
    admin.create(SCHEMAS, &schema).await.ok();
}

/// Lets everybody do everything: this is not about access.
async fn allow(cluster: &Cluster, admin: &Caller) {
    let binding = json!({
        "metadata": {"name": "all"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin",
        },
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Group",
            "name": "system:authenticated",
        }],
    });
    let mut policy = cluster.server.policy_compiled();
    policy.mark_unchanged();
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    admin.create(bindings, &binding).await.ok();
    let jane = cluster.user("jane", &[]);
    while jane.get("/api/v1/nodes").await.code == 403 {
        policy.changed().await.unwrap();
    }
}

/// Answer's code and the two headers.
async fn classified(caller: &Caller, uri: &str) -> (u16, String, String) {
    let response = caller.send(Request::get(uri).body(Full::default()).unwrap()).await;
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (schema, level) =
        (header("x-kubernetes-pf-flowschema-uid"), header("x-kubernetes-pf-prioritylevel-uid"));
    (response.status().as_u16(), schema, level)
}

/// Waits until a user's requests are of the schema of that name.
async fn until_classified(admin: &Caller, caller: &Caller, schema: &str) {
    let found = admin.get(&format!("{SCHEMAS}/{schema}")).await.ok();
    let uid = found["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut watch = admin.watch(&format!("{SCHEMAS}?watch=1")).await;
    while classified(caller, CONFIG_MAPS).await.1 != uid {
        // Whenever flow control has taken something over, it says so in a condition.
        watch.event().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_name_schema_and_level_and_conditions_say_what_dangles() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (code, schema, level) = classified(&admin, CONFIG_MAPS).await;
    let uid = async |uri: String| admin.get(&uri).await.ok()["metadata"]["uid"].clone();
    assert_eq!(code, 200);
    assert_eq!(schema, uid(format!("{SCHEMAS}/exempt")).await);
    assert_eq!(level, uid(format!("{LEVELS}/exempt")).await);
    let scheduler = cluster.user("system:kube-scheduler", &[]);
    let (_, schema, level) = classified(&scheduler, "/api/v1/pods").await;
    assert_eq!(schema, uid(format!("{SCHEMAS}/kube-scheduler")).await);
    assert_eq!(level, uid(format!("{LEVELS}/workload-high")).await);
    let lost = json!({"metadata": {"name": "lost"}, "spec": {
        "priorityLevelConfiguration": {"name": "nowhere"},
        "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "x"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    }});
    let created = admin.create(SCHEMAS, &lost).await.ok();
    let version = created["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = admin
        .watch(&format!(
            "{SCHEMAS}?watch=1&fieldSelector=metadata.name%3Dlost&resourceVersion={version}"
        ))
        .await;
    let condition = async |watch: &mut crate::support::Lines| {
        let line = watch.next().await.unwrap();
        let condition = &line["object"]["status"]["conditions"][0];
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}: {}", text("type"), text("status"), text("reason"), text("message"))
    };
    assert_eq!(
        condition(&mut watch).await,
        "Dangling True NotFound: This FlowSchema references the PriorityLevelConfiguration object \
         named \"nowhere\" but there is no such object"
    );
    let nowhere = json!({"metadata": {"name": "nowhere"}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"},
    }}});
    admin.create(LEVELS, &nowhere).await.ok();
    assert!(condition(&mut watch).await.starts_with("Dangling False Found: "));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_that_refuses_answers_429_and_others_go_on() {
    let cluster = Cluster::start_with(|options| {
        options.max_inflight = 10;
        options.max_mutating_inflight = 0;
    })
    .await;
    let admin = cluster.admin();
    allow(&cluster, &admin).await;
    // Ten seats in all: shares so small that it is one.
    level(&admin, "rude", 1, json!({"type": "Reject"})).await;
    let rude = cluster.user("rude", &["rude"]);
    until_classified(&admin, &rude, "rude").await;
    // A large list that nobody reads to its end keeps the seat.
    let large = json!({"metadata": {"name": "large"}, "data": {"a": "x".repeat(200_000)}});
    admin.create(CONFIG_MAPS, &large).await.ok();
    let held = rude.send(Request::get(CONFIG_MAPS).body(Full::default()).unwrap()).await;
    assert_eq!(held.status(), 200);
    let response = rude.send(Request::get(CONFIG_MAPS).body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "Too many requests, please try again later.\n");
    admin.get(CONFIG_MAPS).await.ok();
    cluster.user("jane", &[]).get(CONFIG_MAPS).await.ok();
    // A watch has its seat only until it has begun.
    held.into_body().collect().await.unwrap();
    let mut watch = rude.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    assert!(watch.event().await.starts_with("ADDED large"));
    admin.create(CONFIG_MAPS, &config_map("one")).await.ok();
    assert!(watch.event().await.starts_with("ADDED one"));
    rude.get(CONFIG_MAPS).await.ok();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_noisy_client_starves_neither_others_nor_the_system() {
    let cluster = Cluster::start_with(|options| {
        options.max_inflight = 20;
        options.max_mutating_inflight = 0;
    })
    .await;
    let admin = cluster.admin();
    allow(&cluster, &admin).await;
    for n in 0..20 {
        admin.create(CONFIG_MAPS, &config_map(&format!("c{n}"))).await.ok();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Vec<Arc<AtomicU32>> = (0..3).map(|_| Arc::default()).collect();
    let flood = |user: &'static str, many: usize, count: &Arc<AtomicU32>| {
        let (stop, count) = (stop.clone(), count.clone());
        let caller = cluster.user(user, &[]);
        let one = move |caller: Caller, stop: Arc<AtomicBool>, count: Arc<AtomicU32>| async move {
            while !stop.load(Ordering::Relaxed) {
                if caller
                    .create(CONFIG_MAPS, &json!({"metadata": {"generateName": "x-"}}))
                    .await
                    .code
                    == 201
                {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        (0..many).map(|_| one(caller.clone(), stop.clone(), count.clone())).collect::<Vec<_>>()
    };
    let mut clients = flood("noisy", 100, &counts[0]);
    clients.extend(flood("quiet", 4, &counts[1]));
    let system = cluster.user("system:kube-scheduler", &[]);
    let slowest = async {
        let mut slowest = Duration::ZERO;
        while counts[1].load(Ordering::Relaxed) < 40 {
            let begun = Instant::now();
            assert_eq!(system.get(&format!("{CONFIG_MAPS}/c1")).await.code, 200);
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        slowest
    };
    let clients = futures::future::join_all(clients);
    let (slowest, _) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(slowest, clients) })
            .await
            .expect("the quiet one is served");
    let (noisy, quiet) = (counts[0].load(Ordering::Relaxed), counts[1].load(Ordering::Relaxed));
    // By number alone the noisy one would have 25 times as many.
    assert!(noisy < 8 * quiet, "{noisy} to {quiet}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_priorities_only_the_numbers_are_limited() {
    let cluster = Cluster::start_with(|options| {
        options.priority_and_fairness = false;
        options.max_inflight = 0;
        options.max_mutating_inflight = 0;
    })
    .await;
    let admin = cluster.admin();
    admin.create(CONFIG_MAPS, &config_map("a")).await.ok();
    let (code, schema, _) = classified(&admin, CONFIG_MAPS).await;
    assert_eq!((code, schema.as_str()), (200, ""));
    assert_eq!(admin.get("/debug/api_priority_and_fairness/dump_queues").await.code, 404);
    cluster.stop().await;
}
