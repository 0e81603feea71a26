//! Who may do what, and as whom.

use http::Request;
use kontiki_base::Fence;
use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, config_map};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rbac_lets_users_do_what_they_are_bound_to() {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.user("jane", &[]));
    assert_eq!(
        jane.get("/api/v1/namespaces/default/pods").await.refusal(),
        "403 Forbidden: pods is forbidden: User \"jane\" cannot list resource \"pods\" in API \
         group \"\" in the namespace \"default\""
    );
    assert_eq!(
        jane.get("/apis/apps/v1/deployments").await.refusal(),
        "403 Forbidden: deployments.apps is forbidden: User \"jane\" cannot list resource \
         \"deployments\" in API group \"apps\" at the cluster scope"
    );
    let binding = json!({
        "metadata": {"name": "jane-views"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let mut policy = cluster.server.policy_compiled();
    policy.mark_unchanged();
    admin.create(bindings, &binding).await.ok();
    while jane.get("/api/v1/namespaces/default/pods").await.code == 403 {
        policy.changed().await.unwrap();
    }
    assert_eq!(jane.get("/api/v1/namespaces/default/secrets").await.code, 403);
    assert_eq!(jane.get("/api/v1/pods").await.code, 403);
    let review = json!({"spec": {"resourceAttributes": {
        "namespace": "default", "verb": "delete", "resource": "pods",
    }}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(jane.create(reviews, &review).await.ok()["status"]["allowed"], false);
    assert_eq!(admin.create(reviews, &review).await.ok()["status"]["allowed"], true);
    cluster.stop().await;
}

/// One change after the other, of roles and bindings here and there, and who may read what then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_follows_every_change_of_roles_and_bindings() {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for namespace in ["a", "b"] {
        admin.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await.ok();
    }
    let rules =
        |resource: &str| json!([{"apiGroups": [""], "resources": [resource], "verbs": ["list"]}]);
    let role = json!({"metadata": {"name": "lists"}, "rules": rules("pods")});
    let binding = |kind: &str| {
        json!({
            "metadata": {"name": "eve-lists"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "lists"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
        })
    };
    let eve = cluster.user("eve", &[]);
    let mut policy = cluster.server.policy_compiled();
    // What eve may list becomes exactly this.
    let mut lists = async |expected: &[&str]| loop {
        policy.mark_unchanged();
        let mut listed = Vec::new();
        for path in ["a/pods", "a/secrets", "b/pods", "b/secrets"] {
            if eve.get(&format!("/api/v1/namespaces/{path}")).await.code == 200 {
                listed.push(path);
            }
        }
        if listed == expected {
            break;
        }
        policy.changed().await.unwrap();
    };
    let (roles, bindings) =
        (format!("{RBAC}/namespaces/a/roles"), format!("{RBAC}/namespaces/a/rolebindings"));
    admin.create(&bindings, &binding("Role")).await.ok();
    admin.create(&roles, &role).await.ok();
    lists(&["a/pods"]).await;
    admin.merge(&format!("{roles}/lists"), &json!({"rules": rules("secrets")})).await.ok();
    lists(&["a/secrets"]).await;
    // Elsewhere, by a role of the cluster that comes after its binding.
    let elsewhere = format!("{RBAC}/namespaces/b/rolebindings");
    admin.create(&elsewhere, &binding("ClusterRole")).await.ok();
    admin.create(&format!("{RBAC}/clusterroles"), &role).await.ok();
    lists(&["a/secrets", "b/pods"]).await;
    admin.delete(&format!("{roles}/lists")).await.ok();
    lists(&["b/pods"]).await;
    admin.create(&format!("{RBAC}/clusterrolebindings"), &binding("ClusterRole")).await.ok();
    lists(&["a/pods", "b/pods"]).await;
    admin.delete(&format!("{RBAC}/clusterrolebindings/eve-lists")).await.ok();
    lists(&["b/pods"]).await;
    admin.delete(&format!("{elsewhere}/eve-lists")).await.ok();
    lists(&[]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_sees_only_what_its_pods_need() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let node = cluster.user("system:node:n1", &["system:nodes"]);
    let secrets = "/api/v1/namespaces/default/secrets";
    admin.create(secrets, &json!({"metadata": {"name": "used"}})).await.ok();
    admin.create(secrets, &json!({"metadata": {"name": "other"}})).await.ok();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, &json!({"metadata": {"name": "default"}})).await.ok();
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n1",
        "containers": [{"name": "c", "image": "x"}],
        "volumes": [{"name": "v", "secret": {"secretName": "used"}}],
    }});
    admin.create("/api/v1/namespaces/default/pods", &pod).await.ok();
    // A read waits for the cache, where the authoriser looks.
    admin.get("/api/v1/namespaces/default/pods/p").await.ok();
    node.get(&format!("{secrets}/used")).await.ok();
    assert_eq!(node.get(&format!("{secrets}/other")).await.code, 403);
    assert_eq!(node.get(secrets).await.code, 403);
    let tokens = format!("{accounts}/default/token");
    let refused = node.create(&tokens, &json!({})).await.refusal();
    assert!(refused.ends_with("node requested token not bound to a pod"), "{refused}");
    let pod = admin.get("/api/v1/namespaces/default/pods/p").await.ok();
    let token = json!({"spec": {"boundObjectRef": {
        "kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"],
    }}});
    let token = node.create(&tokens, &token).await.ok();
    assert!(token["status"]["token"].as_str().unwrap().starts_with("ey"));
    let nodes = "/api/v1/nodes";
    let other = node.create(nodes, &json!({"metadata": {"name": "n2"}})).await;
    assert_eq!(other.code, 403);
    let label = "node-restriction.kubernetes.io/team";
    let labelled = json!({"metadata": {"name": "n1", "labels": {label: "a"}}});
    assert!(
        node.create(nodes, &labelled)
            .await
            .refusal()
            .ends_with(&format!("is not allowed to set the following labels: {label}"))
    );
    node.create(nodes, &json!({"metadata": {"name": "n1"}})).await.ok();
    let own = format!("{nodes}/n1");
    for (patch, why) in [
        (json!({"spec": {"taints": []}}), "node \"n1\" is not allowed to modify taints"),
        (
            json!({"metadata": {"labels": {label: "a"}}}),
            "is not allowed to modify labels: node-restriction.kubernetes.io/team",
        ),
    ] {
        let refused = node.merge(&own, &patch).await.refusal();
        assert!(refused.ends_with(why), "{refused}");
    }
    let labelled = json!({"metadata": {"labels": {label: "a"}}});
    assert_eq!(node.merge(&format!("{own}/status"), &labelled).await.code, 403);
    // A token that is bound to a node holds as long as the node is there.
    let object = admin.get(&own).await.ok();
    let bound = json!({"spec": {"boundObjectRef": {
        "kind": "Node", "apiVersion": "v1", "name": "n1", "uid": object["metadata"]["uid"],
    }}});
    let token = admin.create(&tokens, &bound).await.ok();
    let review = json!({"spec": {"token": token["status"]["token"]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = admin.create(reviews, &review).await.ok()["status"].clone();
    assert_eq!(status["authenticated"], true);
    let named = &status["user"]["extra"]["authentication.kubernetes.io/node-name"];
    assert_eq!(named, &json!(["n1"]));
    admin.delete(&own).await.ok();
    let status = admin.create(reviews, &review).await.ok()["status"].clone();
    assert_eq!(status.get("authenticated"), None);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leaders_write_is_refused() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let body = config_map("late").to_string();
    let mut request = Request::post(CONFIG_MAPS)
        .header("content-type", "application/json")
        .body(http_body_util::Full::new(bytes::Bytes::from(body)))
        .unwrap();
    request.extensions_mut().insert(Fence { term: 0, member: 1 });
    assert_eq!(admin.send(request).await.status(), 409);
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/late")).await.code, 404);
    cluster.stop().await;
}
