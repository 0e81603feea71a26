//! The whole proxy of a node, fed by an API server that says what the test wants.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt;
use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use kontiki_base::tasks::{TaskKind, Tasks};
use kontiki_client::Client;
use kontiki_netproxy::{Options, Service};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{World, inside, tell, within};

const DNS: &str = "10.43.0.10:53";

type Body = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// Answers lists from memory, and sends on each watch what is pushed.
#[derive(Clone, Default)]
struct Api {
    lists: Arc<HashMap<&'static str, Value>>,
    watches: Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Bytes>>>>,
}

impl Api {
    fn answer(&self, uri: &http::Uri) -> http::Response<Body> {
        let resource = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let frame = |bytes: Bytes| Ok(Frame::data(bytes));
        let body = if uri.query().unwrap_or_default().contains("watch=true") {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.watches.lock().expect("no panics").insert(resource, sender);
            let lines = futures::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|line| (line, receiver))
            });
            StreamBody::new(lines.map(frame).boxed())
        } else {
            let items = self.lists.get(resource.as_str()).cloned().unwrap_or_else(|| json!([]));
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
            let bytes = Bytes::from(list.to_string());
            StreamBody::new(futures::stream::iter([frame(bytes)]).boxed())
        };
        http::Response::new(body)
    }

    fn push(&self, resource: &str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        let watches = self.watches.lock().expect("no panics");
        watches[resource].send(Bytes::from(line)).expect("the watch is open");
    }
}

fn slice(version: u32, address: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "default", "name": "web-1", "resourceVersion": version.to_string(),
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": [address], "nodeName": "n1", "conditions": {"ready": true}}],
    })
}

fn api() -> Api {
    let node = |name: &str, range: &str, address: &str| {
        json!({
            "metadata": {"name": name, "resourceVersion": "1"},
            "spec": {"podCIDR": range, "podCIDRs": [range]},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        })
    };
    let web = json!({
        "metadata": {"namespace": "default", "name": "web", "resourceVersion": "1"},
        "spec": {"clusterIPs": ["10.43.0.7"], "ports": [{"port": 80}]},
    });
    let far = json!({
        "metadata": {"namespace": "default", "name": "far", "resourceVersion": "1"},
        "spec": {"type": "ExternalName", "externalName": "example.org"},
    });
    let nodes =
        [node("n1", "10.42.0.0/24", "10.99.0.11"), node("n2", "10.42.1.0/24", "10.99.0.12")];
    let lists = HashMap::from([
        ("nodes", json!(nodes)),
        ("services", json!([web, far])),
        ("endpointslices", json!([slice(1, "10.42.0.3")])),
    ]);
    Api { lists: Arc::new(lists), ..Api::default() }
}

/// The world's resolver: it knows one name.
fn serve_example_org() {
    let socket = UdpSocket::bind("127.0.0.53:53").expect("a free port");
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let Ok(mut message) = Message::from_vec(&buffer[..length]) else { continue };
            let name = message.queries[0].name().clone();
            if name.to_ascii() == "example.org." {
                let data = RData::A(A([192, 0, 2, 80].into()));
                message.add_answer(Record::from_rdata(name, 60, data));
            } else {
                message.metadata.response_code = ResponseCode::NXDomain;
            }
            let answer = message.into_response().to_vec().expect("a small message");
            let _ = socket.send_to(&answer, client);
        }
    });
}

/// Asks the node's DNS from a pod; gives the data of the answers, or the code.
fn resolve(name: &str, over_tcp: bool) -> String {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    let bytes = query.to_vec().expect("a small message");
    let address: SocketAddr = DNS.parse().expect("an address");
    let answer = within("pod1", || {
        if over_tcp {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(&u16::try_from(bytes.len()).expect("short").to_be_bytes())?;
            stream.write_all(&bytes)?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer)?;
            return Ok(answer);
        }
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(address)?;
        socket.send(&bytes)?;
        let mut answer = vec![0; 2048];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    });
    let answer = Message::from_vec(&answer.expect("an answer")).expect("a message");
    assert_eq!(answer.metadata.id, query.metadata.id);
    if answer.metadata.response_code != ResponseCode::NoError {
        return answer.metadata.response_code.to_string();
    }
    answer.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>().join(" ")
}

fn health() -> Option<String> {
    let mut stream = TcpStream::connect("127.0.0.1:10256").ok()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().next().map(str::to_owned)
}

fn until(what: &str, mut reached: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

fn routes() -> String {
    let words = ["route", "show", "proto", "107"];
    let output = Command::new("ip").args(words).output().expect("ip starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_node_follows_the_api_and_outlives_it() {
    inside("node::a_node_follows_the_api_and_outlives_it", || {
        let world = World::new();
        serve_example_org();
        let resolv_conf = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&resolv_conf, "nameserver 127.0.0.53\n").expect("a file");
        let api = api();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _context = runtime.enter();
        let answering = api.clone();
        let client = Client::in_process(tower::service_fn(move |request: http::Request<_>| {
            let response = answering.answer(request.uri());
            async move { Ok::<_, Infallible>(response) }
        }));
        let options = Options {
            node_name: "n1".to_owned(),
            resolv_conf: resolv_conf.path().to_owned(),
            ..Options::default()
        };
        let tasks = Tasks::new();
        let (service, group) = (Service::new(options, client), tasks.clone());
        tasks.spawn(TaskKind::vital("netproxy"), async move { service.run(&group).await });

        until("it is healthy", || health().is_some_and(|line| line == "HTTP/1.1 200 OK"));
        assert_eq!(tasks.failure(), None);
        assert_eq!(world.ask("pod1", "10.43.0.7:80").expect("an endpoint").pod, "pod2");
        assert!(routes().contains("10.42.1.0/24 via 10.99.0.12"), "{}", routes());
        for over_tcp in [false, true] {
            assert_eq!(resolve("web.default.svc.cluster.local.", over_tcp), "10.43.0.7");
            assert_eq!(resolve("nope.default.svc.cluster.local.", over_tcp), "Non-Existent Domain");
        }
        assert_eq!(resolve("example.org.", false), "192.0.2.80");
        assert_eq!(resolve("other.org.", false), "Non-Existent Domain");
        assert_eq!(resolve("far.default.svc.cluster.local.", false), "example.org. 192.0.2.80");

        until("the watch is open", || {
            api.watches.lock().expect("ok").contains_key("endpointslices")
        });
        api.push("endpointslices", "MODIFIED", &slice(2, "10.42.0.4"));
        let took = until("packets go to the new endpoint", || {
            world.ask("pod1", "10.43.0.7:80").is_ok_and(|answer| answer.pod == "pod3")
        });
        tell(&format!("endpoint change to packet: {took:?}"));
        let n2 = json!({"metadata": {"name": "n2", "resourceVersion": "3"}});
        api.push("nodes", "DELETED", &n2);
        until("its route is gone", || routes().is_empty());

        runtime.block_on(tasks.stop());
        assert_eq!(health(), None);
        assert_eq!(world.ask("pod1", "10.43.0.7:80").expect("rules live on").pod, "pod3");
    });
}
