//! `kontiki apply`: makes objects be as files say, and leaves alone what the files do not mention.
//!
//! What was applied last is kept in the object itself, in kubectl's annotation, so that the two
//! can take turns. The change is a three-way patch ([`patch`]) between that, the file and what is.

mod patch;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use http::Method;
use kontiki_api::schema::Schema;
use serde_json::Value;

use super::get::{qualified_name, yaml};
use crate::session::{Catalogue, ConnectionArguments, Manifest, Resource, Session, read_manifests};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Files or folders; - is stdin
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Let the server check everything, but store nothing
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "server")]
    dry_run: DryRun,
    /// How unknown and duplicate fields are treated
    #[arg(long, value_enum, default_value = "strict")]
    validate: Validate,
    /// How to print what was applied
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DryRun {
    None,
    Server,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Validate {
    Strict,
    Warn,
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Name,
    Json,
    Yaml,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let manifests = read_manifests(&arguments.filename)?;
    let session = arguments.connection.open()?;
    let mut catalogue = session.catalogue().await?;
    let mut code = ExitCode::SUCCESS;
    for manifest in manifests {
        if let Err(error) = apply(&session, &arguments, &mut catalogue, manifest).await {
            session.output.note(&super::explain(&error));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Created,
    Configured,
    Unchanged,
}

async fn apply(
    session: &Session,
    arguments: &Arguments,
    catalogue: &mut Catalogue,
    manifest: Manifest,
) -> Result<()> {
    let resource = match catalogue.of_manifest(manifest.api_version(), manifest.kind()) {
        Ok(resource) => resource.clone(),
        // A manifest before this one may have defined the kind.
        Err(_) => {
            *catalogue = session.catalogue().await?;
            let found = catalogue.of_manifest(manifest.api_version(), manifest.kind());
            found.with_context(|| format!("unable to recognize {:?}", manifest.source))?.clone()
        }
    };
    ensure!(!manifest.name().is_empty(), "{}: metadata.name: Required value", manifest.source);
    let source = manifest.source.clone();
    let modified = annotated(session, &resource, manifest)?;
    let (object, outcome) = write(session, arguments, &resource, &modified)
        .await
        .map_err(|error| at_source(error, &source))?;
    report(session, arguments, &object, outcome)
}

/// The server's words with the file that provoked them, as kubectl has it.
fn at_source(error: kontiki_client::Error, source: &str) -> anyhow::Error {
    match error {
        kontiki_client::Error::Api { code, reason, message } => {
            let message = format!("error when applying {source:?}: {message}");
            kontiki_client::Error::Api { code, reason, message }.into()
        }
        other => other.into(),
    }
}

/// The manifest with its namespace and with itself in the annotation.
fn annotated(session: &Session, resource: &Resource, manifest: Manifest) -> Result<Value> {
    if let (true, true, Some(own)) =
        (resource.namespaced, session.namespace_given, manifest.namespace())
    {
        ensure!(
            own == session.namespace,
            "the namespace from the provided object \"{own}\" does not match the namespace \
             \"{}\". You must pass '--namespace={own}' to perform this operation.",
            session.namespace
        );
    }
    let mut object = manifest.object;
    if resource.namespaced && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = Value::from(session.namespace.as_str());
    }
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{object}\n");
    object["metadata"]["annotations"][LAST_APPLIED] = Value::from(text);
    Ok(object)
}

async fn write(
    session: &Session,
    arguments: &Arguments,
    resource: &Resource,
    modified: &Value,
) -> Result<(Value, Outcome), kontiki_client::Error> {
    let metadata = &modified["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let uri = resource.object(namespace, metadata["name"].as_str().unwrap_or_default());
    let mut query =
        format!("fieldManager=kontiki-client-side-apply&fieldValidation={:?}", arguments.validate);
    if arguments.dry_run == DryRun::Server {
        query.push_str("&dryRun=All");
    }
    let Some(live) = session.find(&uri).await? else {
        let uri = format!("{}?{query}", resource.collection(Some(namespace)));
        let created = session.send(Method::POST, &uri, "application/json", modified).await?;
        return Ok((created, Outcome::Created));
    };
    let original = live["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let schema = Schema::builtin();
    let kind = schema.kind(&resource.group, &resource.version, &resource.kind);
    let patch = patch::three_way(schema, kind, &original, modified, &live);
    if patch.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok((live, Outcome::Unchanged));
    }
    let content_type = match kind {
        Some(_) => "application/strategic-merge-patch+json",
        None => "application/merge-patch+json",
    };
    let patched =
        session.send(Method::PATCH, &format!("{uri}?{query}"), content_type, &patch).await?;
    let same = patched["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"];
    Ok((patched, if same { Outcome::Unchanged } else { Outcome::Configured }))
}

fn report(
    session: &Session,
    arguments: &Arguments,
    object: &Value,
    outcome: Outcome,
) -> Result<()> {
    let outcome = match outcome {
        Outcome::Created => "created",
        Outcome::Configured => "configured",
        Outcome::Unchanged => "unchanged",
    };
    let dry = if arguments.dry_run == DryRun::Server { " (server dry run)" } else { "" };
    match arguments.output {
        None => session.output.line(&format!("{} {outcome}{dry}", qualified_name(object))),
        Some(Format::Name) => session.output.line(&qualified_name(object)),
        Some(Format::Json) => session.output.line(&format!("{object:#}")),
        Some(Format::Yaml) => session.output.data(&format!("---\n{}", yaml(object)?)),
    }
}
