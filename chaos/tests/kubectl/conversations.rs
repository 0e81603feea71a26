//! What goes on for as long as somebody listens. The pods are on the worker, the server is another
//! node: everything passes from the server to the kubelet of that node, or to the pod's address.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::Context;

use crate::stage::{Follower, Place};

/// Larger than what buffers on the way hold.
const BIG: usize = 5_000_000;

/// All of them, side by side, because most of their time is waiting.
pub(crate) fn all(place: &Place) {
    place.ok(&["apply", "-f", "pods.yaml"]);
    place.ok(&["wait", "--for=condition=Ready", "--timeout=90s", "pod/web", "pod/counter"]);
    thread::scope(|scope| {
        for conversation in [
            terminals_have_a_size_and_an_exit_code,
            attached_input_is_heard,
            logs_are_followed_from_their_place,
            logs_of_the_container_before_are_kept,
            many_talk_at_once,
            ports_are_forwarded,
            python_talks_too,
            proxies_reach_pods_services_and_nodes,
        ] {
            scope.spawn(move || conversation(place));
        }
    });
}

/// What they talk to.
pub(crate) const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeSelector: {kubernetes.io/hostname: "{node}"}
  containers:
  - name: web
    image: "{image}"
    args: [sh, -c, "mkdir /tmp/www; yes 0123456789abcde | head -c 5000000 > /tmp/www/big; echo serving; exec httpd -f -p 8080 -h /tmp/www"]
    readinessProbe: {httpGet: {path: /big, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  nodeSelector: {kubernetes.io/hostname: "{node}"}
  terminationGracePeriodSeconds: 1
  containers:
  - name: counter
    image: "{image}"
    args: [sh, -c, "i=0; while :; do echo count $i; i=$((i+1)); sleep 0.1; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: listener}
spec:
  nodeSelector: {kubernetes.io/hostname: "{node}"}
  restartPolicy: Never
  containers:
  - name: listener
    image: "{image}"
    stdin: true
    args: [sh, -c, "while read line; do [ $line = end ] && exit 0; echo heard $line; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  nodeSelector: {kubernetes.io/hostname: "{node}"}
  containers:
  - name: again
    image: "{image}"
    args: [sh, -c, "if [ -e /memory/before ]; then echo second; exec idle; fi; touch /memory/before; echo first; exit 3"]
    volumeMounts: [{name: memory, mountPath: /memory}]
  volumes: [{name: memory, emptyDir: {}}]
"#;

fn terminals_have_a_size_and_an_exit_code(place: &Place) {
    let finished = place.shell(
        "script -qec 'stty rows 33 cols 77; kubectl exec -it web -- sh -c \"tty; until stty size \
         2>&1 | grep 33; do sleep 0.1; done; exit 4\"' /dev/null; echo ended with $?",
    );
    // The size comes a moment after the start.
    for expected in ["/dev/pts/0", "33 77", "ended with 4"] {
        assert!(finished.output.contains(expected), "{expected} in {}", finished.output);
    }
}

fn attached_input_is_heard(place: &Place) {
    place.ok(&["wait", "--for=condition=Ready", "--timeout=90s", "pod/listener"]);
    let mut attached = place.follow(&["attach", "-i", "listener"]);
    attached.say("you");
    assert_eq!(attached.line(), "heard you");
    attached.say("bye");
    assert_eq!(attached.line(), "heard bye");
    // What a container says in its last moment containerd may lose: the end of its stderr takes its
    // stdout from who is attached.
    attached.say("end");
    let status = attached.child.wait().expect("it ends when the container does");
    assert!(status.success(), "{status}");
}

fn logs_are_followed_from_their_place(place: &Place) {
    let mut logs = place.follow(&["logs", "-f", "--tail=2", "counter"]);
    let number = |logs: &mut Follower| -> u32 {
        logs.line().strip_prefix("count ").expect("a count").parse().expect("a number")
    };
    let first = number(&mut logs);
    for expected in first + 1..first + 10 {
        assert_eq!(number(&mut logs), expected, "no line is lost, none comes twice");
    }
}

fn logs_of_the_container_before_are_kept(place: &Place) {
    place.ok(&["wait", "--for=condition=Ready", "--timeout=90s", "pod/again"]);
    let again = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1";
    place.ok(&["wait", again, "--timeout=90s", "pod/again"]);
    assert_eq!(place.ok(&["logs", "again", "--previous"]), "first\n");
}

fn many_talk_at_once(place: &Place) {
    thread::scope(|scope| {
        for number in 0..6 {
            scope.spawn(move || {
                let script = format!("cat /tmp/www/big | wc -c; echo {number} >&2; exit {number}");
                let finished = place.run(&["exec", "web", "--", "sh", "-c", &script]);
                assert_eq!(finished.code, number, "{}", finished.output);
                assert!(finished.output.contains(&BIG.to_string()), "{}", finished.output);
            });
        }
    });
}

fn ports_are_forwarded(place: &Place) {
    for target in ["pod/web", "svc/web"] {
        let ports = if target == "pod/web" { ":8080" } else { ":80" };
        let mut forward = place.follow(&["port-forward", target, ports]);
        let port = local_port(&forward.line());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(get(port, "/big").expect("an answer").len(), BIG));
            }
        });
    }
}

/// The Python client's `stream`, which speaks `v4.channel.k8s.io`. It is there where `cargo xtask
/// setup` found a network.
fn python_talks_too(place: &Place) {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    let python = cache.expect("a home").join("kontiki/python/bin/python");
    if !python.exists() {
        let _ = writeln!(std::io::stderr(), "skipped: there is no {}", python.display());
        return;
    }
    let flows = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/flows.py");
    let namespace = &place.namespace;
    let told = place.shell(&format!("{} {flows} exec {namespace} web", python.display()));
    assert!(told.code == 0 && told.output.contains("all is well"), "{}", told.output);
}

/// `Forwarding from 127.0.0.1:43133 -> 8080` or `Starting to serve on 127.0.0.1:8001`.
fn local_port(line: &str) -> u16 {
    let (_, rest) = line.split_once("127.0.0.1:").unwrap_or_else(|| panic!("{line}"));
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("{line}"))
}

fn proxies_reach_pods_services_and_nodes(place: &Place) {
    let mut proxy = place.follow(&["proxy", "--port=0"]);
    let port = local_port(&proxy.line());
    let base = format!("/api/v1/namespaces/{}", place.namespace);
    for path in [
        format!("{base}/pods/web:8080/proxy/big"),
        format!("{base}/services/web:80/proxy/big"),
        format!("{base}/services/web:http/proxy/big"),
    ] {
        let body = get(port, &path).unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert_eq!(body.len(), BIG, "{path}: {}", String::from_utf8_lossy(&body[..200]));
    }
    assert_eq!(get(port, "/api/v1/nodes/w1/proxy/healthz").expect("an answer"), b"ok");
    let pods = get(port, "/api/v1/nodes/w1/proxy/pods").expect("an answer");
    assert!(String::from_utf8_lossy(&pods).contains("counter"));
    let refused = get(port, &format!("{base}/pods/web:9/proxy/")).expect("an answer");
    assert!(String::from_utf8_lossy(&refused).contains("error trying to reach service"));
}

/// The body of an answer.
fn get(port: u16, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
    Ok(answer.split_off(end + 4))
}
