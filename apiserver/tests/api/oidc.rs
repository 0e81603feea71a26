//! ID tokens of an OpenID Connect issuer that runs beside the server.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kontiki_apiserver::authn::oidc::Flags;
use kontiki_base::{
    pki::{Authority, CertificateRequest, Usage},
    tasks::{TaskKind, Tasks},
    tls::{self, ClientCertificates, Roots},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{sockets::ask, support::Cluster};

const TASK: TaskKind = TaskKind::logged("test issuer");

/// An issuer with one key at a time.
struct Issuer {
    url: String,
    authority: Authority,
    keys: Arc<Mutex<Value>>,
    tasks: Tasks,
}

struct Key {
    id: &'static str,
    signing: EncodingKey,
    public: Value,
}

fn key(id: &'static str) -> Key {
    let pair = rcgen::KeyPair::generate().unwrap();
    let point = pair.public_key_raw();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
        "x": number(&point[1..33]), "y": number(&point[33..65]),
    });
    let signing = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    Key { id, signing, public }
}

impl Issuer {
    async fn start() -> Issuer {
        tls::install_provider();
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let authority = Authority::generate("issuer").unwrap();
        let request = CertificateRequest::serving("issuer", Vec::new(), vec![local], Usage::Server);
        let roots = Roots { pem: authority.certificate_pem.clone() };
        let identity = authority.issue(&request).unwrap();
        let config =
            tls::server_config(&identity, &roots, ClientCertificates::Optional, &[b"http/1.1"]);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = tokio::net::TcpListener::bind((local, 0)).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let tasks = Tasks::new();
        let keys = Arc::new(Mutex::new(json!({"keys": []})));
        let (served, own, children) = (keys.clone(), url.clone(), tasks.child());
        let stop = tasks.shutdown();
        tasks.spawn_infallible(TASK, async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => break,
                    accepted = listener.accept() => accepted,
                };
                let (acceptor, served, own) = (acceptor.clone(), served.clone(), own.clone());
                children.spawn_infallible(TASK, async move {
                    let stream = acceptor.accept(accepted.unwrap().0).await.unwrap();
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let text = match request.uri().path() {
                            "/.well-known/openid-configuration" => {
                                json!({"issuer": own, "jwks_uri": format!("{own}/keys")})
                                    .to_string()
                            }
                            _ => served.lock().to_string(),
                        };
                        async move { Ok::<_, Infallible>(Response::new(text)) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Issuer { url, authority, keys, tasks }
    }

    fn token(&self, key: &Key, change: impl FnOnce(&mut Value)) -> String {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.url, "aud": "kontiki", "sub": "jane", "exp": now + 600,
            "groups": ["dev"],
        });
        change(&mut claims);
        let header = Header { kid: Some(key.id.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &key.signing).unwrap()
    }
}

async fn who(cluster: &Cluster, address: SocketAddr, token: &str) -> (StatusCode, String) {
    let (code, status) = ask(cluster, address, None, "/api/v1/nodes", Some(token)).await;
    (code, status["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn id_tokens_of_the_issuer_name_users_and_new_keys_are_found() {
    let issuer = Issuer::start().await;
    let (first, second) = (key("first"), key("second"));
    *issuer.keys.lock() = json!({"keys": [first.public]});
    let flags = Flags {
        issuer_url: Some(issuer.url.clone()),
        client_id: Some("kontiki".to_owned()),
        username_prefix: Some("oidc:".to_owned()),
        groups_claim: Some("groups".to_owned()),
        signing_algs: vec!["ES256".to_owned()],
        ..Flags::default()
    };
    let mut settings = flags.check().unwrap().unwrap();
    settings.roots.clone_from(&issuer.authority.certificate_pem);
    let cluster = Cluster::start_with(|options| options.oidc = Some(settings)).await;
    let address = cluster.listen().await;
    let token = issuer.token(&first, |_| {});
    let (code, message) = who(&cluster, address, &token).await;
    assert_eq!(code, 403);
    assert!(message.contains("User \"oidc:jane\" cannot list resource \"nodes\""), "{message}");
    let own = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = json!({"spec": {"token": token}});
    let reviewed = cluster.admin().create(own, &review).await.ok();
    assert_eq!(reviewed["status"]["user"]["groups"], json!(["dev", "system:authenticated"]));
    for (change, what) in [
        (json!({"aud": "other"}), "audience"),
        (json!({"exp": 5}), "expiry"),
        (json!({"iss": "https://other"}), "issuer"),
    ] {
        let token = issuer.token(&first, |claims| {
            for (name, value) in change.as_object().unwrap() {
                claims[name] = value.clone();
            }
        });
        assert_eq!(who(&cluster, address, &token).await.0, 401, "{what}");
    }
    // Another key under the same name.
    let forged = Key { id: "first", ..key("first") };
    assert_eq!(who(&cluster, address, &issuer.token(&forged, |_| {})).await.0, 401);
    // The issuer changes its key: who comes with the new one waits until it is fetched.
    *issuer.keys.lock() = json!({"keys": [second.public]});
    assert_eq!(who(&cluster, address, &issuer.token(&second, |_| {})).await.0, 403);
    assert_eq!(who(&cluster, address, &token).await.0, 401);
    cluster.stop().await;
    issuer.tasks.stop().await;
}
