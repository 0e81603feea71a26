//! Over real sockets: certificates, tokens, strangers, the `kube` client.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kontiki_base::{
    pki::CertificateRequest,
    tls::{self, Identity, Roots},
};
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::support::Cluster;

/// Asks once over a connection of its own: status and body.
pub(crate) async fn ask(
    cluster: &Cluster,
    address: std::net::SocketAddr,
    identity: Option<&Identity>,
    path: &str,
    token: Option<&str>,
) -> (StatusCode, Value) {
    let roots = Roots { pem: cluster.authority.certificate_pem.clone() };
    let config = tls::client_config(&roots, identity, &[b"http/1.1"]).unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::from(address.ip());
    let stream = connector.connect(name, stream).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    cluster
        .tasks
        .spawn_infallible(kontiki_base::tasks::TaskKind::logged("test connection"), async {
            drop(connection.await)
        });
    let mut request = Request::get(path).header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(String::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let code = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_see_health_and_version_only() {
    let cluster = Cluster::start().await;
    let address = cluster.listen().await;
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(ask(&cluster, address, None, path, None).await.0, 200, "{path}");
    }
    for path in ["/api", "/apis", "/metrics", "/openapi/v2", "/api/v1/namespaces"] {
        let (code, status) = ask(&cluster, address, None, path, None).await;
        assert_eq!(code, 403, "{path}");
        assert_eq!(status["reason"], "Forbidden");
    }
    let (_, status) = ask(&cluster, address, None, "/api", None).await;
    assert_eq!(status["message"], "forbidden: User \"system:anonymous\" cannot get path \"/api\"");
    // Roles can open more to them, as of kube-public's cluster-info.
    let admin = cluster.admin();
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public";
    let role = json!({"metadata": {"name": "info"}, "rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]},
    ]});
    admin.create(&format!("{rbac}/roles"), &role).await.ok();
    let binding = json!({
        "metadata": {"name": "info"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "info"},
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:anonymous",
        }],
    });
    let mut policy = cluster.server.policy_compiled();
    policy.mark_unchanged();
    admin.create(&format!("{rbac}/rolebindings"), &binding).await.ok();
    let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    while ask(&cluster, address, None, info, None).await.0 == 403 {
        policy.changed().await.unwrap();
    }
    assert_eq!(ask(&cluster, address, None, info, None).await.0, 404);
    assert_eq!(ask(&cluster, address, None, info, Some("nonsense")).await.0, 401);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_tokens_say_who_asks() {
    let cluster = Cluster::start().await;
    let address = cluster.listen().await;
    let request = CertificateRequest::client("admin", Some("system:masters"));
    let identity = cluster.authority.issue(&request).unwrap();
    let (code, list) = ask(&cluster, address, Some(&identity), "/api/v1/namespaces", None).await;
    assert_eq!(code, 200);
    assert_eq!(list["items"].as_array().unwrap().len(), 4);
    let admin = cluster.admin();
    let data = |value: &str| STANDARD.encode(value);
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {
            "token-id": data("abcdef"),
            "token-secret": data("0123456789abcdef"),
            "usage-bootstrap-authentication": data("true"),
        },
    });
    admin.create("/api/v1/namespaces/kube-system/secrets", &secret).await.ok();
    let api = "/api/v1/namespaces";
    let (code, status) = ask(&cluster, address, None, api, Some("abcdef.0123456789abcdef")).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().contains("\"system:bootstrap:abcdef\""));
    let (code, _) = ask(&cluster, address, None, api, Some("abcdef.0123456789abcdee")).await;
    assert_eq!(code, 401);
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, &json!({"metadata": {"name": "bot"}})).await.ok();
    let made = admin.create(&format!("{accounts}/bot/token"), &json!({})).await.ok();
    let token = made["status"]["token"].as_str().unwrap();
    let (code, status) = ask(&cluster, address, None, api, Some(token)).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().contains("system:serviceaccount:default:bot"));
    admin.delete(&format!("{accounts}/bot")).await.ok();
    // The next read waits for the cache, so the account is gone there too.
    assert_eq!(admin.get(&format!("{accounts}/bot")).await.code, 404);
    assert_eq!(ask(&cluster, address, None, api, Some(token)).await.0, 401);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kube_client_works_in_process() {
    let cluster = Cluster::start().await;
    let client = kube::Client::new(cluster.admin().0, "default");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 4);
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("a".to_owned()), ..Default::default() },
        ..ConfigMap::default()
    };
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    assert!(made.metadata.resource_version.is_some());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_in_secrets_hold_as_long_as_their_secret() {
    use kontiki_api::account_token::{Claims, INVALID_SINCE};
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let core = "/api/v1/namespaces/default";
    let account = json!({"metadata": {"name": "robot"}});
    let account = admin.create(&format!("{core}/serviceaccounts"), &account).await.ok();
    let uid = account["metadata"]["uid"].as_str().unwrap();
    let key =
        jsonwebtoken::EncodingKey::from_ec_pem(cluster.options.service_account_key.as_bytes());
    let key = key.unwrap();
    let sign = |uid: &str, kid: Option<String>| {
        let algorithm = jsonwebtoken::Algorithm::ES256;
        let header = jsonwebtoken::Header { kid, ..jsonwebtoken::Header::new(algorithm) };
        let claims = Claims::new("default", "t", "robot", uid);
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    };
    let token = sign(uid, None);
    let secret = json!({
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
        "data": {"token": STANDARD.encode(&token)},
    });
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let who = async |token: &str| {
        // A read waits for the cache, where the authenticator looks.
        admin.get(&format!("{core}/secrets")).await.ok();
        let review = json!({"spec": {"token": token}});
        let status = admin.create(reviews, &review).await.ok()["status"].clone();
        status["user"]["username"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(who(&token).await, "");
    admin.create(&format!("{core}/secrets"), &secret).await.ok();
    assert_eq!(who(&token).await, "system:serviceaccount:default:robot");
    for other in [sign(uid, Some("other".to_owned())), sign("another", None)] {
        assert_eq!(who(&other).await, "", "it is not what the Secret says");
    }
    let path = format!("{core}/secrets/t");
    let label = |value: Value| json!({"metadata": {"labels": {INVALID_SINCE: value}}});
    admin.merge(&path, &label("2026-01-01".into())).await.ok();
    assert_eq!(who(&token).await, "");
    admin.merge(&path, &label(Value::Null)).await.ok();
    assert_ne!(who(&token).await, "");
    admin.delete(&path).await.ok();
    assert_eq!(who(&token).await, "");
    cluster.stop().await;
}
