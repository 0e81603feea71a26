//! `kontiki snapshot save`.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use kontiki_raft::backup::{self, Attachment, Manifest};

use super::{CLUSTER, SECRETS};
use crate::{
    files,
    join::{
        state::DataFolder,
        wire::{self, SECRETS_PATH, SNAPSHOT_PATH, SecretsReply, SnapshotRequest},
    },
    output::Output,
    pki::{Folder, Secrets},
    session::{ConnectionArguments, Session},
    vault::{self, PassphraseArguments},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Read --data-dir, whose server must be stopped, instead of asking a running server
    #[arg(long)]
    offline: bool,
    /// Take what the server that answers has, without asking the others whether it is the latest:
    /// works without a quorum
    #[arg(long, conflicts_with = "offline")]
    stale: bool,
    /// The file to write
    #[arg(value_name = "FILE")]
    path: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let path = &arguments.path;
    if path.exists() {
        bail!("{} exists already; a backup never replaces a file", path.display());
    }
    let passphrase = arguments.passphrase.read()?;
    let manifest = if arguments.offline {
        offline(arguments.connection.data_dir(), passphrase.as_deref(), path)?
    } else {
        let session = arguments.connection.open()?;
        online(&session, passphrase.as_deref(), arguments.stale, path).await?
    };
    if passphrase.is_none() {
        Output.note(
            "The cluster's keys are not in this backup: give --passphrase-file to put them in, or \
             keep a copy of a server's `pki` folder somewhere safe.",
        );
    }
    let Manifest { revision, keys, .. } = manifest;
    Output.line(&format!("saved revision {revision} with {keys} keys to {}", path.display()))
}

/// Streams the backup of a running server into a file that is complete or not there.
async fn online(
    session: &Session,
    passphrase: Option<&str>,
    stale: bool,
    path: &Path,
) -> Result<Manifest> {
    let mut attachments = Vec::new();
    if let Some(passphrase) = passphrase {
        let answer = session.client.call(Method::GET, SECRETS_PATH, None).await?;
        let reply: SecretsReply =
            serde_json::from_slice(&answer.body).context("the server's keys")?;
        let contents = STANDARD.encode(vault::seal(&reply.secrets, passphrase)?);
        attachments.push(wire::Attachment { name: SECRETS.to_owned(), contents });
    }
    let request = serde_json::to_vec(&SnapshotRequest { attachments, stale })?;
    let mut body = session.post(SNAPSHOT_PATH, request).await?;
    let partial = path.with_added_extension("partial");
    let failed = || format!("cannot write {}", partial.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(failed)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the backup broke off")?;
        if let Ok(piece) = frame.into_data() {
            file.write_all(&piece).with_context(failed)?;
        }
    }
    file.sync_all().with_context(failed)?;
    // What arrived is what was sent, or it does not count.
    let manifest = backup::inspect(&partial)?.manifest;
    files::rename(&partial, path).with_context(failed)?;
    Ok(manifest)
}

fn offline(folder: &Path, passphrase: Option<&str>, path: &Path) -> Result<Manifest> {
    let folder = DataFolder::open(folder)?;
    let mut attachments = Vec::new();
    if let Some(state) = folder.state()? {
        let contents = serde_json::to_vec_pretty(&state.cluster)?.into();
        attachments.push(Attachment { name: CLUSTER.to_owned(), contents });
    }
    if let Some(passphrase) = passphrase {
        let secrets: Secrets = Folder::of(&folder.path)
            .load()?
            .with_context(|| format!("{} has no pki folder", folder.path.display()))?;
        let contents = vault::seal(&secrets, passphrase)?.into();
        attachments.push(Attachment { name: SECRETS.to_owned(), contents });
    }
    Ok(backup::save_folder(&folder.path.join("store"), path, attachments)?)
}
