//! Where the transcripts play: a lab with a server that is also a node, a worker, an image with a
//! shell, and the `kubectl`s of this machine.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use kontiki_base::pki::{self, Authority};
use kontiki_chaos::{
    cluster::{self, Cluster},
    lab::{Lab, Options},
};
use tempfile::TempDir;

use crate::transcript::minor;

/// The server, which is a node too. It is not the one that the pods which are talked to are on.
const SERVER: &str = "s1";
/// The node that pods are put on.
const WORKER: &str = "w1";
/// An image with busybox, on every node before anybody asks for it.
const IMAGE: &str = "kontiki.dev/busybox:1";
/// What its containers do unless told otherwise: nothing, until they are asked to end.
const IDLE: &str =
    "#!/bin/sh\ntrap 'exit 0' TERM INT\necho idle\nwhile :; do sleep 3600 & wait $!; done\n";
/// Until the cluster stands, on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);

/// A `kubectl` of this machine.
pub(crate) struct Kubectl {
    program: PathBuf,
    /// `1.33`.
    pub(crate) version: String,
}

impl Kubectl {
    /// The 33 of 1.33.
    pub(crate) fn minor(&self) -> u32 {
        minor(&self.version)
    }
}

/// Those to drive: the oldest and the newest, or what `KONTIKI_KUBECTLS` says. `None` where there
/// is none, which is a mistake in CI.
pub(crate) fn kubectls() -> Option<Vec<Kubectl>> {
    let sdk = fs::read_dir("/usr/lib/google-cloud-sdk/bin").into_iter().flatten().flatten();
    let named = sdk.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl"))
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("kubectl"));
    let mut found: Vec<Kubectl> =
        named.chain(on_path).filter(|path| path.is_file()).filter_map(kubectl_at).collect();
    found.sort_by_key(Kubectl::minor);
    found.dedup_by_key(|kubectl| kubectl.minor());
    if found.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "CI must have a kubectl");
        let _ = writeln!(std::io::stderr(), "skipped: there is no kubectl on this machine");
        return None;
    }
    let wanted = std::env::var("KONTIKI_KUBECTLS").unwrap_or_default();
    let last = found.len() - 1;
    let mut index = 0;
    found.retain(|kubectl| {
        index += 1;
        match wanted.as_str() {
            "" => index == 1 || index == last + 1,
            "all" => true,
            list => list.split(',').any(|version| version == kubectl.version),
        }
    });
    assert!(!found.is_empty(), "KONTIKI_KUBECTLS={wanted} names none of this machine");
    Some(found)
}

fn kubectl_at(program: PathBuf) -> Option<Kubectl> {
    let output =
        Command::new(&program).args(["version", "--client", "-o", "json"]).output().ok()?;
    let text: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let version = text["clientVersion"]["gitVersion"].as_str()?.strip_prefix('v')?;
    let version = version.split('.').take(2).collect::<Vec<_>>().join(".");
    Some(Kubectl { program, version })
}

/// The cluster, ready.
pub(crate) struct Stage {
    cluster: Cluster,
    folder: TempDir,
}

impl Stage {
    pub(crate) fn start() -> Stage {
        Stage::try_start().expect("a cluster of two nodes; this needs root and containerd")
    }

