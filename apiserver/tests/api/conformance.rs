//! What upstream's conformance tests found that nothing else here had tried.

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::support::{CONFIG_MAPS, Caller, Cluster};

const NAMESPACES: &str = "/api/v1/namespaces";
const SIGNING_REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn annotation<'a>(object: &'a Value, name: &str) -> &'a Value {
    &object["metadata"]["annotations"][name]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_written_with_metadata_where_upstream_lets_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(NAMESPACES, &json!({"metadata": {"name": "one"}})).await.ok();
    let patch = json!({
        "metadata": {"annotations": {"patched": "true"}, "labels": {"a": "b"}},
        "spec": {"finalizers": ["example.com/not-here"]},
        "status": {"conditions": [{"type": "Patched", "status": "True"}]},
    });
    let merge = async |uri: &str| admin.merge(uri, &patch).await.ok();
    let space = merge(&format!("{NAMESPACES}/one/status")).await;
    assert_eq!(annotation(&space, "patched"), "true");
    assert_eq!(space["metadata"]["labels"]["a"], "b");
    assert_eq!(space["status"]["conditions"][0]["type"], "Patched");
    assert_eq!(space["spec"]["finalizers"], json!(["kubernetes"]));
    // Who wrote the annotation owns it.
    let owners = space["metadata"]["managedFields"].as_array().unwrap();
    let through = owners.iter().find(|entry| entry["subresource"] == "status").unwrap();
    assert!(through["fieldsV1"]["f:metadata"]["f:annotations"]["f:patched"].is_object());
    assert_eq!(through["fieldsV1"].get("f:spec"), None);

    let schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    let schema = merge(&format!("{schemas}/global-default/status")).await;
    assert_eq!(annotation(&schema, "patched"), &Value::Null);
    assert_eq!(schema["status"]["conditions"][0]["type"], "Patched");

    let request = admin.create(SIGNING_REQUESTS, &signing_request()).await.ok();
    let name = request["metadata"]["name"].as_str().unwrap();
    for part in ["approval", "status"] {
        let patch = json!({"metadata": {"annotations": {part: "true"}}});
        let patched = admin.merge(&format!("{SIGNING_REQUESTS}/{name}/{part}"), &patch).await.ok();
        assert_eq!(annotation(&patched, part), "true");
    }
    cluster.stop().await;
}

