//! A node with three pods and an outside world, in namespaces that end with the process.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    process::Command,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kontiki_api::typed::Object;
use kontiki_client::ObjectKey;
use kontiki_netproxy::{
    command, conntrack, plan,
    ruleset::{Changes, Networks, Table},
};

const INSIDE: &str = "KONTIKI_TEST_INSIDE";
const PATIENCE: Duration = Duration::from_secs(2);
const PORT: u16 = 8080;

/// Runs `body` in fresh network, mount and process namespaces: this test binary is run again there
/// for this one test.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().expect("a test knows its own file"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "inside (needs root):\n{text}\n{errors}");
    tell(&text);
}

/// What a test measured, for whoever looks at its output.
#[expect(clippy::print_stdout, reason = "libtest keeps it unless it is asked for")]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}

/// Who answered, and whom it saw asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pod: String,
    pub(crate) source: String,
}

impl Answer {
    fn parse(line: &str) -> io::Result<Answer> {
        let (pod, source) = line.trim().split_once(' ').ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Answer { pod: pod.to_owned(), source: source.to_owned() })
    }
}

/// The node, its pods, and its rules.
pub(crate) struct World {
    table: Table,
    objects: Vec<(String, String, Vec<String>)>,
    runtime: tokio::runtime::Runtime,
}

/// The node is where this process is; everyone else has a named namespace, below a `/run/netns` that
/// nobody else sees. Link-local addresses are usable at once: without `accept_dad=0` the kernel spends
/// their first second or two looking for a twin, and neighbours cannot be asked meanwhile.
const SETUP: &str = "
set -e
mount -t tmpfs none /run/netns 2>/dev/null || { mkdir -p /run/netns; mount -t tmpfs none /run/netns; }
no_dad=\"net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0\"
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 $no_dad
# Nobody else can have these addresses; waiting to find out would make the first packet late.
dad='net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0'
sysctl -qw $dad
ip link set lo up
for i in 1 2 3; do
  ip netns add pod$i; ip netns exec pod$i sysctl -qw $dad; a=$((i + 1))
  ip link add v$i type veth peer name eth0 netns pod$i
  ip addr add 10.42.0.1/32 dev v$i; ip addr add fd42::1/128 dev v$i nodad; ip link set v$i up
  ip -n pod$i link set lo up; ip -n pod$i addr add 10.42.0.$a/32 dev eth0
  ip -n pod$i addr add fd42::$a/128 dev eth0 nodad; ip -n pod$i link set eth0 up
  ip route add 10.42.0.$a/32 dev v$i; ip route add fd42::$a/128 dev v$i
  ip -n pod$i route add 10.42.0.1 dev eth0; ip -n pod$i route add default via 10.42.0.1
  ip -n pod$i route add fd42::1 dev eth0; ip -n pod$i route add default via fd42::1 dev eth0
done
ip netns add outside; ip netns exec outside sysctl -qw $dad
ip link add eth0 type veth peer name eth0 netns outside
ip addr add 10.99.0.11/24 dev eth0; ip addr add fd99::11/64 dev eth0 nodad; ip link set eth0 up
ip -n outside link set lo up; ip -n outside addr add 10.99.0.1/24 dev eth0
ip -n outside addr add fd99::1/64 dev eth0 nodad; ip -n outside link set eth0 up
ip route add default via 10.99.0.1; ip route add default via fd99::1
ip -n outside route add 10.43.0.0/16 via 10.99.0.11; ip -n outside route add fd43::/112 via fd99::11
";

