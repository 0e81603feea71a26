//! The lab itself, on real namespaces: what is built stands, what breaks breaks alone, and
//! nothing is left.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    time::Duration,
};

use kontiki_chaos::{
    balancer::{Balancer, reachable},
    lab::{Cut, Host, Lab, Options},
    prober::{self, Prober},
};
use tokio::time::Instant;

fn lab(hosts: &[&str]) -> Lab {
    Lab::start(&Options::new(hosts.iter().copied())).expect("a lab needs root and iproute2")
}

fn ping(from: &Host, to: &Host) -> bool {
    let address = to.address().to_string();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("exec timeout 2 bash -c '</dev/tcp/{address}/7'")]);
    let output = from.output(&mut command).expect("bash starts");
    // Refused means reached: nobody listens on port 7.
    String::from_utf8_lossy(&output.stderr).contains("refused")
}

/// What should get through may need a second attempt on a busy machine.
fn reaches(from: &Host, to: &Host) -> bool {
    (0..5).any(|_| ping(from, to))
}

/// An HTTP server in a host that answers with the host's name: this test binary, run there.
fn serve_name(host: &Host) -> SocketAddr {
    let address = SocketAddr::new(host.address(), 8080);
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own file"));
    command.args(["--exact", "the_web_server_of_a_host"]);
    command.env("LAB_WEB_NAME", host.name()).env("LAB_WEB_LISTEN", address.to_string());
    host.spawn("web", &mut command).expect("the test binary starts");
    address
}

/// Not a test of its own, unless a host runs it.
#[test]
fn the_web_server_of_a_host() {
    let Ok(name) = std::env::var("LAB_WEB_NAME") else { return };
    let listener = TcpListener::bind(std::env::var("LAB_WEB_LISTEN").unwrap()).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let length = name.len();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
    }
}

/// Waits until so many requests that began at `from` or later have ended.
async fn until_asked(prober: &Prober, from: Instant, count: usize) {
    let waited = tokio::time::timeout(Duration::from_secs(30), prober.ended(from, count)).await;
    assert!(waited.is_ok(), "fewer than {count} requests ended: {:?}", prober.records());
}

