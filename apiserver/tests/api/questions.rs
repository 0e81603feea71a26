//! What is created and not stored: questions, bindings, evictions, tokens. They are read like
//! everything else: by kind, with their unknown fields and wrong types named.

use serde_json::{Value, json};

use crate::support::Cluster;

const POD: &str = "/api/v1/namespaces/default/pods/a";
const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/default";
const ACCESS: &str = "/apis/authorization.k8s.io/v1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_read_by_their_kinds() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let paths = [
        (format!("{POD}/binding"), "Binding", "v1"),
        (format!("{POD}/eviction"), "Eviction", "policy/v1"),
        (format!("{ACCOUNT}/token"), "TokenRequest", "authentication.k8s.io/v1"),
        (
            format!("{ACCESS}/subjectaccessreviews"),
            "SubjectAccessReview",
            "authorization.k8s.io/v1",
        ),
        (
            "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
            "TokenReview",
            "authentication.k8s.io/v1",
        ),
    ];
    for (path, kind, version) in paths {
        let refused = async |query: &str, object: Value| {
            admin.create(&format!("{path}{query}"), &object).await.refusal()
        };
        let cannot =
            format!("400 BadRequest: {kind} in version \"v1\" cannot be handled as a {kind}: ");
        assert_eq!(
            refused("?fieldValidation=Strict", json!({"bogus": 1})).await,
            format!("{cannot}strict decoding error: unknown field \"bogus\"")
        );
        assert_eq!(
            refused("", json!({"kind": "Pod", "apiVersion": "v1"})).await,
            format!(
                "400 BadRequest: Pod in version \"v1\" cannot be handled as a {kind}: converting \
                 (v1.Pod) to (v1.{kind}): unknown conversion"
            )
        );
        assert_eq!(
            refused("", json!({"apiVersion": "x/v1"})).await,
            format!(
                "400 BadRequest: the API version in the data (x/v1) does not match the expected \
                 API version ({version})"
            )
        );
        let wrong = refused("", json!({"metadata": {"name": 7}})).await;
        assert_eq!(
            wrong,
            format!(
                "{cannot}json: cannot unmarshal number into Go struct field \
                 ObjectMeta.metadata.name of type string"
            )
        );
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_about_access_are_whole_and_answers_say_why() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let reviews = format!("{ACCESS}/subjectaccessreviews");
    let local = format!("{ACCESS}/namespaces/default/localsubjectaccessreviews");
    let pods = json!({"verb": "get", "resource": "pods", "namespace": "other"});
    let invalid = async |path: &str, spec: Value| {
        let refusal = admin.create(path, &json!({"spec": spec})).await.refusal();
        refusal.split_once(" is invalid: ").map(|(_, why)| why.to_owned()).unwrap_or(refusal)
    };
    assert_eq!(
        invalid(&reviews, json!({})).await,
        "[spec.resourceAttributes: Invalid value: \"null\": exactly one of nonResourceAttributes or \
         resourceAttributes must be specified, spec.user: Invalid value: \"\": at least one of user \
         or group must be specified]"
    );
    let both =
        json!({"user": "u", "resourceAttributes": pods, "nonResourceAttributes": {"path": "/"}});
    let why = invalid(&reviews, both).await;
    assert!(why.starts_with("spec.nonResourceAttributes: Invalid value: "), "{why}");
    assert!(why.ends_with(": cannot be specified in combination with resourceAttributes"), "{why}");
    assert_eq!(
        invalid(&local, json!({"user": "u", "resourceAttributes": pods})).await,
        "spec.resourceAttributes.namespace: Invalid value: \"other\": must match metadata.namespace"
    );
    let why = invalid(&local, json!({"user": "u", "nonResourceAttributes": {"path": "/"}})).await;
    assert!(why.ends_with(": disallowed on this kind of request"), "{why}");

    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/other/rolebindings";
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.ok();
    let binding = json!({
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}],
    });
    let mut policy = cluster.server.policy_compiled();
    policy.mark_unchanged();
    admin.create(bindings, &binding).await.ok();
    let question = json!({"spec": {"user": "u", "resourceAttributes": pods}});
    while admin.create(&reviews, &question).await.ok()["status"]["allowed"] == false {
        policy.changed().await.unwrap();
    }
    assert_eq!(
        admin.create(&reviews, &question).await.ok()["status"],
        json!({
            "allowed": true,
            "reason": "RBAC: allowed by RoleBinding \"readers/other\" of ClusterRole \"cluster-admin\" to \
                       User \"u\"",
        })
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_finalizers_are_those_that_were_meant() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let other = json!({"metadata": {"name": "other"}, "spec": {}});
    assert_eq!(
        admin.create(&format!("{ACCOUNT}/token"), &other).await.refusal(),
        "422 Invalid: TokenRequest.authentication.k8s.io \"default\" is invalid: metadata.name: \
         Invalid value: \"other\": must match the service account name if specified"
    );
    let held = json!({"metadata": {"name": "default"}, "spec": {"finalizers": ["mine"]}});
    assert_eq!(
        admin.update("/api/v1/namespaces/default/finalize", &held).await.refusal(),
        "422 Invalid: Namespace \"default\" is invalid: spec.finalizers[0]: Invalid value: \"mine\": \
         name is neither a standard finalizer name nor is it fully qualified"
    );
    let older = json!({
        "apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "none"},
    });
    let none = "/api/v1/namespaces/default/pods/none/eviction";
    assert_eq!(admin.create(none, &older).await.refusal(), "404 NotFound: pods \"none\" not found");
    cluster.stop().await;
}
