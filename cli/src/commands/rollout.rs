//! `kontiki rollout`: how a Deployment moves from one revision to the next, and back.

mod history;
mod restart;
mod status;
mod undo;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use crate::session::{Accept, ConnectionArguments, Session, targets};

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// List the revisions
    History(history::Arguments),
    /// Hold the rollout
    Pause(On),
    /// Replace all pods, by the strategy
    Restart(On),
    /// Go on with a rollout that was paused
    Resume(On),
    /// Wait until the rollout is complete
    Status(status::Arguments),
    /// Go back to the revision before, or to a given one
    Undo(undo::Arguments),
}

/// The Deployment that a verb is about.
#[derive(Args, Debug)]
pub(crate) struct On {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// deployment/NAME or deployment NAME
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
}

/// An existing Deployment.
struct Found {
    session: Session,
    name: String,
    uri: String,
    object: Value,
}

impl On {
    async fn find(&self) -> Result<Found> {
        let session = self.connection.open()?;
        let mut targets = targets(&session.catalogue().await?, &self.what)?;
        let (Some(target), true) = (targets.pop(), targets.is_empty()) else {
            bail!("name one Deployment at a time");
        };
        if target.resource.qualified() != "deployments.apps" {
            bail!("{} have no rollout; Deployments have", target.resource.qualified());
        }
        let name = target.name.clone().context("name the Deployment, as in deployment/NAME")?;
        let uri = target.resource.object(&session.namespace, &name);
        let object = session.get(&uri, Accept::Json).await?;
        Ok(Found { session, name, uri, object })
    }
}

impl Found {
    async fn patch(&self, kind: &str, patch: &Value) -> Result<Value> {
        let content_type = format!("application/{kind}-patch+json");
        Ok(self.session.send(Method::PATCH, &self.uri, &content_type, patch).await?)
    }

    fn say(&self, what: &str) -> Result<()> {
        self.session.output.line(&format!("deployment.apps/{} {what}", self.name))
    }

    fn is_paused(&self) -> bool {
        self.object["spec"]["paused"] == true
    }
}

pub(crate) async fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::History(arguments) => history::run(&arguments).await?,
        Verb::Pause(on) => pause(&on, true).await?,
        Verb::Restart(on) => restart::run(&on).await?,
        Verb::Resume(on) => pause(&on, false).await?,
        Verb::Status(arguments) => return status::run(&arguments).await,
        Verb::Undo(arguments) => undo::run(&arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn pause(on: &On, paused: bool) -> Result<()> {
    let found = on.find().await?;
    if found.is_paused() == paused {
        let state = if paused { "already paused" } else { "not paused" };
        bail!("deployments.apps \"{}\" is {state}", found.name);
    }
    found.patch("merge", &serde_json::json!({ "spec": { "paused": paused } })).await?;
    found.say(if paused { "paused" } else { "resumed" })
}

/// Revision number of a Deployment or ReplicaSet.
fn revision(object: &Value) -> u64 {
    let annotation = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    annotation.as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The Deployment's ReplicaSets by revision, oldest first.
async fn replica_sets(found: &Found) -> Result<Vec<(u64, Value)>> {
    let uri = format!("/apis/apps/v1/namespaces/{}/replicasets", found.session.namespace);
    let list = found.session.get(&uri, Accept::Json).await?;
    let uid = &found.object["metadata"]["uid"];
    let owned = |set: &&Value| {
        let owners = set["metadata"]["ownerReferences"].as_array();
        owners.into_iter().flatten().any(|o| o["controller"] == true && o["uid"] == *uid)
    };
    let items = list["items"].as_array();
    let mut sets: Vec<(u64, Value)> =
        items.into_iter().flatten().filter(owned).map(|s| (revision(s), s.clone())).collect();
    sets.sort_by_key(|(revision, _)| *revision);
    Ok(sets)
}

/// A ReplicaSet's template as the Deployment had it.
fn template(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    template
}
