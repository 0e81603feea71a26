//! Takes away requests that are of no use any more: decided an hour ago, never decided in a day,
//! or with a certificate that has ended.

use std::time::Duration;

use jiff::Timestamp;
use kontiki_api::Object;
use kontiki_base::pki::requested;
use serde_json::Value;

use super::{conditions, is_issued, pem};
use crate::{
    action::{Action, Context, Plan, Target},
    controller::{Controller, Keys},
    pods,
    world::{CertificateSigningRequest, Change, Key, World},
};

const DECIDED: Duration = Duration::from_secs(3600);
const PENDING: Duration = Duration::from_secs(24 * 3600);

/// The cleaner.
pub(crate) struct Cleaner;

impl Controller for Cleaner {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn workers(&self) -> usize {
        1
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::CertificateSigningRequest(delta) = change {
            keys.extend(delta.new.map(Key::of));
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        keys.extend(world.signing_requests.keys().cloned());
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context.now)
    }
}

/// Decides whether a request goes, or when.
pub(super) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let Some(request) = world.signing_requests.get(key) else {
        return Plan::nothing("it is gone");
    };
    let Some(end) = end(request) else { return Plan::nothing("it waits for its certificate") };
    let mut plan = Plan::default();
    if end <= now {
        plan.then([Action::delete(Target::of(&**request).any_version())]);
    } else {
        plan.because("it may still be looked at");
        plan.recheck(pods::elapsed(now, end));
    }
    plan
}

/// When a request has been there for long enough.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let after = |since: Option<Timestamp>, time: Duration| since?.checked_add(time).ok();
    if conditions(request).next().is_none() {
        let created = request.metadata().creation_timestamp.as_ref().map(|at| at.0);
        return after(created, PENDING);
    }
    let issued = is_issued(request);
    let updated = |one: &Value| one["lastUpdateTime"].as_str().and_then(|text| text.parse().ok());
    let decided = conditions(request).filter_map(|one| match one["type"].as_str() {
        Some("Approved") if issued => after(updated(one), DECIDED),
        Some("Denied" | "Failed") => after(updated(one), DECIDED),
        _ => None,
    });
    let expired = issued.then(|| requested::end_of(&pem(&request.status()["certificate"])).ok());
    let expired = expired.flatten().and_then(|seconds| Timestamp::from_second(seconds).ok());
    decided.chain(expired).min()
}
