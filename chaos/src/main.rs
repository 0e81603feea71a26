//! `kontiki-demo [--check] [--keep]`: the demonstration, live.
//!
//! Without `--check` the cluster stays up afterwards, until Ctrl-C.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use kontiki_chaos::{
    account::Account,
    scenario::{self, Demonstration, Options, SERVERS},
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kontiki-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let (mut is_check, mut keep_disks, mut only_deploy) = (false, false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--check" => is_check = true,
            "--keep" => keep_disks = true,
            "--only-deploy" => only_deploy = true,
            other => bail!("{other:?} is unknown; there are --check, --keep and --only-deploy"),
        }
    }
    kontiki_base::tls::install_provider();
    // A real disk, and short paths: sockets are in there.
    let folder = PathBuf::from("/var/tmp");
    let demonstration = scenario::run(&Options { folder, keep_disks, only_deploy })?;
    if !is_check {
        stay(&demonstration)?;
    }
    let Demonstration { cluster, mut figures } = demonstration;
    let (name, disks) = (cluster.lab().name().to_owned(), cluster.lab().folder().to_owned());
    drop(cluster);
    figures.failures.extend(kontiki_chaos::lab::left_behind(&name));
    if keep_disks {
        let _ = writeln!(std::io::stderr(), "the hosts' disks are in {}", disks.display());
    }
    let line = serde_json::to_string(&figures).context("write the figures")?;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(if figures.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says how to look around, and waits for Ctrl-C.
fn stay(demonstration: &Demonstration) -> anyhow::Result<()> {
    let cluster = &demonstration.cluster;
    let account = Account::default();
    account.chapter("The cluster stays up until Ctrl-C. To look around, in another terminal:");
    let kubeconfig = cluster.kubeconfig("machine.kubeconfig");
    let server = cluster.lab().host(SERVERS[0])?;
    account.quote(&format!(
        "export KUBECONFIG={}\nkubectl get nodes,pods -A\n\
         nsenter --target {} --all    # on {}",
        kubeconfig.display(),
        server.init_pid()?,
        server.name(),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("wait for Ctrl-C")
}
