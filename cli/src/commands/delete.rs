//! `kontiki delete`: marks objects for deletion and waits until they are gone.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::get::Selection;
use crate::{
    config::parse_duration,
    session::{Accept, ConnectionArguments, Resource, Session, read_manifests, targets},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// TYPE NAME..., TYPE/NAME... or TYPE with -l or --all
    #[arg(value_name = "WHAT")]
    what: Vec<String>,
    /// Files or folders that name the objects; - is stdin
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// All objects of the type in the namespace
    #[arg(long)]
    all: bool,
    /// Seconds until pods are killed
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<i64>,
    /// Do not wait for the kubelet; with --grace-period=0
    #[arg(long)]
    force: bool,
    /// Succeed when an object does not exist
    #[arg(long)]
    ignore_not_found: bool,
    /// What happens to what the object owns
    #[arg(long, value_enum, default_value = "background")]
    cascade: Cascade,
    /// Wait until the objects are gone
    #[arg(long, default_value = "true", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cascade {
    Background,
    Foreground,
    Orphan,
}

/// An object to delete.
struct Doomed {
    resource: Resource,
    namespace: String,
    name: String,
}

impl Doomed {
    fn uri(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let session = arguments.connection.open()?;
    let doomed = choose(&session, &arguments).await?;
    if doomed.is_empty() {
        session.output.note("No resources found");
    }
    let mut code = ExitCode::SUCCESS;
    let mut waiting = Vec::new();
    for object in doomed {
        match delete(&session, &arguments, &object).await {
            Ok(uid) => waiting.push((object, uid)),
            Err(error) if error.is_not_found() && arguments.ignore_not_found => {}
            Err(error) => {
                session.output.note(&super::explain(&error.into()));
                code = ExitCode::FAILURE;
            }
        }
    }
    if arguments.wait && !arguments.force {
        let all_gone = async {
            for (object, uid) in &waiting {
                wait_until_gone(&session, object, uid).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        match arguments.timeout {
            Some(limit) => tokio::time::timeout(limit, all_gone)
                .await
                .context("timed out waiting for the objects to be gone")??,
            None => all_gone.await?,
        }
    }
    Ok(code)
}

async fn choose(session: &Session, arguments: &Arguments) -> Result<Vec<Doomed>> {
    let catalogue = session.catalogue().await?;
    let mut doomed = Vec::new();
    if !arguments.filename.is_empty() {
        for manifest in read_manifests(&arguments.filename)? {
            let resource = catalogue.of_manifest(manifest.api_version(), manifest.kind())?.clone();
            let namespace = manifest.namespace().unwrap_or(&session.namespace).to_owned();
            doomed.push(Doomed { resource, namespace, name: manifest.name().to_owned() });
        }
        return Ok(doomed);
    }
    for target in targets(&catalogue, &arguments.what)? {
        match target.name {
            Some(name) => doomed.push(Doomed {
                resource: target.resource,
                namespace: session.namespace.clone(),
                name,
            }),
            None if arguments.all || arguments.selection.selects() => {
                let all = arguments.selection.all_namespaces;
                let uri = format!(
                    "{}?limit=0{}",
                    session.collection(&target.resource, all),
                    arguments.selection.query()
                );
                let list = session.get(&uri, Accept::Json).await?;
                let items = list["items"].as_array().cloned().unwrap_or_default();
                doomed.extend(items.iter().map(|item| of_item(&target.resource, item)));
            }
            None => bail!(
                "resource(s) were provided, but no name, label selector, or --all flag specified"
            ),
        }
    }
    Ok(doomed)
}

fn of_item(resource: &Resource, item: &Value) -> Doomed {
    let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
    Doomed { resource: resource.clone(), namespace: text("namespace"), name: text("name") }
}

/// Sends the deletion; answers the uid of what was deleted.
async fn delete(
    session: &Session,
    arguments: &Arguments,
    object: &Doomed,
) -> Result<String, kontiki_client::Error> {
    let mut body = json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "propagationPolicy": format!("{:?}", arguments.cascade),
    });
    let seconds = arguments.grace_period.or(arguments.force.then_some(0));
    if let Some(seconds) = seconds {
        body["gracePeriodSeconds"] = json!(seconds);
    }
    let answer = session.send(Method::DELETE, &object.uri(), "application/json", &body).await?;
    let (kind, name) = (object.resource.qualified_singular(), &object.name);
    let how = if arguments.force { "force deleted" } else { "deleted" };
    let _ = session.output.line(&format!("{kind} \"{name}\" {how}"));
    // Either the object as it is being deleted, or a Status that names what is gone.
    let uid = answer["metadata"]["uid"].as_str().or(answer["details"]["uid"].as_str());
    Ok(uid.unwrap_or_default().to_owned())
}

/// Watches the object until it is gone, or is another of the same name.
async fn wait_until_gone(session: &Session, object: &Doomed, uid: &str) -> Result<()> {
    let collection = object.resource.collection(Some(&object.namespace));
    let query = format!("fieldSelector=metadata.name%3D{}", object.name);
    loop {
        let list = session.get(&format!("{collection}?{query}"), Accept::Json).await?;
        let current = &list["items"][0]["metadata"]["uid"];
        if current.is_null() || (!uid.is_empty() && current.as_str() != Some(uid)) {
            return Ok(());
        }
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let uri = format!("{collection}?watch=true&resourceVersion={revision}&{query}");
        let mut lines = session.lines(&uri, Accept::Json).await?;
        while let Some(line) = lines.next().await? {
            let event: Value = serde_json::from_slice(&line).context("a watch event")?;
            match event["type"].as_str() {
                Some("DELETED") => return Ok(()),
                Some("ERROR") => break,
                _ => {}
            }
        }
    }
}
