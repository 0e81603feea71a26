//! Signs approved requests of the built-in signers with the cluster's root.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kontiki_base::pki::{
    Authority,
    requested::{self, Requested, Validity},
};
use serde_json::{Value, json};

use super::{
    CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, has, is_issued, kubelet, pem, usages,
};
use crate::{
    Options,
    action::{Action, Context, Plan},
    controller::{Controller, Keys},
    world::{CertificateSigningRequest, Change, Key, World},
};

/// Clocks may differ by this much; nothing shorter than twice that is signed.
const BACKDATE: Duration = Duration::from_secs(300);
/// What is valid for less than this is not shortened by what it is dated back.
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// The controller that signs.
pub(crate) struct SigningController {
    authority: Option<Authority>,
    duration: Duration,
}

impl SigningController {
    pub(crate) fn new(options: &Options) -> SigningController {
        SigningController { authority: options.signer.clone(), duration: options.signing_duration }
    }
}

impl Controller for SigningController {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn queue_name(&self) -> &'static str {
        "certificate"
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::CertificateSigningRequest(delta) = change {
            keys.extend(delta.new.filter(|one| waits(one)).map(Key::of));
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let waiting = world.signing_requests.iter().filter(|one| waits(one));
        keys.extend(waiting.map(|one| Key::of(&**one)));
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        match &self.authority {
            Some(authority) => plan(authority, self.duration, world, key, context.now),
            None => Plan::nothing("nothing to sign with"),
        }
    }
}

/// Whether a request is approved and not signed yet.
fn waits(request: &CertificateSigningRequest) -> bool {
    has(request, "Approved")
        && !has(request, "Denied")
        && !has(request, "Failed")
        && !is_issued(request)
}

/// Decides what becomes of an approved request.
pub(super) fn plan(
    authority: &Authority,
    longest: Duration,
    world: &World,
    key: &Key,
    now: Timestamp,
) -> Plan {
    let Some(request) = world.signing_requests.get(key) else {
        return Plan::nothing("it is gone");
    };
    if !waits(request) {
        return Plan::nothing("it is not to be signed");
    }
    let text = pem(&request.spec()["request"]);
    let asked = match requested::read(&text) {
        Ok(asked) => asked,
        Err(error) => return Plan::nothing(format!("unable to parse csr {:?}: {error}", key.name)),
    };
    let usages = usages(request);
    let signer = request.spec()["signerName"].as_str().unwrap_or_default();
    let Some(verdict) = judge(signer, &asked, &usages) else {
        return Plan::nothing("somebody else's signer");
    };
    let mut signed = (**request).clone();
    if let Err(why) = verdict {
        let status = signed.field_mut("status");
        let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
        all.push(json!({
            "type": "Failed", "status": "True", "reason": "SignerValidationFailure",
            "message": why,
            "lastUpdateTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }));
        status["conditions"] = Value::Array(all);
    } else {
        let validity = validity(request.spec()["expirationSeconds"].as_i64(), longest, now);
        match authority.grant(&text, &usages, validity) {
            Ok(certificate) => {
                signed.field_mut("status")["certificate"] = STANDARD.encode(certificate).into();
            }
            Err(error) => return Plan::nothing(format!("error auto signing csr: {error}")),
        }
    }
    let mut plan = Plan::default();
    plan.then(Action::update_status(&**request, &signed));
    plan
}

/// Whether a built-in signer signs what is asked for; `None` if it is not one.
fn judge(signer: &str, asked: &Requested, usages: &[&str]) -> Option<Result<(), String>> {
    match signer {
        CLIENT => Some(check_client_usages(usages)),
        KUBELET_CLIENT => Some(kubelet::check_client(asked, usages)),
        KUBELET_SERVING => Some(kubelet::check_serving(asked, usages)),
        LEGACY => Some(Ok(())),
        _ => None,
    }
}

fn check_client_usages(usages: &[&str]) -> Result<(), String> {
    const NEEDED: &str = "client auth";
    let allowed = ["digital signature", "key encipherment", NEEDED];
    if let Some(other) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.contains(&NEEDED) {
        return Err(format!("missing required usage for client certificate: {NEEDED}"));
    }
    Ok(())
}

/// As long as was asked for, within bounds.
pub(super) fn validity(seconds: Option<i64>, longest: Duration, now: Timestamp) -> Validity {
    let asked = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let lifetime = asked.map_or(longest, |asked| asked.max(2 * BACKDATE).min(longest));
    let whole = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let not_before = now.as_second() - whole(BACKDATE);
    let from = if lifetime < SHORT { now.as_second() } else { not_before };
    Validity { not_before, not_after: from + whole(lifetime) }
}
