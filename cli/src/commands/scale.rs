//! `kontiki scale`: the number of replicas, through the scale subresource.

use anyhow::{Result, ensure};
use clap::Args;
use http::Method;
use serde_json::json;

use crate::session::{Accept, ConnectionArguments, targets};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// TYPE/NAME... or TYPE NAME...
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// How many there shall be
    #[arg(long, value_name = "NUMBER")]
    replicas: u32,
    /// Only if there are this many now
    #[arg(long, value_name = "NUMBER")]
    current_replicas: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    for target in targets(&session.catalogue().await?, &arguments.what)? {
        let Some(name) = &target.name else {
            anyhow::bail!("resource(s) were provided, but no name was specified");
        };
        let uri = format!("{}/scale", target.resource.object(&session.namespace, name));
        let mut patch = json!({ "spec": { "replicas": arguments.replicas } });
        if let Some(expected) = arguments.current_replicas {
            let scale = session.get(&uri, Accept::Json).await?;
            let current = scale["spec"]["replicas"].as_u64().unwrap_or(0);
            ensure!(current == expected, "expected replicas to be {expected}, was {current}");
            patch["metadata"] = json!({ "resourceVersion": scale["metadata"]["resourceVersion"] });
        }
        session.send(Method::PATCH, &uri, "application/merge-patch+json", &patch).await?;
        session.output.line(&format!("{}/{name} scaled", target.resource.qualified_singular()))?;
    }
    Ok(())
}
