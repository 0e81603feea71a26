//! Quotas over the real store: nothing more than the limit, however many ask at once.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Caller, Cluster, config_map};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

/// Creates a quota and waits until it is counted.
async fn quota(admin: &Caller, name: &str, hard: Value) {
    let mut watch =
        admin.watch(&format!("{QUOTAS}?watch=1&fieldSelector=metadata.name={name}")).await;
    let object = json!({"metadata": {"name": name}, "spec": {"hard": hard}});
    admin.create(QUOTAS, &object).await.ok();
    loop {
        let event = watch.next().await.expect("an event");
        if event["object"]["status"]["used"].is_object() {
            return;
        }
    }
}

async fn used(admin: &Caller, name: &str) -> Value {
    admin.get(&format!("{QUOTAS}/{name}")).await.ok()["status"]["used"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_exact_however_many_ask_at_once() {
    let cluster = Cluster::start().await;
    let (here, there) = (cluster.admin(), cluster.another().await);
    here.create(CONFIG_MAPS, &config_map("before")).await.ok();
    quota(&here, "few", json!({"count/configmaps": "11"})).await;
    quota(&here, "more", json!({"configmaps": "12", "pods": "1"})).await;
    let start = used(&here, "few").await["count/configmaps"].as_str().unwrap().to_owned();
    let start: usize = start.parse().unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..40 {
        let caller = if number % 2 == 0 { here.clone() } else { there.clone() };
        asking.spawn(async move {
            caller.create(CONFIG_MAPS, &config_map(&format!("c{number}"))).await
        });
    }
    let answers = asking.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.code == StatusCode::CREATED);
    assert_eq!(made.len(), 11 - start);
    for answer in refused {
        assert!(
            answer.refusal().ends_with(
                "is forbidden: exceeded quota: few, requested: count/configmaps=1, used: \
                 count/configmaps=11, limited: count/configmaps=11"
            ),
            "{}",
            answer.refusal()
        );
    }
    assert_eq!(used(&here, "few").await, json!({"count/configmaps": "11"}));
    assert_eq!(used(&here, "more").await, json!({"configmaps": "11", "pods": "0"}));
    // What is deleted makes room at once.
    let made = made[0].value["metadata"]["name"].as_str().unwrap();
    there.delete(&format!("{CONFIG_MAPS}/{made}")).await.ok();
    assert_eq!(used(&here, "few").await, json!({"count/configmaps": "10"}));
    assert_eq!(used(&here, "more").await, json!({"configmaps": "10", "pods": "0"}));
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    here.create(&dry, &config_map("dry")).await.ok();
    here.create(CONFIG_MAPS, &config_map("again")).await.ok();
    assert_eq!(here.create(&dry, &config_map("dry")).await.code, StatusCode::FORBIDDEN);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_limit_is_counted_anew() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    quota(&admin, "q", json!({"configmaps": "100"})).await;
    let mut watch = admin.watch(&format!("{QUOTAS}?watch=1&fieldSelector=metadata.name=q")).await;
    let patch = json!({"spec": {"hard": {"secrets": "5"}}});
    admin.merge(&format!("{QUOTAS}/q"), &patch).await.ok();
    let status = loop {
        let event = watch.next().await.expect("an event");
        if event["object"]["status"]["hard"]["secrets"].is_string() {
            break event["object"]["status"].clone();
        }
    };
    assert_eq!(status["hard"], json!({"configmaps": "100", "secrets": "5"}));
    assert_eq!(status["used"]["secrets"], "0");
    cluster.stop().await;
}
