//! Watches through the real etcdctl, against one member of ours.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use kontiki_tests::server::Server;

/// A member and how etcdctl reaches it.
struct Store(Server);

/// A running `etcdctl watch`; it ends with this value.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Store {
    async fn start() -> Store {
        let mut server = Server::new("solo").unwrap().with(&["--store-only"]);
        server.start_ready().await.unwrap();
        Store(server)
    }

    fn etcdctl(&self, arguments: &[&str]) -> Command {
        let pki = self.0.data_dir().join("pki/store");
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", format!("https://{}", self.0.store_address()))
            .env("ETCDCTL_CACERT", pki.join("ca.crt"))
            .env("ETCDCTL_CERT", pki.join("client.crt"))
            .env("ETCDCTL_KEY", pki.join("client.key"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn watch(&self, arguments: &[&str]) -> Watching {
        let mut command = self.etcdctl(&["watch"]);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watching { child, lines }
    }
}

impl Watching {
    /// The next lines.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended after {lines:?}");
            lines.push(line.trim_end().to_owned());
        }
        lines
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_watches_the_past_and_what_comes() {
    let store = Store::start().await;
    store.run(&["put", "a/1", "one"]);
    store.run(&["put", "b", "other"]);
    store.run(&["put", "a/1", "two"]);
    let mut past = store.watch(&["--rev=2", "--prefix", "--prev-kv", "a/"]);
    assert_eq!(past.lines(3), ["PUT", "a/1", "one"]);
    assert_eq!(past.lines(5), ["PUT", "a/1", "one", "a/1", "two"]);
    store.run(&["del", "a/1"]);
    assert_eq!(past.lines(5), ["DELETE", "a/1", "two", "a/1", ""]);
    // What is compacted cannot be watched any more, and it says so.
    store.run(&["compaction", "4"]);
    let refused = store.etcdctl(&["watch", "--rev=2", "a/1"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("required revision has been compacted"), "{refused:?}");
    // A watch lives through it.
    store.run(&["put", "a/2", "three"]);
    assert_eq!(past.lines(3), ["PUT", "a/2", "three"]);
}
