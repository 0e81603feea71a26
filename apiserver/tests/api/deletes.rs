//! Deletions: grace, finalizers, preconditions, namespaces.

use http::Method;
use kontiki_raft::types::{Op, Put, Txn};
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Caller, Cluster, config_map};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(admin: &Caller, name: &str) -> Value {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, &json!({"metadata": {"name": "default"}})).await;
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    });
    admin.create(PODS, &pod).await.ok()
}

async fn bind(admin: &Caller, name: &str) {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    admin.create(&format!("{PODS}/{name}/binding"), &binding).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_pod_ends_gracefully() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    pod(&admin, "waiting").await;
    admin.delete(&format!("{PODS}/waiting")).await.ok();
    assert_eq!(admin.get(&format!("{PODS}/waiting")).await.code, 404, "nobody runs it yet");
    pod(&admin, "bound").await;
    bind(&admin, "bound").await;
    let uri = format!("{PODS}/bound");
    let marked = admin.delete(&uri).await.ok();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = admin.delete(&format!("{uri}?gracePeriodSeconds=5")).await.ok();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let longer = admin.delete(&format!("{uri}?gracePeriodSeconds=60")).await.ok();
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(longer["metadata"]["generation"], marked["metadata"]["generation"]);
    admin.delete(&format!("{uri}?gracePeriodSeconds=0")).await.ok();
    assert_eq!(admin.get(&uri).await.code, 404);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finalizers_hold_an_object() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let mut object = config_map("held");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let created = admin.create(CONFIG_MAPS, &object).await.ok();
    let uri = format!("{CONFIG_MAPS}/held");
    let marked = admin.delete(&uri).await.ok();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    assert_eq!(admin.merge(&uri, &more).await.code, 422);
    let released = admin.merge(&uri, &json!({"metadata": {"finalizers": null}})).await;
    assert!(released.revision > 0);
    assert_eq!(admin.get(&uri).await.code, 404);
    admin.create(CONFIG_MAPS, &config_map("held")).await.ok();
    let body = json!({"preconditions": {"uid": created["metadata"]["uid"]}}).to_string();
    let wrong = admin.call(Method::DELETE, &uri, "application/json", body).await;
    assert_eq!(wrong.code, 409, "a successor of the same name is another object");
    let body = json!({"propagationPolicy": "Foreground"}).to_string();
    let held = admin.call(Method::DELETE, &uri, "application/json", body).await.ok();
    assert_eq!(held["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_when_it_is_finalized() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let namespaces = "/api/v1/namespaces";
    admin.create(namespaces, &json!({"metadata": {"name": "gone"}})).await.ok();
    let uri = format!("{namespaces}/gone");
    let mut namespace = admin.delete(&uri).await.ok();
    assert_eq!(namespace["status"]["phase"], "Terminating");
    let refused = admin.create(&format!("{uri}/configmaps"), &config_map("late")).await;
    assert_eq!(
        refused.refusal(),
        "403 Forbidden: configmaps \"late\" is forbidden: unable to create new content in \
         namespace gone because it is being terminated"
    );
    namespace["spec"]["finalizers"] = json!([]);
    admin.update(&format!("{uri}/finalize"), &namespace).await.ok();
    assert_eq!(admin.get(&uri).await.code, 404);
    let immortal = admin.delete(&format!("{namespaces}/default")).await;
    assert_eq!(
        immortal.refusal(),
        "403 Forbidden: namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c"] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"first": (name == "a").to_string()});
        admin.create(CONFIG_MAPS, &object).await.ok();
    }
    admin.delete(&format!("{CONFIG_MAPS}?labelSelector=first%3Dfalse")).await.ok();
    let left = admin.get(CONFIG_MAPS).await.ok();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_left_out_and_can_be_deleted() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(CONFIG_MAPS, &config_map("good")).await.ok();
    let key = "/registry/configmaps/default/bad";
    let put = Op::Put(Put::new(key, "nonsense"));
    cluster.store.txn(Txn::of([put])).await.unwrap();
    let list = admin.get(CONFIG_MAPS).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let uri = format!("{CONFIG_MAPS}/bad");
    assert_eq!(admin.get(&uri).await.code, 404);
    admin.delete(&uri).await.ok();
    assert_eq!(admin.delete(&uri).await.code, 404);
    admin.create(CONFIG_MAPS, &config_map("bad")).await.ok();
    cluster.stop().await;
}
