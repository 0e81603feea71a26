//! HTTP to pods, services and nodes through the API server.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use kontiki_base::tasks::TaskKind;
use serde_json::json;

use crate::support::{Caller, Cluster};

/// An address of this machine that is not its loopback's, which proxies refuse.
fn own_address() -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

/// A pod's web server: answers with what it was asked.
async fn web(cluster: &Cluster) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((own_address(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, tasks) = (cluster.tasks.shutdown(), cluster.tasks.clone());
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let io = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, hyper::service::service_fn(page));
            tasks.spawn_infallible(TaskKind::logged("test web"), async move {
                let _ = connection.await;
            });
        }
    };
    cluster.tasks.spawn_infallible(TaskKind::logged("test web"), async move {
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            () = serving => {}
        }
    });
    address
}

async fn page(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
    let mut response = match parts.uri.path() {
        "/page" => Response::new(Full::from("<a href=\"/next\">next</a>")),
        _ => Response::new(Full::from(format!(
            "{} {} {} {}",
            parts.method,
            parts.uri,
            header("x-forwarded-uri"),
            String::from_utf8_lossy(&body)
        ))),
    };
    let headers = response.headers_mut();
    headers.insert("access-control-allow-origin", "*".parse().unwrap());
    match parts.uri.path() {
        "/page" => drop(headers.insert(header::CONTENT_TYPE, "text/html".parse().unwrap())),
        "/moved" => {
            headers.insert(header::LOCATION, "/there?x=1".parse().unwrap());
            *response.status_mut() = StatusCode::FOUND;
        }
        _ => {}
    }
    Ok(response)
}

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(admin: &Caller, web: SocketAddr) {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, &json!({"metadata": {"name": "default"}})).await.ok();
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "c", "image": "x", "ports": [{"containerPort": web.port()}]},
    ]}});
    admin.create(PODS, &pod).await.ok();
    let ip = web.ip().to_string();
    let status = json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}});
    admin.merge(&format!("{PODS}/web/status"), &status).await.ok();
}

async fn ask(admin: &Caller, method: Method, uri: &str, body: &str) -> (Response<()>, String) {
    let request =
        Request::builder().method(method).uri(uri).body(Full::from(body.to_owned())).unwrap();
    let (parts, body) = admin.send(request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_reached_by_every_method() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let web = web(&cluster).await;
    pod(&admin, web).await;
    let base = format!("{PODS}/web/proxy");
    let methods =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    for method in methods {
        let (answer, body) =
            ask(&admin, method.clone(), &format!("{base}/a%20b/?q=%2F"), "body").await;
        assert_eq!(answer.status(), 200, "{method} {body}");
        assert_eq!(body, format!("{method} /a%20b/?q=%2F {base}/a%20b/ body"));
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
    let port = web.port();
    let (_, body) = ask(&admin, Method::GET, &format!("{PODS}/http:web:{port}/proxy/x"), "").await;
    assert!(body.starts_with("GET /x "), "{body}");
    let (answer, _) = ask(&admin, Method::GET, &format!("{base}?q=1"), "").await;
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.headers()[header::LOCATION], format!("{base}/?q=1"));
    let (answer, _) = ask(&admin, Method::GET, &format!("{base}/moved"), "").await;
    assert_eq!(answer.status(), 302);
    assert_eq!(answer.headers()[header::LOCATION], format!("{base}/there?x=1"));
    let (_, body) = ask(&admin, Method::GET, &format!("{base}/page"), "").await;
    assert_eq!(body, format!("<a href=\"{base}/next\">next</a>"));
    assert_eq!(cluster.server.open_streams(), 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_reached_at_a_ready_pod() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let web = web(&cluster).await;
    pod(&admin, web).await;
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}],
    }});
    admin.create(services, &service).await.ok();
    let refused = admin.get(&format!("{services}/web/proxy/x")).await;
    assert_eq!(
        refused.refusal(),
        "503 ServiceUnavailable: no endpoints available for service \"web\""
    );
    let slice = json!({
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": web.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [web.ip().to_string()], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": "web", "namespace": "default"}}],
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    admin.create(slices, &slice).await.ok();
    for name in ["web", "web:http", "web:80", "http:web:http"] {
        let (answer, body) =
            ask(&admin, Method::GET, &format!("{services}/{name}/proxy/x"), "").await;
        assert_eq!(answer.status(), 200, "{name}: {body}");
        assert!(body.starts_with("GET /x "), "{name}: {body}");
    }
    let refused = admin.get(&format!("{services}/web:1/proxy/")).await;
    assert_eq!(
        refused.refusal(),
        "503 ServiceUnavailable: no service port 1 found for service \"web\""
    );
    let refused = admin.get(&format!("{services}/a:b:c:d/proxy/")).await;
    assert_eq!(refused.refusal(), "400 BadRequest: invalid service request \"a:b:c:d\"");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_is_said() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let closed = SocketAddr::new(own_address(), 9);
    pod(&admin, closed).await;
    let refused = admin.get(&format!("{PODS}/web/proxy/")).await;
    assert_eq!(
        refused.refusal(),
        format!(
            "503 ServiceUnavailable: error trying to reach service: dial tcp {closed}: connect: connection refused"
        )
    );
    let refused = admin.get(&format!("{PODS}/nobody/proxy/")).await;
    assert_eq!(refused.refusal(), "404 NotFound: pods \"nobody\" not found");
    let jane = cluster.user("jane", &[]);
    let refused = jane.create(&format!("{PODS}/web/proxy/"), &json!({})).await;
    assert!(refused.refusal().starts_with("403 Forbidden: pods \"web\" is forbidden: User \"jane\" cannot create resource \"pods/proxy\""));
    cluster.stop().await;
}
