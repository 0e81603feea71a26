//! `kontiki snapshot status`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use kontiki_raft::backup::{self, Inspection};
use serde_json::{Value, json};

use super::SECRETS;
use crate::{commands::get::yaml, output::Output, render::columns};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The backup
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// How to print
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Yaml,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let inspection = backup::inspect(&arguments.path)?;
    let value = value(&inspection);
    let text = match arguments.output {
        Some(Format::Json) => format!("{value:#}\n"),
        Some(Format::Yaml) => yaml(&value)?,
        None => columns(&table(&inspection)),
    };
    Output.data(&text)
}

fn taken_at(inspection: &Inspection) -> String {
    let seconds = i64::try_from(inspection.manifest.taken_at).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

fn has_keys(inspection: &Inspection) -> bool {
    inspection.attachments.iter().any(|attachment| attachment.name == SECRETS)
}

fn value(inspection: &Inspection) -> Value {
    let manifest = &inspection.manifest;
    json!({
        "cluster": format!("{:016x}", manifest.cluster),
        "generation": manifest.generation,
        "member": manifest.member.to_string(),
        "members": manifest.members.iter().map(|member| &member.name).collect::<Vec<_>>(),
        "revision": manifest.revision.0,
        "compactedRevision": manifest.compacted.0,
        "term": manifest.term,
        "index": manifest.index,
        "totalKeys": manifest.keys,
        "hash": format!("{:016x}", manifest.hash),
        "totalBytes": inspection.bytes,
        "time": taken_at(inspection),
        "release": manifest.release,
        "clusterKeys": has_keys(inspection),
    })
}

fn table(inspection: &Inspection) -> Vec<Vec<String>> {
    let manifest = &inspection.manifest;
    let keys = if has_keys(inspection) { "encrypted" } else { "not included" };
    let rows = [
        ("Cluster", format!("{:016x} (generation {})", manifest.cluster, manifest.generation)),
        ("Made by", format!("member {} of release {}", manifest.member, manifest.release)),
        ("Time", taken_at(inspection)),
        ("Revision", manifest.revision.to_string()),
        ("Keys", manifest.keys.to_string()),
        ("Hash", format!("{:016x}", manifest.hash)),
        ("Size", format!("{} bytes", inspection.bytes)),
        ("Cluster keys", keys.to_owned()),
    ];
    rows.map(|(name, value)| vec![format!("{name}:"), value]).to_vec()
}
