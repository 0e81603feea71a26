//! The real etcdctl, pointed at members of ours.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{SOON, command, server::Server};

/// etcdctl with the credentials of a server and some endpoints.
pub struct Etcdctl {
    variables: Vec<(&'static str, String)>,
}

impl Etcdctl {
    /// Of all the servers, with the credentials of the first.
    pub fn of(servers: &[Server]) -> Result<Etcdctl> {
        let first = servers.first().context("no servers")?;
        let file = |name: &str| first.data_dir().join("pki/store").join(name).display().to_string();
        let endpoints: Vec<String> =
            servers.iter().map(|server| format!("https://{}", server.store_address())).collect();
        Ok(Etcdctl {
            variables: vec![
                ("ETCDCTL_API", "3".to_owned()),
                ("ETCDCTL_ENDPOINTS", endpoints.join(",")),
                ("ETCDCTL_CACERT", file("ca.crt")),
                ("ETCDCTL_CERT", file("client.crt")),
                ("ETCDCTL_KEY", file("client.key")),
            ],
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        // On a busy machine the default of 5 s is not much.
        command.args(["--command-timeout=30s", "--dial-timeout=20s"]).args(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end, whatever that is.
    pub fn finish(&self, arguments: &[&str], input: Option<&str>) -> Result<command::Finished> {
        command::run(self.command(arguments), input)
    }

    /// What it prints when it succeeds, without the last line's end.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.finish(arguments, None)?.success();
        Ok(output.with_context(|| format!("etcdctl {arguments:?}"))?.trim_end().to_owned())
    }

    /// What it prints as JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[arguments, &["--write-out=json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("etcdctl {arguments:?}: {text}"))
    }

    /// What it complains of when it fails.
    pub fn fail(&self, arguments: &[&str]) -> Result<String> {
        let complaint = self.finish(arguments, None)?.failure();
        complaint.with_context(|| format!("etcdctl {arguments:?}"))
    }

    /// Starts what does not end by itself.
    pub fn follow(&self, arguments: &[&str]) -> Result<Following> {
        let mut command = self.command(arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("etcdctl")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Following { child, lines })
    }
}

/// An etcdctl that goes on until this is dropped.
pub struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    /// Its next lines.
    pub fn lines(&self, count: usize) -> Result<Vec<String>> {
        let deadline = Instant::now() + SOON;
        let mut lines = Vec::new();
        while lines.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(error) => bail!("{error} after {lines:?}"),
            }
        }
        Ok(lines)
    }

    /// Asks it to end, as Ctrl-C does, and waits.
    pub fn interrupt(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-INT", &id]).status().context("kill")?;
        self.child.wait().context("etcdctl")?;
        Ok(())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
