//! Running commands to their end.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; `None` if it was killed.
    pub code: Option<i32>,
    /// Its data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Finished {
    /// Its stdout, if it succeeded.
    pub fn success(self) -> Result<String> {
        ensure!(self.code == Some(0), "exit code {:?}, stderr: {}", self.code, self.stderr.trim());
        Ok(self.stdout)
    }

    /// Its stderr, if it failed.
    pub fn failure(self) -> Result<String> {
        ensure!(self.code != Some(0), "it succeeded, stdout: {}", self.stdout.trim());
        Ok(self.stderr)
    }
}

/// The binary under test: `$KONTIKI_BIN`, or the one built beside the tests.
pub fn kontiki_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KONTIKI_BIN") {
        return Ok(PathBuf::from(path));
    }
    let test = std::env::current_exe().context("where am I?")?;
    let folder = test.parent().and_then(Path::parent).context("a test without a target folder")?;
    let binary = folder.join("kontiki");
    ensure!(binary.exists(), "{} is not built; run `cargo xtask test`", binary.display());
    Ok(binary)
}

/// A `kontiki` command that sees nothing of the machine's own settings.
pub fn kontiki<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Result<Command> {
    let mut command = Command::new(kontiki_binary()?);
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KONTIKI_") {
            command.env_remove(name);
        }
    }
    command.env_remove("KUBECONFIG");
    Ok(command)
}

/// Runs a `kontiki` verb to its end.
pub fn run_kontiki(arguments: &[&str]) -> Result<Finished> {
    run(kontiki(arguments)?, None)
}

/// The real kubectl, where the machine has one.
pub fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Option<Command> {
    let search = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&search).map(|f| f.join("kubectl")).find(|p| p.exists())?;
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments).stdin(Stdio::null());
    Some(command)
}

/// The Python that `cargo xtask setup` made, with the Kubernetes client in it. Where there is none
/// (no network when the machine was set up), says so.
pub fn python() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    let program = cache.join("kontiki/python/bin/python");
    let mut command = Command::new(&program);
    let works = command.args(["-c", "import kubernetes"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        b"skipped: no Python with the Kubernetes client; `cargo xtask setup` makes one\n",
    );
    None
}

/// Runs a command to its end, or kills it when it takes too long.
pub fn run(mut command: Command, input: Option<&str>) -> Result<Finished> {
    let text = format!("{command:?}");
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {text}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        let input = input.to_owned();
        thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
    }
    let id = child.id().to_string();
    let watchdog = Watchdog::start(id);
    let Output { status, stdout, stderr } =
        child.wait_with_output().with_context(|| format!("cannot wait for {text}"))?;
    drop(watchdog);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr) })
}

/// Kills a process that outlives [`crate::SOON`].
struct Watchdog {
    done: std::sync::mpsc::Sender<()>,
}

impl Watchdog {
    fn start(id: String) -> Watchdog {
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let deadline = Instant::now() + crate::SOON;
        thread::spawn(move || {
            let left = deadline.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &id]).status();
            }
        });
        Watchdog { done }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.done.send(());
    }
}
