//! Who owns which fields, over the whole pipeline: server-side apply and every other write.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, CONFIG_MAPS, Caller, Cluster};

const APPLY: &str = "application/apply-patch+yaml";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

impl Caller {
    async fn apply(&self, uri: &str, config: &str) -> Answer {
        self.call(Method::PATCH, uri, APPLY, config.to_owned()).await
    }
}

/// `MANAGER OPERATION[/SUBRESOURCE]: FIELDS`, a line each.
fn owners(object: &Value) -> String {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let lines = entries.iter().map(|entry| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        let subresource = match text("subresource") {
            "" => String::new(),
            name => format!("/{name}"),
        };
        format!("{} {}{subresource}: {}", text("manager"), text("operation"), entry["fieldsV1"])
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn deployment(replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers: [{{name: web, image: 'web:1'}}]
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_lives_through_server_side_apply() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let one = format!("{CONFIG_MAPS}/a");
    let config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: '1', b: '2'}}";
    let created = admin.apply(&format!("{one}?fieldManager=me"), config).await;
    assert_eq!(created.code, 201);
    assert_eq!(owners(&created.value), r#"me Apply: {"f:data":{"f:a":{},"f:b":{}}}"#);
    // Once more: nothing is written.
    let again = admin.apply(&format!("{one}?fieldManager=me"), config).await;
    assert_eq!((again.code.as_u16(), &again.value), (200, &created.value));
    assert_eq!(again.revision, created.revision);
    // Another writer takes a field; applying it is a conflict, unless forced.
    admin.merge(&format!("{one}?fieldManager=other"), &json!({"data": {"a": "9"}})).await.ok();
    let refused = admin.apply(&format!("{one}?fieldManager=me"), config).await;
    assert_eq!(
        refused.refusal(),
        "409 Conflict: Apply failed with 1 conflict: conflict with \"other\" using v1: .data.a"
    );
    assert_eq!(
        refused.value["details"],
        json!({"causes": [{
            "reason": "FieldManagerConflict",
            "message": "conflict with \"other\" using v1",
            "field": ".data.a",
        }]})
    );
    let tried = format!("{one}?fieldManager=me&force=true&dryRun=All");
    assert_eq!(admin.apply(&tried, config).await.ok()["data"]["a"], "1");
    assert_eq!(admin.get(&one).await.ok()["data"]["a"], "9");
    let forced = admin.apply(&format!("{one}?fieldManager=me&force=true"), config).await.ok();
    assert_eq!(owners(&forced), r#"me Apply: {"f:data":{"f:a":{},"f:b":{}}}"#);
    let less = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: '1'}}";
    let pruned = admin.apply(&format!("{one}?fieldManager=me"), less).await.ok();
    assert_eq!(pruned["data"], json!({"a": "1"}));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_writer_owns_what_it_wrote() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let one = format!("{DEPLOYMENTS}/web");
    admin.apply(&format!("{one}?fieldManager=me"), &deployment(2)).await.ok();
    let scale = |manager: &str| format!("{one}/scale?fieldManager={manager}");
    let wanted = json!({"spec": {"replicas": 5}});
    admin.merge(&scale("hpa"), &wanted).await.ok();
    let status = json!({"status": {"replicas": 5}, "spec": {"paused": true}});
    let after = admin.merge(&format!("{one}/status?fieldManager=controller"), &status).await.ok();
    let mut lines: Vec<String> = owners(&after).lines().map(str::to_owned).collect();
    let applied = lines.remove(0);
    assert!(applied.starts_with("me Apply: ") && !applied.contains("replicas"), "{applied}");
    lines.sort();
    assert_eq!(
        lines.join("\n"),
        "controller Update/status: {\"f:status\":{\"f:replicas\":{}}}\n\
         hpa Update/scale: {\"f:spec\":{\"f:replicas\":{}}}"
    );
    let refused = admin.apply(&format!("{one}?fieldManager=me"), &deployment(2)).await;
    assert_eq!(
        refused.refusal(),
        "409 Conflict: Apply failed with 1 conflict: conflict with \"hpa\" with subresource \
         \"scale\" using apps/v1: .spec.replicas"
    );
    // A Scale can be applied, too.
    let config = "{apiVersion: autoscaling/v1, kind: Scale, metadata: {name: web, namespace: default}, spec: {replicas: 7}}";
    let refused = admin.apply(&scale("me"), config).await;
    assert_eq!(
        refused.refusal(),
        "409 Conflict: Apply failed with 1 conflict: conflict with \"hpa\" with subresource \
         \"scale\" using autoscaling/v1: .spec.replicas"
    );
    let applied = admin.apply(&format!("{}&force=true", scale("me")), config).await.ok();
    assert_eq!(applied["spec"]["replicas"], 7);
    let after = admin.get(&one).await.ok();
    assert_eq!(after["spec"]["replicas"], 7);
    assert!(owners(&after).contains("me Apply/scale: {\"f:spec\":{\"f:replicas\":{}}}"));
    // The status can be applied, and nothing else with it.
    let config = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1}, status: {readyReplicas: 3}}";
    let applied = admin.apply(&format!("{one}/status?fieldManager=s"), config).await.ok();
    assert_eq!(
        (&applied["spec"]["replicas"], &applied["status"]["readyReplicas"]),
        (&json!(7), &json!(3))
    );
    assert!(owners(&applied).contains("s Apply/status: {\"f:status\":{\"f:readyReplicas\":{}}}"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_apply_is_told_what_is_wrong() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let one = format!("{CONFIG_MAPS}/a");
    let with =
        |what: &str| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a{what}}}}}");
    let refusal = async |query: &str, config: String| {
        admin.apply(&format!("{one}?{query}"), &config).await.refusal()
    };
    assert_eq!(
        refusal("", with("")).await,
        "422 Invalid: PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is \
         required for apply patch"
    );
    let forced = admin.merge(&format!("{one}?force=true"), &json!({})).await.refusal();
    assert_eq!(
        forced,
        "422 Invalid: PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be \
         specified for non-apply patch"
    );
    assert_eq!(
        refusal("fieldManager=me", with(", uid: u")).await,
        "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the \
         provided object specified uid u, and no existing object was found"
    );
    assert_eq!(
        refusal("fieldManager=me", with("b")).await,
        "400 BadRequest: the name of the object (ab) does not match the name on the URL (a)"
    );
    assert_eq!(
        refusal("fieldManager=me", "{apiVersion: v2, kind: ConfigMap}".to_owned()).await,
        "400 BadRequest: Incorrect version specified in apply patch. Specified patch version: v2, \
         expected: v1"
    );
    assert!(
        refusal("fieldManager=me", "{a: [".to_owned())
            .await
            .starts_with("400 BadRequest: error decoding YAML")
    );
    assert_eq!(
        refusal("fieldManager=me", with(", nmae: x")).await,
        "500 : failed to create typed patch object (/a; v1, Kind=ConfigMap): .metadata.nmae: field \
         not declared in schema"
    );
    let missing = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, status: {}}";
    let missing = admin.apply(&format!("{DEPLOYMENTS}/x/status?fieldManager=me"), missing).await;
    assert_eq!(missing.refusal(), "404 NotFound: deployments.apps \"x\" not found");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_appliers_all_get_their_part() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let one = format!("{CONFIG_MAPS}/a");
    let applies = (0..12).map(|n| {
        let (admin, one) = (admin.clone(), one.clone());
        async move {
            let config = format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{k{n}: v}}}}"
            );
            admin.apply(&format!("{one}?fieldManager=m{n}"), &config).await.ok();
        }
    });
    futures::future::join_all(applies).await;
    let object = admin.get(&one).await.ok();
    assert_eq!(object["data"].as_object().unwrap().len(), 12);
    assert_eq!(object["metadata"]["managedFields"].as_array().unwrap().len(), 12);
    cluster.stop().await;
}
