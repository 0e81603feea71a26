//! CertificateSigningRequests.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column, duration};

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Name"),
        column("Age"),
        column("SignerName"),
        column("Requestor"),
        column("RequestedDuration"),
        column("Condition"),
    ],
    cells: |request, now| {
        let spec = &request["spec"];
        let signer = spec["signerName"].as_str().filter(|name| !name.is_empty());
        vec![
            meta::name(request).into(),
            age_of(request, now),
            signer.unwrap_or("<none>").into(),
            spec["username"].as_str().unwrap_or_default().into(),
            spec["expirationSeconds"]
                .as_i64()
                .map_or_else(|| "<none>".to_owned(), duration::human)
                .into(),
            condition(&request["status"]).into(),
        ]
    },
};

fn condition(status: &Value) -> String {
    let conditions: Vec<&str> = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["type"].as_str())
        .collect();
    let mut shown = Vec::new();
    for kind in ["Approved", "Denied", "Failed"] {
        if conditions.contains(&kind) {
            shown.push(kind);
        }
    }
    if shown.is_empty() {
        shown.push("Pending");
    }
    if status["certificate"].as_str().is_some_and(|certificate| !certificate.is_empty()) {
        shown.push("Issued");
    }
    shown.join(",")
}
