//! The `kubernetes` Service, its EndpointSlice and its Endpoints: where the API is found from inside
//! the cluster.
//!
//! Every server keeps a key of its own alive on a lease, as upstream does. The keys that are there
//! are the servers that live; whoever sees them change brings both in line.

use std::{net::IpAddr, sync::Arc, time::Duration};

use kontiki_api::Status;
use kontiki_base::CancellationToken;
use kontiki_raft::types::{Delete, KeyRange, Op, Put, RangeRequest, Txn};
use serde_json::{Value, json};

use crate::{
    core::{Core, unavailable},
    options::Options,
    verbs::{
        create,
        stored::{Target, Writer},
        update::{self, Part},
    },
};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
/// How long a server that fell silent stays in the list.
const ALIVE_FOR: Duration = Duration::from_secs(15);
/// How often a server renews its key.
const RENEW_EVERY: Duration = Duration::from_secs(7);

/// The Service.
pub(crate) fn service(options: &Options) -> Value {
    let address = options.service_cidrs.first().and_then(|range| range.hosts().next());
    let mut spec = json!({
        "type": "ClusterIP",
        "ports": [{
            "name": "https", "port": 443, "protocol": "TCP", "targetPort": options.advertise_port,
        }],
        "sessionAffinity": "None",
    });
    if let Some(address) = address {
        spec["clusterIP"] = address.to_string().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": spec,
    })
}

/// Announces this server and keeps its endpoints in line until `shutdown`.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) {
    let mut changed = core.caches.subscribe_servers();
    loop {
        changed.mark_unchanged();
        // Trouble passes with the next turn; a server that cannot write is not alive either.
        if let Err(status) = turn(&core).await {
            tracing::debug!("cannot renew the API's endpoints: {}", status.message);
        }
        tokio::select! { biased;
            () = shutdown.cancelled() => break,
            _ = changed.changed() => {}
            () = tokio::time::sleep(RENEW_EVERY) => {
                if let Err(status) = announce(&core).await {
                    tracing::debug!("cannot announce this server: {}", status.message);
                }
            }
        }
    }
    let key = own_key(&core);
    let gone = Txn::of([Op::Delete(Delete::new(KeyRange::key(key)))]);
    // Best effort: if it fails, the lease does it.
    let _ = tokio::time::timeout(Duration::from_secs(1), core.storage.backend().txn(gone)).await;
}

async fn turn(core: &Core) -> Result<(), Status> {
    let range = KeyRange::prefix(core.storage.keys().servers());
    let found = core.storage.backend().range(RangeRequest::new(range)).await;
    let found = found.map_err(|error| unavailable(&error))?;
    let own = own_key(core);
    if !found.kvs.iter().any(|kv| kv.key == own.as_bytes()) {
        return announce(core).await;
    }
    // A server that only its own host reaches is no endpoint.
    let servers = found.kvs.iter().filter_map(|kv| parse(&kv.value));
    let mut servers: Vec<(IpAddr, u16)> = servers.filter(|(ip, _)| !ip.is_loopback()).collect();
    servers.sort_unstable();
    servers.dedup();
    reconcile(core, &servers).await
}

fn own_key(core: &Core) -> String {
    format!("{}{}", core.storage.keys().servers(), core.options.name)
}

fn parse(value: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, port) = std::str::from_utf8(value).ok()?.rsplit_once(' ')?;
    Some((address.parse().ok()?, port.parse().ok()?))
}

async fn announce(core: &Core) -> Result<(), Status> {
    let backend = core.storage.backend();
    let lease = backend.lease_grant(ALIVE_FOR).await.map_err(|error| unavailable(&error))?;
    let value = format!("{} {}", core.options.advertise_address, core.options.advertise_port);
    let put = Put { lease: Some(lease), ..Put::new(own_key(core), value) };
    backend.txn(Txn::of([Op::Put(put)])).await.map_err(|error| unavailable(&error))?;
    Ok(())
}

/// One slice per family and port would be needed for mixed clusters; all servers of a cluster
/// share both.
fn slice(servers: &[(IpAddr, u16)]) -> Value {
    let family = if servers.first().is_some_and(|(ip, _)| ip.is_ipv6()) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<Value> = servers
        .iter()
        .map(|(ip, _)| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{
            "name": "https", "protocol": "TCP",
            "port": servers.first().map_or(6443, |(_, port)| *port),
        }],
    })
}

/// The same for clients that know no EndpointSlices. The label says that there is one already.
fn endpoints(servers: &[(IpAddr, u16)]) -> Value {
    let addresses: Vec<Value> =
        servers.iter().map(|(ip, _)| json!({"ip": ip.to_string()})).collect();
    let port = servers.first().map_or(6443, |(_, port)| *port);
    let mut endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
    });
    if !addresses.is_empty() {
        let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
        endpoints["subsets"] = json!([{"addresses": addresses, "ports": ports}]);
    }
    endpoints
}

async fn reconcile(core: &Core, servers: &[(IpAddr, u16)]) -> Result<(), Status> {
    let group = "discovery.k8s.io";
    ensure(core, group, "endpointslices", slice(servers), &["endpoints", "ports"]).await?;
    ensure(core, "", "endpoints", endpoints(servers), &["subsets"]).await
}

/// Creates an object, or brings these fields of it in line.
async fn ensure(
    core: &Core,
    group: &str,
    resource: &str,
    wanted: Value,
    fields: &[&str],
) -> Result<(), Status> {
    let writer = Writer::server();
    let found = core.find(group, resource, NAMESPACE, NAME).await?;
    let resource = core.builtin(group, resource);
    let Some(found) = found else {
        return match create::create(core, &writer, resource, wanted).await {
            Err(status) if status.reason != "AlreadyExists" => Err(status),
            _ => Ok(()),
        };
    };
    let found = found.value();
    if fields.iter().all(|field| agrees(&wanted[*field], &found[*field])) {
        return Ok(());
    }
    let target = Target { resource, namespace: NAMESPACE, name: NAME };
    update::modify(core, &writer, target, Part::Main, |old| {
        let mut new = old.clone();
        for field in fields {
            new[*field] = wanted[*field].clone();
        }
        Ok(new)
    })
    .await
    .map(|_| ())
}

/// Whether what is wanted is there; defaults may have been added to it.
fn agrees(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| agrees(value, found))),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len()
                && wanted.iter().zip(found).all(|(wanted, found)| agrees(wanted, found))
        }
        (wanted, found) => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_list_the_same_servers() {
        let servers = [([192, 0, 2, 1].into(), 6443), ([192, 0, 2, 2].into(), 6443)];
        let (slice, endpoints) = (slice(&servers), endpoints(&servers));
        assert_eq!(slice["endpoints"][1]["addresses"], json!(["192.0.2.2"]));
        let subset = &endpoints["subsets"][0];
        assert_eq!(subset["addresses"], json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]));
        assert_eq!(subset["ports"][0]["port"], 6443);
        assert!(super::endpoints(&[])["subsets"].is_null());
    }

    #[test]
    fn defaults_are_no_difference() {
        let wanted = json!([{"a": 1}]);
        assert!(agrees(&wanted, &json!([{"a": 1, "b": 2}])));
        assert!(!agrees(&wanted, &json!([{"a": 2}])));
        assert!(!agrees(&wanted, &json!([])));
        assert!(agrees(&Value::Null, &Value::Null) && !agrees(&Value::Null, &wanted));
    }
}
