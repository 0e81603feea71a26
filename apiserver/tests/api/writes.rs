//! Create, update, patch: the rules of metadata and what conflicts look like.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Cluster, config_map};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_lives_by_the_rules_of_metadata() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let answer = admin.create(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(answer.code, 201);
    let created = answer.value.clone();
    let meta = &created["metadata"];
    assert_eq!(meta["namespace"], "default");
    assert_eq!(meta["resourceVersion"], answer.revision.to_string());
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert!(meta["creationTimestamp"].is_string());
    let again = admin.create(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!(again.refusal(), "409 AlreadyExists: configmaps \"a\" already exists");
    let one = format!("{CONFIG_MAPS}/a");
    let mut changed = created.clone();
    changed["data"] = json!({"a": "c"});
    changed["metadata"]["creationTimestamp"] = "2000-01-01T00:00:00Z".into();
    let updated = admin.update(&one, &changed).await.ok();
    assert_eq!(updated["metadata"]["creationTimestamp"], meta["creationTimestamp"]);
    assert_ne!(updated["metadata"]["resourceVersion"], meta["resourceVersion"]);
    let stale = admin.update(&one, &changed).await;
    assert_eq!(
        stale.refusal(),
        "409 Conflict: Operation cannot be fulfilled on configmaps \"a\": the object has been \
         modified; please apply your changes to the latest version and try again"
    );
    // Without a resourceVersion it overwrites; without a change nothing is written.
    let overwrite = admin.update(&one, &config_map("a")).await;
    let unchanged = admin.update(&one, &config_map("a")).await;
    assert_eq!(overwrite.value["metadata"], unchanged.value["metadata"]);
    assert_eq!(overwrite.revision, unchanged.revision);
    let missing = admin.update(&format!("{CONFIG_MAPS}/x"), &config_map("x")).await;
    assert_eq!(missing.refusal(), "404 NotFound: configmaps \"x\" not found");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_told_what_is_wrong() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let refusal = async |uri: &str, object: Value| admin.create(uri, &object).await.refusal();
    assert_eq!(
        refusal(CONFIG_MAPS, json!({"metadata": {}})).await,
        "422 Invalid: ConfigMap \"\" is invalid: metadata.name: Required value: name or \
         generateName is required"
    );
    assert_eq!(
        refusal("/api/v1/namespaces/nope/configmaps", config_map("a")).await,
        "404 NotFound: namespaces \"nope\" not found"
    );
    assert_eq!(
        refusal(CONFIG_MAPS, json!({"metadata": {"name": "a", "namespace": "other"}})).await,
        "400 BadRequest: the namespace of the provided object does not match the namespace sent \
         on the request"
    );
    assert_eq!(
        refusal(CONFIG_MAPS, json!({"metadata": {"name": "a", "resourceVersion": "1"}})).await,
        "400 BadRequest: resourceVersion should not be set on objects to be created"
    );
    assert!(refusal("/api/v1/namespaces/default/nixes", config_map("a")).await.starts_with("404"));
    let huge = json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(4 << 20)}});
    assert!(refusal(CONFIG_MAPS, huge).await.starts_with("413 RequestEntityTooLarge"));
    let odd = admin.call(Method::POST, CONFIG_MAPS, "text/html", "<p>").await;
    assert!(odd.refusal().starts_with("415 UnsupportedMediaType"), "{}", odd.refusal());
    let put = admin.call(Method::PUT, CONFIG_MAPS, "application/json", "{}").await;
    assert_eq!(put.code, 405);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_names_and_dry_runs() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let prefix = json!({"metadata": {"generateName": "job-"}});
    let first = admin.create(CONFIG_MAPS, &prefix).await.ok();
    let second = admin.create(CONFIG_MAPS, &prefix).await.ok();
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
    let tried = admin.create(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("dry")).await;
    assert_eq!(tried.code, 201);
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/dry")).await.code, 404);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_patches_are_all_applied() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(CONFIG_MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    let one = format!("{CONFIG_MAPS}/a");
    let patches = (0..20).map(|n| {
        let (admin, one) = (admin.clone(), one.clone());
        async move {
            let patch = json!({"data": {format!("k{n}"): "v"}});
            admin.merge(&one, &patch).await.ok();
        }
    });
    futures::future::join_all(patches).await;
    let object = admin.get(&one).await.ok();
    assert_eq!(object["data"].as_object().unwrap().len(), 20);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_never_share_an_address_or_port() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let services = "/api/v1/namespaces/default/services";
    let service = |name: String| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let creates = (0..20).map(|n| {
        let (admin, object) = (admin.clone(), service(format!("s{n}")));
        async move { admin.create(services, &object).await.ok() }
    });
    let made = futures::future::join_all(creates).await;
    let mut addresses: Vec<_> = made.iter().map(|s| s["spec"]["clusterIP"].to_string()).collect();
    let mut ports: Vec<_> =
        made.iter().map(|s| s["spec"]["ports"][0]["nodePort"].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    ports.sort();
    ports.dedup();
    assert_eq!((addresses.len(), ports.len()), (20, 20));
    let mut taken = service("thief".to_owned());
    taken["spec"]["clusterIP"] = made[0]["spec"]["clusterIP"].clone();
    let refused = admin.create(services, &taken).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused.refusal().contains("provided IP is already allocated"),
        "{}",
        refused.refusal()
    );
    admin.delete(&format!("{services}/s0")).await.ok();
    admin.create(services, &taken).await.ok();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_come_with_whatever_changes_an_object() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let warned = async |method: Method, uri: &str, media_type: &str, body: &Value| {
        let request = Request::builder().method(method).uri(uri).header("content-type", media_type);
        let body = Full::new(Bytes::from(body.to_string()));
        let response = admin.send(request.body(body).unwrap()).await;
        assert!(response.status().is_success(), "{uri}: {}", response.status());
        let warnings = response.headers().get_all("warning").iter();
        warnings.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    const JSON: &str = "application/json";
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let ingress = json!({
        "metadata": {"name": "i", "annotations": {"kubernetes.io/ingress.class": "x"}},
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}},
    });
    let seen = warned(Method::POST, ingresses, JSON, &ingress).await;
    assert_eq!(seen.len(), 1);
    assert!(seen[0].contains("kubernetes.io/ingress.class"), "{seen:?}");
    // Only new ones are warned of.
    assert!(warned(Method::PUT, &format!("{ingresses}/i"), JSON, &ingress).await.is_empty());
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let object = json!({"metadata": {"name": "e"}});
    assert_eq!(warned(Method::POST, endpoints, JSON, &object).await.len(), 1);
    assert_eq!(warned(Method::GET, endpoints, JSON, &json!({})).await.len(), 1);
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let merge = "application/merge-patch+json";
    let seen = warned(Method::PATCH, &format!("{endpoints}/e"), merge, &patch).await;
    assert_eq!(seen.len(), 1);
    assert!(seen[0].contains("Endpoints is deprecated"), "{seen:?}");
    cluster.stop().await;
}
