//! The load generators: builds them and the product in one profile, and runs them.
//!
//! `store` compares the store with a peer, both started for it: see `kontiki-bench store --help`
//! for what else it measures. `api` measures the API of one server and of three, started for it,
//! unless it is told of servers that run already. Other arguments go to `kontiki-bench` as they
//! are. Without any, the whole report is made against a server of its own: time to ready, memory
//! when idle, size of the binary, then each generator. Results are lines of JSON on stdout.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    demo,
    environment::{Environment, run as run_command, say},
    setup,
};

/// How long the server may take to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long a server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);

/// `cargo xtask bench [ARGUMENTS...]`
pub(crate) fn run(environment: &Environment, arguments: &[String]) -> Result<()> {
    setup::run(environment, &[])?;
    demo::build(environment)?;
    if let Some(("store", rest)) = arguments.split_first().map(|(verb, rest)| (verb.as_str(), rest))
    {
        let product = demo::product(environment).display().to_string();
        return run_command(generator(environment).args(store_arguments(rest, &product)));
    }
    if let Some(("api", rest)) = arguments.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        let product = demo::product(environment).display().to_string();
        return run_command(generator(environment).args(api_arguments(rest, &product)));
    }
    if !arguments.is_empty() {
        return run_command(generator(environment).args(arguments));
    }
    let server = Server::start(&demo::product(environment))?;
    let ready = server.wait_until_ready()?;
    thread::sleep(SETTLE);
    let binary = fs::metadata(demo::product(environment))?.len();
    let line = format!(
        "{{\"bench\":\"server\",\"time_to_ready_ms\":{},\"idle_rss_bytes\":{},\"binary_bytes\":{binary}}}",
        ready.as_millis(),
        server.resident_bytes()?,
    );
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")?;
    for verb in ["api", "schedule"] {
        let mut command = generator(environment);
        command.arg(verb).arg("--kubeconfig").arg(server.kubeconfig());
        run_command(command.arg(format!("--pid=server={}", server.child.id())))?;
    }
    Ok(())
}

fn generator(environment: &Environment) -> Command {
    Command::new(environment.target.join(demo::PROFILE).join("kontiki-bench"))
}

/// What the generator is given for `api ARGUMENTS...`: our binary, unless servers are named.
fn api_arguments(arguments: &[String], product: &str) -> Vec<String> {
    const NAMED: &[&str] = &["--kontiki", "--server", "--kubeconfig", "--help"];
    let names = |word: &String| NAMED.iter().any(|flag| word.split('=').next() == Some(flag));
    let mut words = vec!["api".to_owned()];
    if !arguments.iter().any(names) {
        words.extend(["--kontiki".to_owned(), product.to_owned()]);
    }
    words.extend(arguments.iter().cloned());
    words
}

/// Verbs of the store's generator that start members.
const STORE_VERBS: &[&str] = &["churn", "compare", "failover", "scale"];
/// What the generator is given for `store ARGUMENTS...`: a comparison unless another verb is
/// named, our binary, and the peer's for `--peer etcd` and `--peer etcd=PATH`.
fn store_arguments(arguments: &[String], product: &str) -> Vec<String> {
    let mut given = arguments.iter().map(String::as_str).peekable();
    let mut words = vec!["store".to_owned()];
    match given.peek() {
        Some(&"run" | &"help") => {
            return words.into_iter().chain(given.map(str::to_owned)).collect();
        }
        Some(verb) if STORE_VERBS.contains(verb) => words.extend(given.next().map(str::to_owned)),
        _ => words.push("compare".to_owned()),
    }
    words.extend(["--kontiki".to_owned(), product.to_owned()]);
    while let Some(word) = given.next() {
        let peer = match word {
            "--peer" => given.next(),
            _ => word.strip_prefix("--peer="),
        };
        match peer {
            Some(peer) => {
                let path = peer.strip_prefix("etcd=").unwrap_or(peer);
                words.extend(["--peer".to_owned(), path.to_owned()]);
            }
            None => words.push(word.to_owned()),
        }
    }
    words
}

/// A server that is measured. It ends with this value, and its folder goes.
struct Server {
    child: Child,
    program: PathBuf,
    folder: PathBuf,
    started: Instant,
}

impl Server {
    fn start(program: &Path) -> Result<Server> {
        let folder = std::env::temp_dir().join(format!("kontiki-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let log = fs::File::create(folder.join("log"))?;
        let flags = [
            "server",
            "--no-agent",
            "--node-name=bench",
            "--bind-address=127.0.0.1",
            "--api-port=16443",
            "--peer-port=12380",
            "--store-port=12379",
        ];
        let started = Instant::now();
        let child = Command::new(program)
            .args(flags)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Server { child, program: program.to_path_buf(), folder, started })
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("data/admin.kubeconfig")
    }

    fn wait_until_ready(&self) -> Result<Duration> {
        loop {
            let probe = Command::new(&self.program)
                .args(["get", "--raw=/readyz", "--kubeconfig"])
                .arg(self.kubeconfig())
                .output()?;
            if probe.status.success() {
                return Ok(self.started.elapsed());
            }
            ensure!(
                self.started.elapsed() < READY_MAX,
                "the server is not ready: {}",
                String::from_utf8_lossy(&probe.stderr).trim()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kibibytes.context("no VmRSS")? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            say(&format!("cannot stop the server: {error}"));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_started_unless_some_are_named() {
        let cases = [
            ("", "api --kontiki k"),
            ("--members 5 --pods=1", "api --kontiki k --members 5 --pods=1"),
            ("--kubeconfig=f --pods 1", "api --kubeconfig=f --pods 1"),
            ("--server a:1 --ca x", "api --server a:1 --ca x"),
        ];
        for (given, expected) in cases {
            let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
            assert_eq!(api_arguments(&given, "k").join(" "), expected);
        }
    }

    #[test]
    fn the_store_is_compared_unless_another_verb_is_named() {
        let cases = [
            ("", "store compare --kontiki k"),
            ("--peer etcd --quick put", "store compare --kontiki k --peer etcd --quick put"),
            ("scale --peer=etcd=bin/etcd", "store scale --kontiki k --peer bin/etcd"),
            ("run --endpoints a:1", "store run --endpoints a:1"),
        ];
        for (given, expected) in cases {
            let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
            assert_eq!(store_arguments(&given, "k").join(" "), expected);
        }
    }
}
