//! ServiceCIDRs: ready from the start, and kept until no address is left without a range.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use kontiki_api::Object;
use serde_json::{Value, json};

use super::is_ours;
use crate::{
    action::{Action, Context, Plan},
    controller::{Controller, Keys},
    pods,
    world::{Change, Key, ServiceCIDR, World},
};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Every server hears of a deletion within this time, and hands out nothing of the range any more.
const HEARD_OF: Duration = Duration::from_secs(10);

/// The controller of ServiceCIDRs.
pub(crate) struct ServiceCidrController;

impl Controller for ServiceCidrController {
    fn name(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn queue_name(&self) -> &'static str {
        "servicecidrs"
    }

    fn wake(&self, world: &World, change: &Change<'_>, keys: &mut Keys) {
        match change {
            Change::ServiceCIDR(delta) => {
                keys.extend(delta.new.map(Key::of));
                // Whoever waits to go may have been given a range that contains it.
                leaving(world, keys);
            }
            Change::IPAddress(delta) if delta.new.is_none() => leaving(world, keys),
            _ => {}
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.service_ranges.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context.now)
    }
}

fn leaving(world: &World, keys: &mut Keys) {
    let all = world.service_ranges.iter().filter(|range| range.is_deleting());
    keys.extend(all.map(|range| Key::of(&**range)));
}

fn nets(range: &ServiceCIDR) -> impl Iterator<Item = IpNet> + '_ {
    let cidrs = range.spec()["cidrs"].as_array().into_iter().flatten();
    cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok())
}

/// Decides what one range needs.
pub(super) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let Some(range) = world.service_ranges.get(key) else { return Plan::nothing("it is gone") };
    let finalizers = range.metadata().finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|one| one == FINALIZER);
    if !range.is_deleting() {
        return welcome(range, finalizers, held, now);
    }
    if !held {
        return Plan::nothing("others hold it");
    }
    let mut plan = Plan::default();
    if leaves_orphans(world, range) {
        plan.because("addresses come from it");
        plan.then(with_condition(range, TERMINATING, now));
        return plan;
    }
    let asked = range.metadata().deletion_timestamp.as_ref().map_or(now, |at| at.0);
    match HEARD_OF.checked_sub(pods::elapsed(asked, now)) {
        Some(rest) if !rest.is_zero() => {
            plan.because("not everybody may have heard that it goes");
            plan.recheck(rest);
        }
        _ => {
            let kept: Vec<&String> = finalizers.iter().filter(|one| *one != FINALIZER).collect();
            plan.then([Action::patch_object(&**range, &json!({ "finalizers": kept }))]);
        }
    }
    plan
}

/// A range that is used: it is held, then ready. One write at a time.
fn welcome(range: &ServiceCIDR, mut finalizers: Vec<String>, held: bool, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if !held {
        finalizers.push(FINALIZER.to_owned());
        plan.then([Action::patch_object(range, &json!({ "finalizers": finalizers }))]);
        return plan;
    }
    let conditions = range.status()["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    if conditions.any(|one| one["type"] == "Ready" && one["status"] == "True") {
        return Plan::nothing("it is ready");
    }
    plan.then(with_condition(range, READY, now));
    plan
}

/// Status, reason and message of the condition `Ready`.
type Condition = (&'static str, &'static str, &'static str);

const READY: Condition = ("True", "", "Kubernetes Service CIDR is ready");
const TERMINATING: Condition = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new \
     ServiceCIDR",
);

fn with_condition(
    range: &ServiceCIDR,
    (status, reason, message): Condition,
    now: Timestamp,
) -> Option<Action> {
    let mut updated = range.clone();
    let known = range.status()["conditions"].as_array().into_iter().flatten();
    let since = known.clone().find(|one| one["type"] == "Ready" && one["status"] == status);
    let since = since.map_or_else(
        || now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
        |one| one["lastTransitionTime"].clone(),
    );
    let mut all: Vec<Value> = known.filter(|one| one["type"] != "Ready").cloned().collect();
    all.push(json!({
        "lastTransitionTime": since, "message": message, "reason": reason, "status": status,
        "type": "Ready",
    }));
    updated.field_mut("status")["conditions"] = Value::Array(all);
    Action::update_status(range, &updated)
}

/// Whether an address would be in no range any more.
fn leaves_orphans(world: &World, range: &ServiceCIDR) -> bool {
    let others: Vec<IpNet> = world
        .service_ranges
        .iter()
        .filter(|other| other.name() != range.name())
        .flat_map(|other| nets(other).collect::<Vec<_>>())
        .collect();
    let own: Vec<IpNet> =
        nets(range).filter(|net| !others.iter().any(|other| other.contains(net))).collect();
    let mut addresses = world.addresses.iter().filter(|address| is_ours(address));
    addresses.any(|address| {
        address.name().parse::<IpAddr>().is_ok_and(|ip| {
            own.iter().any(|net| net.contains(&ip)) && !others.iter().any(|net| net.contains(&ip))
        })
    })
}
