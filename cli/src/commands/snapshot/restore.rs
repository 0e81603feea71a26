//! `kontiki snapshot restore`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use kontiki_raft::backup::{self, Inspection};

use super::{CLUSTER, SECRETS};
use crate::{
    config::{ClusterSettings, DATA_DIR, node_name},
    join::state::{DataFolder, Origin, State},
    output::Output,
    pki::{Folder, Secrets},
    vault::{self, PassphraseArguments},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// The new data folder
    #[arg(long, env = "KONTIKI_DATA_DIR", value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Name of this host in the cluster [default: the hostname]
    #[arg(long, env = "KONTIKI_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Make new keys: agents, kubeconfigs and service account tokens of before stop working
    #[arg(long)]
    new_keys: bool,
    /// The backup
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let node_name = node_name(arguments.node_name.clone())?;
    let folder = DataFolder::open(&arguments.data_dir)?;
    let at = folder.path.display();
    if folder.state()?.is_some() {
        bail!("{at} is the data folder of a server already; restore into a new one");
    }
    let inspection = backup::inspect(&arguments.path)?;
    let pki = Folder::of(&folder.path);
    let secrets = secrets(arguments, &inspection, &pki)?;
    let (inspection, reborn) =
        backup::restore(&arguments.path, &folder.path.join("store"), &node_name)?;
    if let Some(secrets) = &secrets {
        pki.save(secrets)?;
    }
    match attachment(&inspection, CLUSTER) {
        Some(text) => {
            let cluster: ClusterSettings =
                serde_json::from_slice(text).context("the cluster's settings in the backup")?;
            let servers = Vec::new();
            folder.remember(&State { origin: Origin::Founder, node_name, cluster, servers })?;
        }
        None => Output.note(
            "The backup does not say which networks the cluster used: start the server with the \
             same --cluster-cidr, --service-cidr and so on as before, if they were not the \
             defaults.",
        ),
    }
    if secrets.is_none() && pki.load()?.is_none() {
        Output.note(&format!(
            "The cluster's keys are not in this backup: before the server is started, put the \
             `pki` folder of a former server at {}.",
            folder.path.join("pki").display()
        ));
    }
    Output.line(&format!(
        "restored revision {} as generation {} of cluster {:016x} in {at}, which goes on at \
         revision {}; start it with `kontiki server --data-dir {at}`",
        reborn.before, reborn.generation, reborn.cluster, reborn.revision
    ))
}

/// The keys of the restored cluster; `None` if they are to be found in the folder.
fn secrets(
    arguments: &Arguments,
    inspection: &Inspection,
    pki: &Folder,
) -> Result<Option<Secrets>> {
    if pki.load()?.is_some() {
        return Ok(None);
    }
    if arguments.new_keys {
        return Secrets::generate().map(Some);
    }
    let Some(sealed) = attachment(inspection, SECRETS) else { return Ok(None) };
    let Some(passphrase) = arguments.passphrase.read()? else {
        bail!(
            "the cluster's keys are in this backup: give --passphrase-file to open them, or \
             --new-keys to do without"
        );
    };
    vault::open(sealed, &passphrase).map(Some)
}

fn attachment<'a>(inspection: &'a Inspection, name: &str) -> Option<&'a [u8]> {
    let mut attachments = inspection.attachments.iter();
    attachments.find(|attachment| attachment.name == name).map(|found| found.contents.as_ref())
}