impl World {
    pub(crate) fn new() -> World {
        let output = Command::new("bash").args(["-c", SETUP]).output().expect("bash starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for place in ["pod1", "pod2", "pod3", "outside", "node"] {
            serve(place);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        World { table: new_table(), objects: Vec::new(), runtime: runtime.expect("a runtime") }
    }

    /// Puts a service with these endpoints (`address` or `address@node`) into the kernel.
    pub(crate) fn apply(&mut self, name: &str, spec: &str, endpoints: &[&str]) {
        let endpoints: Vec<String> = endpoints.iter().map(|text| (*text).to_owned()).collect();
        self.objects.retain(|(known, ..)| known != name);
        self.objects.push((name.to_owned(), spec.to_owned(), endpoints.clone()));
        let routes = routes(name, spec, &endpoints);
        let hairpins: Vec<IpAddr> = (2..5_u8)
            .flat_map(|last| {
                [
                    IpAddr::from([10, 42, 0, last]),
                    IpAddr::from([0xfd42, 0, 0, 0, 0, 0, 0, u16::from(last)]),
                ]
            })
            .collect();
        let nodes = ["10.99.0.11", "fd99::11"].map(|text| text.parse().expect("an address"));
        let changes = self.table.change([(key(name), routes)], &hairpins, &nodes);
        self.commit(changes);
    }

    pub(crate) fn apply_many(&mut self, count: u32) {
        let services = (0..count).map(|n| {
            let (high, low) = (n / 250 + 1, n % 250 + 1);
            let spec =
                format!(r#"{{"clusterIPs": ["10.43.{high}.{low}"], "ports": [{{"port": 80}}]}}"#);
            let endpoints = ["10.42.0.2", "10.42.0.3", "10.42.0.4"].map(str::to_owned);
            let name = format!("many-{n}");
            (key(&name), routes(&name, &spec, &endpoints))
        });
        let services: Vec<_> = services.collect();
        let changes = self.table.change(services, &[], &[]);
        self.commit(changes);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.objects.retain(|(known, ..)| known != name);
        let changes = self.table.change([(key(name), Vec::new())], &[], &[]);
        self.commit(changes);
    }

    /// What a new process does: it knows nothing of the old one's table, and replaces it.
    pub(crate) fn restart(&mut self) {
        self.table = new_table();
        for (name, spec, endpoints) in self.objects.clone() {
            let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
            self.apply(&name, &spec, &endpoints);
        }
    }

    fn commit(&self, changes: Changes) {
        self.runtime.block_on(async {
            if !changes.text.is_empty() {
                let applied = command::run("nft", &["-f", "-"], &changes.text).await;
                applied.unwrap_or_else(|error| panic!("{error}\n{}", changes.text));
            }
            conntrack::forget(changes.stale_flows).await.expect("conntrack is installed");
        });
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, from: &str, to: &str) -> io::Result<Answer> {
        self.connect(from, to)?.ask()
    }

    pub(crate) fn ask_many(&self, from: &str, to: &str, count: usize) -> Vec<Answer> {
        let ask = |_| self.ask(from, to).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
        (0..count).map(ask).collect()
    }

    pub(crate) fn connect(&self, from: &str, to: &str) -> io::Result<Connection> {
        let address: SocketAddr = to.parse().expect("an address and a port");
        let stream = within(from, || TcpStream::connect_timeout(&address, PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// A UDP socket that sends to one address only.
    pub(crate) fn open_flow(&self, from: &str, to: &str) -> Flow {
        let address: SocketAddr = to.parse().expect("an address and a port");
        let socket = within(from, || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            Ok((socket, address))
        });
        let (socket, address) = socket.expect("a socket");
        Flow(socket, address)
    }
}

pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn ask(&mut self) -> io::Result<Answer> {
        self.0.get_mut().write_all(b"\n")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Answer::parse(&line)
    }
}

pub(crate) struct Flow(UdpSocket, SocketAddr);

impl Flow {
    pub(crate) fn ask(&self) -> io::Result<Answer> {
        self.0.send_to(b"\n", self.1)?;
        let mut buffer = [0; 128];
        let (length, _) = self.0.recv_from(&mut buffer)?;
        Answer::parse(&String::from_utf8_lossy(&buffer[..length]))
    }
}

fn new_table() -> Table {
    let range = |text: &str| text.parse().expect("a range");
    Table::new(Networks { pods: vec![range("10.42.0.0/16"), range("fd42::/64")] })
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn routes(name: &str, spec: &str, endpoints: &[String]) -> Vec<plan::Route> {
    let spec: serde_json::Value = serde_json::from_str(spec).expect("a spec in JSON");
    let port = &spec["ports"][0];
    let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
    let service = Service::from_value(serde_json::json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "default", "name": name}, "spec": spec,
    }));
    let is_v6 = endpoints.iter().any(|endpoint| endpoint.contains(':'));
    let endpoint = |text: &String| {
        let (address, node) = text.split_once('@').unwrap_or((text, "n1"));
        serde_json::json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true}})
    };
    let slice = EndpointSlice::from_value(serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {},
        "addressType": if is_v6 { "IPv6" } else { "IPv4" },
        "ports": [{"name": "", "port": PORT, "protocol": protocol}],
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    }));
    let slices = [Arc::new(slice.expect("an EndpointSlice"))];
    plan::routes(&service.expect("a Service"), &slices, "n1")
}

/// Runs `work` on a thread that is in the network of `place`.
pub(crate) fn within<T: Send>(
    place: &str,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(place);
            work()
        });
        thread.join().expect("no test thread panics")
    })
}

fn enter(place: &str) {
    if place == "node" {
        return;
    }
    let file = std::fs::File::open(format!("/run/netns/{place}")).expect("a namespace");
    #[expect(unsafe_code, reason = "a system call on the calling thread alone")]
    let entered = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "cannot enter {place}");
}

/// Servers in `place` that say where they are and who asked, line by line.
fn serve(place: &str) {
    let (listener, socket) =
        within(place, || Ok((TcpListener::bind(("::", PORT))?, UdpSocket::bind(("::", PORT))?)))
            .expect("free ports");
    let source = |address: SocketAddr| match address.ip() {
        IpAddr::V6(address) => address.to_ipv4_mapped().map_or(address.into(), IpAddr::from),
        address @ IpAddr::V4(_) => address,
    };
    let name = place.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = name.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                let peer = source(stream.peer_addr().expect("a peer"));
                while stream.read(&mut [0; 1]).is_ok_and(|count| count == 1) {
                    let _ = stream.write_all(format!("{name} {peer}\n").as_bytes());
                }
            });
        }
    });
    let name = place.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}\n", source(peer)).as_bytes(), peer);
        }
    });
}