    fn try_start() -> Result<Stage> {
        let folder = PathBuf::from("/var/tmp");
        let hosts = [SERVER, WORKER].map(str::to_owned).to_vec();
        let lab = Lab::start(&Options { hosts, folder, keep_disks: false })?;
        let cluster = Cluster::new(lab, cluster::product()?, &[SERVER], &[WORKER])?;
        let common = |host: &str| -> Result<Vec<String>> {
            let group = cluster.lab().host(host)?.pods_cgroup();
            let frequency = "--node-status-update-frequency=500ms".to_owned();
            Ok(vec![format!("--cgroup-root={group}"), frequency])
        };
        let mut words = vec!["server".to_owned(), "--tls-san=10.99.0.1,127.0.0.1".to_owned()];
        words.extend(common(SERVER)?);
        cluster.start(SERVER, &words)?;
        let token = until("a token", || cluster.kontiki(&["token", "create"]))?;
        let join = format!("--join={}", cluster.lab().host(SERVER)?.address());
        let token = format!("--token={}", token.trim());
        let mut words = vec!["agent".to_owned(), join, token];
        words.extend(common(WORKER)?);
        cluster.start(WORKER, &words)?;
        until("two ready nodes", || {
            let nodes = cluster.kontiki(&["get", "nodes"])?;
            ensure!(nodes.matches(" Ready ").count() == 2, "{nodes}");
            Ok(())
        })?;
        cluster.balance()?;
        let folder = tempfile::Builder::new().prefix("kontiki-kubectl-").tempdir()?;
        let stage = Stage { cluster, folder };
        let image = stage.folder.path().join("image.tar");
        make_image(&stage.folder.path().join("image"), &image)?;
        for host in [SERVER, WORKER] {
            let socket = "/var/lib/kontiki/kubelet/containerd/containerd.sock";
            let image = image.display().to_string();
            let host = stage.cluster.lab().host(host)?;
            host.run(&["ctr", "-a", socket, "-n", "k8s.io", "images", "import", &image])?;
        }
        Ok(stage)
    }

    /// A namespace and a folder for one version's transcript.
    pub(crate) fn place<'a>(&'a self, kubectl: &'a Kubectl, name: &str) -> Place<'a> {
        let namespace = format!("v{}-{name}", kubectl.version.replace('.', "-"));
        let folder = self.folder.path().join(&namespace);
        fs::create_dir_all(&folder).expect("a folder");
        let place = Place { stage: self, kubectl, namespace, folder };
        place.write("edit.sh", "#!/bin/sh\nsed -i 's/x: .*/x: edited/' \"$1\"\n");
        place.write("spoil.sh", "#!/bin/sh\nsed -i 's/^kind: .*/kind: ConfigMaps/' \"$1\"\n");
        for script in ["edit.sh", "spoil.sh"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(place.folder.join(script), mode).expect("a script");
        }
        // Incompressible, and more than any buffer on the way.
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise: Vec<u8> = noise.take(3_000_000).collect();
        fs::write(place.folder.join("blob"), noise).expect("a file");
        let made = place.run(&["create", "namespace", &place.namespace]);
        assert_eq!(made.code, 0, "{}", made.output);
        let token = || {
            let account = place.run(&["get", "serviceaccount", "default"]);
            ensure!(account.code == 0, "{}", account.output);
            Ok(())
        };
        until("the namespace's service account", token).expect("controllers run");
        place
    }
}

/// Where one `kubectl` plays one transcript.
pub(crate) struct Place<'a> {
    stage: &'a Stage,
    pub(crate) kubectl: &'a Kubectl,
    pub(crate) namespace: String,
    folder: PathBuf,
}

/// What a command left behind.
pub(crate) struct Finished {
    /// 124 if it took too long.
    pub(crate) code: i32,
    /// Both outputs.
    pub(crate) output: String,
}