async fn until_reachable(lab: &Lab, address: SocketAddr) {
    for _ in 0..200 {
        let network = lab.lan().network().expect("the outside world is on");
        let up = network.run(|| {
            let timeout = Duration::from_millis(200);
            Ok(std::net::TcpStream::connect_timeout(&address, timeout).is_ok())
        });
        if up.expect("threads start") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nothing listens on {address}");
}

#[test]
fn a_host_is_a_machine_of_its_own() {
    let lab = lab(&["n1", "n2"]);
    let (n1, n2) = (lab.host("n1").unwrap(), lab.host("n2").unwrap());
    assert_eq!(n1.run(&["hostname"]).unwrap().trim(), "n1");
    assert_eq!(
        n1.run(&["cat", "/proc/1/cmdline"]).unwrap().split('\0').next(),
        Some("kontiki-lab-init")
    );
    assert!(n1.run(&["ls", "/run"]).unwrap().is_empty());
    n1.run(&["sh", "-c", "echo kept > /var/lib/kontiki/file; echo lost > /run/file"]).unwrap();
    assert!(n2.run(&["cat", "/var/lib/kontiki/file"]).is_err());
    assert!(ping(n1, n2) && ping(n1, lab.lan()) && ping(lab.lan(), n2));
}

#[tokio::test]
async fn a_power_cut_ends_everything_but_the_disk() {
    let lab = lab(&["n1", "n2"]);
    let (n1, n2) = (lab.host("n1").unwrap(), lab.host("n2").unwrap());
    n1.run(&["sh", "-c", "echo kept > /var/lib/kontiki/file; echo lost > /run/file"]).unwrap();
    let daemon = n1.spawn("sleeper", Command::new("sleep").arg("1000")).unwrap();
    lab.power_off("n1").unwrap();
    assert!(!n1.is_on());
    let ended = tokio::time::timeout(Duration::from_secs(10), daemon.wait()).await;
    assert!(!ended.expect("it ends with its host").success());
    assert!(!ping(n2, n1) && ping(n2, lab.lan()));
    lab.power_on("n1").unwrap();
    assert_eq!(n1.run(&["cat", "/var/lib/kontiki/file"]).unwrap(), "kept\n");
    assert!(n1.run(&["cat", "/run/file"]).is_err());
    assert!(ping(n2, n1));
    lab.crash("n1").unwrap();
    lab.power_on("n1").unwrap();
    assert!(ping(n2, n1));
}

#[test]
fn cuts_have_a_direction_and_heal() {
    let lab = lab(&["n1", "n2", "n3"]);
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(|name| lab.host(name).unwrap());
    lab.cut(Cut::Between("n1", "n2")).unwrap();
    assert!(!ping(n1, n2) && reaches(n1, n3) && reaches(n3, n2) && reaches(lab.lan(), n1));
    lab.cut(Cut::FromHost("n3")).unwrap();
    assert!(!ping(lab.lan(), n3));
    lab.heal().unwrap();
    assert!(reaches(n1, n2) && reaches(lab.lan(), n3));
    lab.set_link("n1", false).unwrap();
    assert!(!ping(n2, n1));
    lab.set_link("n1", true).unwrap();
    assert!(ping(n2, n1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_host_answers_again_when_resumed() {
    let lab = lab(&["n1"]);
    let n1 = lab.host("n1").unwrap();
    let address = serve_name(n1);
    until_reachable(&lab, address).await;
    n1.pause().unwrap();
    let options = prober::Options {
        timeout: Duration::from_millis(300),
        ..prober::Options::new(vec![address])
    };
    let start = Instant::now();
    let silent = Prober::start(lab.lan().network().unwrap(), options).unwrap();
    until_asked(&silent, start, 3).await;
    let records = silent.stop();
    assert!(records.iter().all(|record| record.outcome.is_err()), "{records:?}");
    n1.resume().unwrap();
    until_reachable(&lab, address).await;
    let options = prober::Options::new(vec![address]);
    let start = Instant::now();
    let answered = Prober::start(lab.lan().network().unwrap(), options).unwrap();
    until_asked(&answered, start, 3).await;
    let summary = prober::summarise(&answered.stop());
    assert_eq!((summary.failed, summary.answers.contains_key("n1")), (0, true), "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_leaves_a_dead_server_at_once() {
    let lab = lab(&["n1", "n2"]);
    let backends: Vec<_> = lab.hosts().iter().map(serve_name).collect();
    for backend in &backends {
        until_reachable(&lab, *backend).await;
    }
    // It listens on the machine and dials in the lab.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let network = lab.lan().network().unwrap();
    let balancer = Balancer::start(listener, network, backends.clone()).unwrap();
    assert_eq!(reachable(&[balancer.address()]).await, [true]);
    let home = kontiki_chaos::lab::Network::of_process(std::process::id()).unwrap();
    let options = prober::Options::new(vec![balancer.address()]);
    let start = Instant::now();
    let prober = Prober::start(home, options).unwrap();
    until_asked(&prober, start, 8).await;
    let killed = Instant::now();
    lab.power_off("n1").unwrap();
    until_asked(&prober, killed + Duration::from_millis(700), 12).await;
    let (both, after) = (
        prober.summary(start, killed),
        prober.summary(killed + Duration::from_millis(700), killed + Duration::from_secs(9)),
    );
    assert_eq!((both.failed, both.answers.len()), (0, 2), "{both:?}");
    assert_eq!(
        (after.failed, after.answers.keys().map(String::as_str).collect::<Vec<_>>()),
        (0, vec!["n2"]),
        "{after:?}"
    );
}

#[test]
fn nothing_is_left_of_a_lab() {
    let (name, folder, pid) = {
        let lab = lab(&["n1"]);
        let n1 = lab.host("n1").unwrap();
        let group = format!("/sys/fs/cgroup/memory{}/pod1", n1.pods_cgroup());
        let made = std::fs::create_dir_all(&group).or_else(|_| {
            std::fs::create_dir_all(format!("/sys/fs/cgroup{}/pod1", n1.pods_cgroup()))
        });
        made.unwrap();
        n1.spawn("sleeper", Command::new("sleep").arg("1000")).unwrap();
        (lab.name().to_owned(), lab.folder().to_owned(), n1.init_pid().unwrap())
    };
    assert!(!folder.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let pattern = format!("{name}*");
    let places = ["/sys/fs/cgroup", "/run/kontiki-labs", "-name", &pattern];
    let left = Command::new("find").args(places).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name));
}

/// Not a test of its own, unless the next one runs it: a lab whose owner will be killed.
#[test]
fn the_lab_of_an_owner_that_is_killed() {
    if std::env::var_os("LAB_REPORT").is_none() {
        return;
    }
    let lab = lab(&["n1"]);
    let n1 = lab.host("n1").unwrap();
    n1.spawn("sleeper", Command::new("sleep").arg("1000")).unwrap();
    writeln!(std::io::stdout(), "lab: {} {}", lab.name(), n1.init_pid().unwrap()).unwrap();
    std::thread::park();
}

#[test]
fn the_next_lab_clears_up_after_a_killed_owner() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_lab_of_an_owner_that_is_killed", "--nocapture"])
        .env("LAB_REPORT", "stdout")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The test harness may have begun the line with the test's name.
    let report = lines.find_map(|line| Some(line.split_once("lab: ")?.1.to_owned()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let report = report.expect("the owner says what it made before it gives up");
    let (name, init) = report.split_once(' ').unwrap();
    drop(lab(&[]));
    assert!(!folder.path().join(name).exists());
    assert!(!std::path::Path::new(&format!("/proc/{init}/root/proc")).exists());
    assert!(!std::path::Path::new(&format!("/run/kontiki-labs/{name}")).exists());
}
