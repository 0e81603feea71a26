//! CertificateSigningRequests: who asks for a certificate, who says that it is right, and what was
//! signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kontiki_api::{field::Errors, meta, names};
use serde_json::{Value, json};

use super::{
    check::{self, Check},
    place::Place,
    value,
};
use crate::registry::{Context, Strategy, restore};

const LIFETIME_SECONDS_MIN: i64 = 600;
/// Conditions that only `/approval` may set.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The strategy of `certificatesigningrequests`.
pub(super) struct CertificateSigningRequests;

impl Strategy for CertificateSigningRequests {
    fn prepare_for_create(&self, object: &mut Value, context: &Context<'_>) {
        let user = context.user;
        let spec = value::child_or_new(object, "spec");
        for field in ["uid", "groups", "extra"] {
            value::unset(spec, field);
        }
        value::set(spec, "username", user.name.as_str());
        if !user.uid.is_empty() {
            value::set(spec, "uid", user.uid.as_str());
        }
        if !user.groups.is_empty() {
            value::set(spec, "groups", json!(user.groups));
        }
        if !user.extra.is_empty() {
            value::set(spec, "extra", json!(user.extra));
        }
        value::set(object, "status", json!({}));
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _: &Context<'_>) {
        for field in ["spec", "status"] {
            restore(object, old, field);
        }
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value, context: &Context<'_>) {
        self.prepare_for_part("status", object, old, context);
    }

    fn prepare_for_part(&self, part: &str, object: &mut Value, old: &Value, context: &Context<'_>) {
        restore(object, old, "spec");
        let wanted = conditions(object);
        let kept = conditions(old);
        let decides = |one: &Value| DECISIONS.contains(&value::text(one, "type"));
        let mut merged = match part {
            "approval" => {
                restore(object, old, "status");
                wanted
            }
            // Whoever signs may not decide: decisions stay as they were.
            _ => {
                let others = wanted.into_iter().filter(|one| !decides(one));
                kept.iter().filter(|one| decides(one)).cloned().chain(others).collect()
            }
        };
        stamp(&mut merged, &kept, &meta::time(context.now));
        let status = value::child_or_new(object, "status");
        if merged.is_empty() {
            value::unset(status, "conditions");
        } else {
            value::set(status, "conditions", merged);
        }
    }

    fn validate(&self, object: &Value) -> Errors {
        let mut check = Check::default();
        check_spec(&mut check, &Place::root(object).at("spec"));
        check_conditions(&mut check, &Place::root(object).at("status").at("conditions"));
        check.errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        self.validate_part_update("status", object, old)
    }

    fn validate_part_update(&self, part: &str, object: &Value, old: &Value) -> Errors {
        let mut check = Check::default();
        let (new, old) = (Place::root(object).at("status"), Place::root(old).at("status"));
        check_conditions(&mut check, &new.at("conditions"));
        if part != "approval" && !old.at("certificate").is_empty() {
            check.fixed(&new.at("certificate"), &old.at("certificate"));
        }
        for decision in DECISIONS.iter().chain(&["Failed"]) {
            let has = |status: &Place<'_>| {
                status.at("conditions").items().any(|one| one.at("type").text() == *decision)
            };
            if has(&old) && !has(&new) {
                let detail = format!("updates may not remove a condition of type {decision:?}");
                check.forbidden(&new.at("conditions").path, &detail);
            }
        }
        check.errors
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::path_segment, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }
}

fn conditions(object: &Value) -> Vec<Value> {
    object["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// New conditions are dated now, and hold.
fn stamp(conditions: &mut [Value], old: &[Value], now: &str) {
    for condition in conditions {
        value::default(condition, "status", "True");
        if value::is_unset(condition, "lastUpdateTime") {
            value::set(condition, "lastUpdateTime", now);
        }
        let kind = value::text(condition, "type").to_owned();
        let before = old.iter().find(|one| value::text(one, "type") == kind);
        let same = before.filter(|one| one["status"] == condition["status"]);
        if value::is_unset(condition, "lastTransitionTime") {
            let since = same.and_then(|one| one["lastTransitionTime"].as_str()).unwrap_or(now);
            value::set(condition, "lastTransitionTime", since);
        }
    }
}

fn check_spec(check: &mut Check, spec: &Place<'_>) {
    let usages = spec.at("usages");
    if usages.is_empty() {
        check.required(&usages.path, "");
    }
    let mut seen = Vec::new();
    for usage in usages.items() {
        check.one_of(&usage.path, usage.text(), USAGES);
        if seen.contains(&usage.text()) {
            check.push(kontiki_api::field::Error::duplicate(&usage.path, usage.text()));
        }
        seen.push(usage.text());
    }
    let request = spec.at("request");
    let pem = STANDARD.decode(request.text()).unwrap_or_default();
    let pem = String::from_utf8_lossy(&pem);
    if !pem.contains("-----BEGIN CERTIFICATE REQUEST-----") {
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        check.invalid(&request.path, request.text(), detail);
    }
    signer(check, &spec.at("signerName"));
    let seconds = spec.at("expirationSeconds");
    if seconds.number().is_some_and(|seconds| seconds < LIFETIME_SECONDS_MIN) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        check.invalid(&seconds.path, seconds.value.clone(), detail);
    }
}

fn signer(check: &mut Check, name: &Place<'_>) {
    let text = name.text();
    if text.is_empty() {
        return check.required(&name.path, "");
    }
    let Some((domain, path)) = text.split_once('/') else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return check.invalid(&name.path, text, detail);
    };
    let wrong = names::dns1123_subdomain(domain);
    check.errors.invalid_each(&name.path, text, wrong);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        check.invalid(&name.path, domain, detail);
    }
    check.errors.invalid_each(&name.path, text, names::dns1123_subdomain(path));
}

fn check_conditions(check: &mut Check, conditions: &Place<'_>) {
    let mut seen = Vec::new();
    let mut decided = None;
    for condition in conditions.items() {
        let (kind, status) = (condition.at("type"), condition.at("status"));
        if kind.is_empty() {
            check.required(&kind.path, "");
        }
        if ["Approved", "Denied", "Failed"].contains(&kind.text()) && status.text() != "True" {
            check.push(kontiki_api::field::Error::not_supported(
                &status.path,
                status.text(),
                &["True"],
            ));
        } else {
            check.chosen(&status, &["False", "True", "Unknown"]);
        }
        if DECISIONS.contains(&kind.text()) {
            match decided {
                Some(other) if other != kind.text() => {
                    let detail =
                        format!("{} and {other} conditions are mutually exclusive", kind.text());
                    check.invalid(&kind.path, kind.text(), &detail);
                }
                _ => decided = Some(kind.text()),
            }
        }
        if seen.contains(&kind.text()) {
            check.push(kontiki_api::field::Error::duplicate(&kind.path, kind.text()));
        }
        seen.push(kind.text());
    }
}
