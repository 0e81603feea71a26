//! Approves kubelets' requests for the certificates that they are clients with, if they may have
//! them: one that renews its own, or a new node that somebody was allowed to bring.

use std::time::Duration;

use kontiki_api::Object;
use kontiki_base::pki::requested;
use serde_json::{Value, json};

use super::{KUBELET_CLIENT, has, is_issued, kubelet, pem, usages};
use crate::{
    action::{Action, Context, Plan},
    controller::{Controller, Keys, Question},
    pods,
    world::{CertificateSigningRequest, Change, Key, World},
};

/// Somebody may be allowed later what is not allowed now: it is asked again ever more seldom.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1000));

/// The approver.
pub(crate) struct Approver;

impl Controller for Approver {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
    }

    fn queue_name(&self) -> &'static str {
        "certificate"
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::CertificateSigningRequest(delta) = change {
            keys.extend(delta.new.filter(|one| is_open(one)).map(Key::of));
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let open = world.signing_requests.iter().filter(|one| is_open(one));
        keys.extend(open.map(|one| Key::of(&**one)));
    }

    fn asks(&self, world: &World, key: &Key) -> Option<Question> {
        let request = world.signing_requests.get(key).filter(|one| is_open(one))?;
        let kinds = recognized(request);
        let reviews = kinds.iter().map(|kind| review(request, kind.subresource)).collect();
        (!kinds.is_empty()).then_some(Question::Access(reviews))
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context)
    }
}

/// Whether nobody has said anything yet.
fn is_open(request: &CertificateSigningRequest) -> bool {
    !is_issued(request) && !has(request, "Approved") && !has(request, "Denied")
}

/// A request of which it is known who may make it.
struct Kind {
    subresource: &'static str,
    message: &'static str,
}

const SELF: Kind = Kind {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const NODE: Kind = Kind {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

fn recognized(request: &CertificateSigningRequest) -> Vec<Kind> {
    if request.spec()["signerName"] != KUBELET_CLIENT {
        return Vec::new();
    }
    let Ok(asked) = requested::read(&pem(&request.spec()["request"])) else { return Vec::new() };
    if kubelet::check_client(&asked, &usages(request)).is_err() {
        return Vec::new();
    }
    let own = request.spec()["username"] == asked.common_name.as_str();
    if own { vec![SELF, NODE] } else { vec![NODE] }
}

fn review(request: &CertificateSigningRequest, subresource: &str) -> Value {
    let spec = request.spec();
    let mut review = json!({
        "user": spec["username"],
        "resourceAttributes": {
            "group": "certificates.k8s.io", "resource": "certificatesigningrequests",
            "verb": "create", "subresource": subresource,
        },
    });
    for field in ["uid", "groups", "extra"] {
        if !spec[field].is_null() {
            review[field] = spec[field].clone();
        }
    }
    review
}

/// Decides whether a request is approved.
pub(super) fn plan(world: &World, key: &Key, context: Context<'_>) -> Plan {
    let Some(request) = world.signing_requests.get(key) else {
        return Plan::nothing("it is gone");
    };
    if !is_open(request) {
        return Plan::nothing("it was decided");
    }
    let kinds = recognized(request);
    if kinds.is_empty() {
        return Plan::nothing("others have to decide");
    }
    let Some((kind, _)) = kinds.iter().zip(context.allowed).find(|(_, allowed)| **allowed) else {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.subresource).collect();
        let mut plan = Plan::nothing(format!(
            "recognized csr {:?} as [{}] but subject access review was not approved",
            request.name(),
            names.join(" ")
        ));
        let created = request.metadata().creation_timestamp.as_ref().map_or(context.now, |at| at.0);
        plan.recheck(pods::elapsed(created, context.now).clamp(ASK_AGAIN.0, ASK_AGAIN.1));
        return plan;
    };
    let mut approved = (**request).clone();
    let status = approved.field_mut("status");
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    all.push(json!({
        "message": kind.message, "reason": "AutoApproved", "status": "True", "type": "Approved",
    }));
    status["conditions"] = Value::Array(all);
    let mut plan = Plan::default();
    plan.then(Action::update_by("approval", &**request, &approved));
    plan
}
