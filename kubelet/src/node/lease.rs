//! The node's Lease: its sign of life.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
};
use kontiki_api::Object;
use kontiki_base::{backoff::Backoff, tasks::render};
use kontiki_client::{Error, ObjectKey, Patch, Store};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::node::context::Context;

const NAMESPACE: &str = "kube-node-lease";

/// Renews the Lease until the task is stopped.
pub async fn keep(context: Arc<Context>, nodes: Store<Node>) {
    let interval = context.options.lease_renew_interval;
    let mut backoff = Backoff::new(Duration::from_millis(200).min(interval), interval);
    loop {
        let started = Instant::now();
        // An answer that comes after the next renewal is due is of no use.
        let outcome = timeout(interval, renew(&context, &nodes)).await;
        match outcome {
            Ok(Ok(())) => {
                backoff.reset();
                sleep_until(started + interval).await;
            }
            failed => {
                let delay = backoff.next_delay();
                if backoff.failures() > 5 {
                    let reason = match failed {
                        Ok(Err(error)) => render(&error),
                        _ => "no answer in time".to_owned(),
                    };
                    tracing::warn!("cannot renew the node's lease: {reason}");
                }
                sleep(delay).await;
            }
        }
    }
}

async fn renew(context: &Context, nodes: &Store<Node>) -> Result<(), Error> {
    let name = &context.options.node_name;
    let key = ObjectKey::new(NAMESPACE, name);
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let seconds = duration_seconds(context.options.lease_duration);
    let patch = json!({ "spec": {
        "holderIdentity": name,
        "leaseDurationSeconds": seconds,
        "renewTime": now,
    }});
    match context.client.patch::<Lease>(&key, Patch::Merge(patch)).await {
        Err(error) if error.is_not_found() => {
            context.client.create(&lease(context, nodes)).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

fn lease(context: &Context, nodes: &Store<Node>) -> Lease {
    let name = &context.options.node_name;
    let mut lease = Lease {
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(duration_seconds(context.options.lease_duration)),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
        ..Lease::default()
    };
    lease.metadata.name = Some(name.clone());
    lease.metadata.namespace = Some(NAMESPACE.to_owned());
    let node = nodes.get(&ObjectKey::new("", name));
    lease.metadata.owner_references = node.map(|node| {
        vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: name.clone(),
            uid: node.uid().to_owned(),
            ..OwnerReference::default()
        }]
    });
    lease
}

/// At least a second: the API knows no less.
fn duration_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}