fn signing_request() -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let pem = request.pem().unwrap();
    json!({
        "metadata": {"generateName": "csr-"},
        "spec": {
            "request": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pem),
            "signerName": "example.com/test",
            "usages": ["digital signature", "server auth"],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_not_say_who_selects_its_pods() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "web", "image": "web:1"}]},
    });
    admin.create("/api/v1/namespaces/default/serviceaccounts", &named("default")).await;
    admin.create(pods, &pod).await.ok();
    let node = cluster.user("system:node:n1", &["system:nodes"]);
    let status = format!("{pods}/web/status");
    let relabel = json!({"metadata": {"labels": {"app": "db"}}, "status": {"phase": "Running"}});
    let refused = node.merge(&status, &relabel).await.refusal();
    assert!(refused.contains("node \"n1\" cannot update labels through pod status"), "{refused}");
    node.merge(&status, &json!({"status": {"phase": "Running"}})).await.ok();
    cluster.stop().await;
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_no_tables() {
    let cluster = Cluster::start().await;
    let question = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let request = Request::builder()
        .method(Method::POST)
        .uri("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Full::new(question.to_string().into()))
        .unwrap();
    assert_eq!(cluster.admin().send(request).await.status(), 406);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_writes_are_told_everything_in_order() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let strict = |uri: &str| format!("{uri}?fieldValidation=Strict");
    let create = r#"{"metadata":{"name":"web"},"spec":{"unknownField":"foo","replicas":2,"replicas":3,
        "selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
        "spec":{"containers":[{"name":"web","image":"web:1"}]}}}}"#;
    let sent = async |method: Method, uri: &str, media_type: &str, body: &str| {
        admin.call(method, uri, media_type, body.to_owned()).await
    };
    let refused = sent(Method::POST, &strict(deployments), "application/json", create).await;
    assert_eq!(
        refused.refusal(),
        "400 BadRequest: Deployment in version \"v1\" cannot be handled as a Deployment: strict \
         decoding error: unknown field \"spec.unknownField\", duplicate field \"spec.replicas\""
    );
    sent(Method::POST, deployments, "application/json", create).await.ok();
    let web = format!("{deployments}/web");
    let patch = r#"{"spec":{"foo":"x","replicas":1,"replicas":2}}"#;
    for media_type in ["application/merge-patch+json", "application/strategic-merge-patch+json"] {
        assert_eq!(
            sent(Method::PATCH, &strict(&web), media_type, patch).await.refusal(),
            "400 BadRequest: strict decoding error: duplicate field \"spec.replicas\", unknown \
             field \"spec.foo\""
        );
    }
    let patch = r#"[{"op":"replace","path":"/spec/replicas","value":1,"value":2,"foo":3}]"#;
    let refused = sent(Method::PATCH, &strict(&web), "application/json-patch+json", patch).await;
    assert_eq!(
        refused.refusal(),
        "400 BadRequest: strict decoding error: json patch duplicate field \"[0].value\", json \
         patch unknown field \"[0].foo\""
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_can_be_checked_by_whoever_trusts_the_issuer() {
    let cluster = Cluster::start().await;
    let account = cluster.user(
        "system:serviceaccount:default:web",
        &["system:serviceaccounts", "system:authenticated"],
    );
    let document = |path: &'static str| fetch(&account, path);
    let (media_type, configuration) = document("/.well-known/openid-configuration").await;
    assert_eq!(media_type, "application/json");
    assert_eq!(configuration["issuer"], cluster.options.service_account_issuer);
    assert_eq!(configuration["jwks_uri"], "https://192.0.2.1:6443/openid/v1/jwks");
    let (media_type, keys) = document("/openid/v1/jwks").await;
    assert_eq!(media_type, "application/jwk-set+json");

    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let admin = cluster.admin();
    admin.create(accounts, &named("web")).await.ok();
    let token = admin.create(&format!("{accounts}/web/token"), &json!({})).await.ok();
    let token = token["status"]["token"].as_str().unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&[&cluster.options.service_account_issuer]);
    let read = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    assert_eq!(read.claims["sub"], "system:serviceaccount:default:web");
    assert_eq!(cluster.user("eve", &[]).get("/openid/v1/jwks").await.code, 403);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_that_make_no_sense_are_refused_in_upstreams_words() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(CONFIG_MAPS, &named("one")).await.ok();
    let (uid, version) = (&made["metadata"]["uid"], &made["metadata"]["resourceVersion"]);
    let (uid, version) = (uid.as_str().unwrap(), version.as_str().unwrap());
    let refused = async |options: Value| {
        let uri = format!("{CONFIG_MAPS}/one");
        let body = options.to_string();
        admin.call(Method::DELETE, &uri, "application/json", body).await.refusal()
    };
    let conflict = "409 Conflict: Operation cannot be fulfilled on ConfigMap \"one\": the";
    let invalid = "422 Invalid: DeleteOptions.meta.k8s.io \"\" is invalid:";
    for (options, message) in [
        (
            json!({"preconditions": {"uid": "u"}}),
            format!(
                "{conflict} UID in the precondition (u) does not match the UID in record ({uid}). \
                 The object might have been deleted and then recreated"
            ),
        ),
        (
            json!({"preconditions": {"resourceVersion": "1"}}),
            format!(
                "{conflict} ResourceVersion in the precondition (1) does not match the \
                 ResourceVersion in record ({version}). The object might have been modified"
            ),
        ),
        (
            json!({"propagationPolicy": "Foo"}),
            format!(
                "{invalid} propagationPolicy: Unsupported value: \"Foo\": supported values: \
                 \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            ),
        ),
        (
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            format!(
                "{invalid} propagationPolicy: Invalid value: \"Orphan\": orphanDependents and \
                 deletionPropagation cannot be both set"
            ),
        ),
        (
            json!({"dryRun": ["Some"]}),
            format!("{invalid} dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""),
        ),
    ] {
        assert_eq!(refused(options).await, message);
    }
    cluster.stop().await;
}

async fn fetch(caller: &Caller, path: &str) -> (String, Value) {
    let request = Request::get(path).body(Full::default()).unwrap();
    let response = caller.send(request).await;
    assert_eq!(response.status(), 200, "{path}");
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (media_type, serde_json::from_slice(&bytes).unwrap())
}
