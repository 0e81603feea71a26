//! Requests for certificates: approved where a kubelet asks for itself, signed with the cluster's
//! root, and taken away when they are of no use any more.
//!
//! The three controllers meet in the request's conditions only, as people with
//! `kubectl certificate approve` do.

mod approver;
mod cleaner;
mod kubelet;
mod signer;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

pub(crate) use self::{approver::Approver, cleaner::Cleaner, signer::SigningController};
use crate::world::CertificateSigningRequest;

/// The signer of clients in general.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// The signer of kubelets as clients.
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The signer of kubelets as servers.
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// The signer of whatever else was signed before signers had names.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

fn conditions(request: &CertificateSigningRequest) -> impl Iterator<Item = &Value> {
    request.status()["conditions"].as_array().into_iter().flatten()
}

fn has(request: &CertificateSigningRequest, condition: &str) -> bool {
    conditions(request).any(|one| one["type"] == condition && one["status"] == "True")
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    request.status()["certificate"].as_str().is_some_and(|text| !text.is_empty())
}

/// PEM as requests carry it.
fn pem(field: &Value) -> String {
    let bytes = STANDARD.decode(field.as_str().unwrap_or_default()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn usages(request: &CertificateSigningRequest) -> Vec<&str> {
    let usages = request.spec()["usages"].as_array().into_iter().flatten();
    usages.filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests;