impl Place<'_> {
    /// A transcript with what this place says for its placeholders.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut text = text
            .replace("{ns}", &self.namespace)
            .replace("{node}", WORKER)
            .replace("{image}", IMAGE)
            .replace("{here}", &self.folder.display().to_string());
        if text.contains("{key}") {
            let own = Authority::generate("test").expect("a certificate");
            text = text.replace("{certificate}", &own.certificate_pem.replace('\n', "\n  "));
            text = text.replace("{key}", &own.key_pem.replace('\n', "\n  "));
        }
        if text.contains("{request}") {
            text = text.replace("{request}", &self.signing_request());
        }
        text
    }

    /// A request for a certificate, in base64 of its PEM.
    fn signing_request(&self) -> String {
        let (request, _) = pki::signing_request().expect("a key");
        self.write("request.pem", &request);
        let mut command = Command::new("base64");
        let output = command.args(["-w0", "request.pem"]).current_dir(&self.folder).output();
        String::from_utf8_lossy(&output.expect("base64 runs").stdout).into_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap_or_default()
    }

    /// Runs kubectl to its end.
    pub(crate) fn kubectl(
        &self,
        variables: &[(String, String)],
        words: &[String],
        input: &str,
    ) -> Finished {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "70"]).arg(&self.kubectl.program);
        self.prepare(&mut command, &words);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        finish(command, input)
    }

    /// Runs kubectl to its end, without any ado.
    pub(crate) fn run(&self, words: &[&str]) -> Finished {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        self.kubectl(&[], &words, "")
    }

    /// The output of what must succeed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let finished = self.run(words);
        let version = &self.kubectl.version;
        assert_eq!(finished.code, 0, "kubectl {version} {words:?}: {}", finished.output);
        finished.output
    }

    /// A shell command in which `kubectl` is this one, in this namespace.
    pub(crate) fn shell(&self, script: &str) -> Finished {
        let mut command = Command::new("timeout");
        let kubectl = format!(
            "kubectl() {{ {} --cache-dir={} -n {} \"$@\"; }}; export -f kubectl; {script}",
            self.kubectl.program.display(),
            self.cache().display(),
            self.namespace
        );
        command.args(["--kill-after=5", "70", "bash", "-c", &kubectl]);
        self.confine(&mut command);
        command.env("SHELL", "/bin/bash");
        finish(command, "")
    }

    /// Starts what does not end by itself.
    pub(crate) fn follow(&self, words: &[&str]) -> Follower {
        let mut command = Command::new(&self.kubectl.program);
        self.prepare(&mut command, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("kubectl starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in
                std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok)
            {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let name = format!("{} {}", self.kubectl.version, words.join(" "));
        Follower { name, child, lines }
    }

    fn prepare(&self, command: &mut Command, words: &[&str]) {
        command.arg("--cache-dir").arg(self.cache());
        // Flags of kubectl's own go before a `--`.
        command.args(["-n", &self.namespace]).args(words);
        self.confine(command);
    }

    /// Whatever a command leaves behind, it leaves in this place's folder.
    fn confine(&self, command: &mut Command) {
        command.current_dir(&self.folder).env("KUBECONFIG", self.kubeconfig());
        command.env("HOME", &self.folder).env("TMPDIR", &self.folder);
    }

    fn cache(&self) -> PathBuf {
        self.stage.folder.path().join(format!("cache-{}", self.kubectl.version))
    }

    fn kubeconfig(&self) -> PathBuf {
        self.stage.cluster.kubeconfig("machine.kubeconfig")
    }
}

/// A `kubectl` that goes on until this is dropped.
pub(crate) struct Follower {
    name: String,
    pub(crate) child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Follower {
    /// Its next line.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|error| {
            let status = self.child.try_wait();
            panic!("no other line of {}: {error}; it ended with {status:?}", self.name)
        })
    }

    /// Says a line to it.
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it listens");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn finish(mut command: Command, input: &str) -> Finished {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("timeout starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().expect("it ends");
    let _ = writer.join();
    let text = [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned());
    Finished { code: output.status.code().unwrap_or(-1), output: text.concat() }
}

/// Tries until it succeeds.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + START_MAX;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what}: not in {START_MAX:?}")));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// An archive that `ctr` imports: one layer with busybox under all of its names.
fn make_image(folder: &Path, archive: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("root/bin"))?;
    fs::write(folder.join("idle"), IDLE)?;
    let script = r#"
        set -e
        cp /bin/busybox root/bin/busybox
        for name in $(/bin/busybox --list); do
            [ $name = busybox ] || ln -s busybox root/bin/$name
        done
        install -m 755 idle root/bin/idle
        mkdir -p root/etc root/tmp && chmod 1777 root/tmp
        echo root:x:0:0:root:/:/bin/sh > root/etc/passwd
        tar -C root --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf layer.tar .
        diff=$(sha256sum layer.tar | cut -d' ' -f1)
        echo '{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/idle"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:'$diff'"]}}' > config.json
        echo '[{"Config":"config.json","RepoTags":["'$IMAGE'"],"Layers":["layer.tar"]}]' > manifest.json
        tar -cf "$ARCHIVE" config.json layer.tar manifest.json
    "#;
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(folder);
    let output = command.env("IMAGE", IMAGE).env("ARCHIVE", archive).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
