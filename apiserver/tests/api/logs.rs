//! Logs, fetched from a kubelet that shows who it is and asks the API server for the same.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use kontiki_base::{
    pki::{CertificateRequest, Usage},
    tasks::TaskKind,
    tls::{self, ClientCertificates, Roots},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{Caller, Cluster};

type Lines = mpsc::Receiver<&'static str>;

/// A kubelet that answers one request after the other: with its path, then with lines as they come.
async fn kubelet(cluster: &Cluster, lines: Lines) -> SocketAddr {
    let local = "127.0.0.1".parse().unwrap();
    let request = CertificateRequest::serving("n1", Vec::new(), vec![local], Usage::Server);
    let identity = cluster.authority.issue(&request).unwrap();
    let roots = Roots { pem: cluster.authority.certificate_pem.clone() };
    let alpn: [&[u8]; 1] = [b"http/1.1"];
    let config =
        tls::server_config(&identity, &roots, ClientCertificates::Required, &alpn).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind((local, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let lines = Arc::new(parking_lot::Mutex::new(Some(lines)));
    let shutdown = cluster.tasks.shutdown();
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let lines = lines.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let lines = lines.lock().take();
                async move { Ok::<_, Infallible>(answer(&request, lines)) }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http1::Builder::new();
            drop(connection.serve_connection(io, service).await);
        }
    };
    cluster.tasks.spawn_infallible(TaskKind::logged("test kubelet"), async move {
        tokio::select! { biased;
            () = shutdown.cancelled() => {}
            () = serving => {}
        }
    });
    address
}

fn answer(
    request: &Request<Incoming>,
    lines: Option<Lines>,
) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
    let Some(lines) = lines else {
        let mut response = Response::new(Full::from("no such container").boxed_unsync());
        *response.status_mut() = http::StatusCode::NOT_FOUND;
        return response;
    };
    let first = futures::stream::iter([format!("{}\n", request.uri())]);
    let rest = tokio_stream::wrappers::ReceiverStream::new(lines).map(str::to_owned);
    let frames = first.chain(rest).map(|line| Ok(Frame::data(Bytes::from(line))));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

async fn pod_on_a_node(admin: &Caller, kubelet: SocketAddr) {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, &json!({"metadata": {"name": "default"}})).await.ok();
    admin.create("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.ok();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": kubelet.ip().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
    }});
    admin.merge("/api/v1/nodes/n1/status", &status).await.ok();
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n1", "containers": [{"name": "c", "image": "x"}],
    }});
    admin.create("/api/v1/namespaces/default/pods", &pod).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_passed_on_as_they_come() {
    let cluster = Cluster::start().await;
    let (write, lines) = mpsc::channel(1);
    let kubelet = kubelet(&cluster, lines).await;
    let admin = cluster.admin();
    pod_on_a_node(&admin, kubelet).await;
    let uri = "/api/v1/namespaces/default/pods/p/log";
    let request =
        Request::get(format!("{uri}?follow=true&tailLines=5")).body(Full::default()).unwrap();
    let mut body = admin.send(request).await.into_body();
    let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(next().await, "/containerLogs/default/p/c?follow=true&tailLines=5\n");
    write.send("one\n").await.unwrap();
    assert_eq!(next().await, "one\n");
    write.send("two\n").await.unwrap();
    assert_eq!(next().await, "two\n");
    drop(write);
    assert!(body.frame().await.is_none());
    let refused = admin.get(uri).await;
    assert_eq!(refused.refusal(), "400 BadRequest: no such container");
    let other = admin.get(&format!("{uri}?container=nope")).await;
    assert_eq!(other.value["message"], "container nope is not valid for pod p");
    assert_eq!(other.value["kind"], Value::from("Status"));
    cluster.stop().await;
}
