//! `kontiki logs`: what a container has written.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use kontiki_client::client::escape;
use serde_json::Value;

use crate::{
    config::parse_duration,
    session::{Accept, ConnectionArguments, Session, targets},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// POD or TYPE/NAME
    #[arg(value_name = "WHAT", required_unless_present = "selector")]
    what: Option<String>,
    /// All pods with these labels
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "what")]
    selector: Option<String>,
    /// The container, if the pod has several
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Go on printing what is written
    #[arg(short, long)]
    follow: bool,
    /// Of the container's instance before this one
    #[arg(short, long)]
    previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Only what is younger
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<Duration>,
    /// Only this much
    #[arg(long, value_name = "BYTES")]
    limit_bytes: Option<u64>,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// With the name of the pod before each line
    #[arg(long)]
    prefix: bool,
}

impl Arguments {
    fn query(&self) -> String {
        let mut query = vec![format!("follow={}", self.follow)];
        if self.previous {
            query.push("previous=true".to_owned());
        }
        if self.timestamps {
            query.push("timestamps=true".to_owned());
        }
        if let Some(container) = &self.container {
            query.push(format!("container={}", escape(container)));
        }
        if let Some(tail) = self.tail {
            query.push(format!("tailLines={tail}"));
        }
        if let Some(since) = self.since {
            query.push(format!("sinceSeconds={}", since.as_secs().max(1)));
        }
        if let Some(bytes) = self.limit_bytes {
            query.push(format!("limitBytes={bytes}"));
        }
        query.join("&")
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let pods = pods(&session, &arguments).await?;
    if let [pod] = pods.as_slice() {
        return print(&session, &arguments, pod).await;
    }
    if arguments.follow {
        let all = pods.iter().map(|pod| print(&session, &arguments, pod));
        futures::future::try_join_all(all).await?;
        return Ok(());
    }
    for pod in &pods {
        print(&session, &arguments, pod).await?;
    }
    Ok(())
}

async fn pods(session: &Session, arguments: &Arguments) -> Result<Vec<String>> {
    if let Some(selector) = &arguments.selector {
        let pods = list(session, selector).await?;
        if pods.is_empty() {
            bail!("no resources found in {} namespace", session.namespace);
        }
        return Ok(pods);
    }
    let what = arguments.what.clone().unwrap_or_default();
    let Some((kind, name)) = what.split_once('/') else { return Ok(vec![what]) };
    if matches!(kind, "pod" | "pods" | "po") {
        return Ok(vec![name.to_owned()]);
    }
    let catalogue = session.catalogue().await?;
    let target = targets(&catalogue, std::slice::from_ref(&what))?.swap_remove(0);
    let uri = target.resource.object(&session.namespace, name);
    let object = session.get(&uri, Accept::Json).await?;
    let labels = object["spec"]["selector"]["matchLabels"]
        .as_object()
        .or(object["spec"]["selector"].as_object())
        .with_context(|| format!("{what} selects no pods"))?;
    let pair =
        |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    let selector = labels.iter().map(pair).collect::<Vec<_>>().join(",");
    let pods = list(session, &selector).await?;
    let Some(first) = pods.first() else { bail!("{what} has no pods") };
    if pods.len() > 1 {
        session.output.note(&format!("Found {} pods, using pod/{first}", pods.len()));
    }
    Ok(vec![first.clone()])
}

async fn list(session: &Session, selector: &str) -> Result<Vec<String>> {
    let uri =
        format!("/api/v1/namespaces/{}/pods?labelSelector={}", session.namespace, escape(selector));
    let list = session.get(&uri, Accept::Json).await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.iter().filter_map(|i| i["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

async fn print(session: &Session, arguments: &Arguments, pod: &str) -> Result<()> {
    let uri =
        format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", session.namespace, arguments.query());
    let mut lines = session.lines(&uri, Accept::Json).await?;
    while let Some(line) = lines.next().await? {
        let line = String::from_utf8_lossy(&line);
        if arguments.prefix {
            session.output.line(&format!("[pod/{pod}] {line}"))?;
        } else {
            session.output.line(&line)?;
        }
    }
    Ok(())
}
