//! Counts requests when they are answered.

use http::Response;

use crate::{answer::Body, exchange::Exchange, metrics};

pub(super) fn finished(exchange: &Exchange, response: &Response<Body>) {
    let info = &exchange.info;
    let verb = match info.verb {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    };
    // Names of resources that do not exist must not become labels.
    let known = exchange.resource.is_some();
    let label = |text: &'static str, value: &str| {
        if known { value.to_owned() } else { text.to_owned() }
    };
    let dry_run = if exchange.query.non_empty("dryRun").is_some() { "All" } else { "" };
    let (group, version) = (label("", &info.group), label("", &info.version));
    let (resource, subresource) = (label("", &info.resource), label("", &info.subresource));
    let mut labels =
        vec![verb, dry_run, &group, &version, &resource, &subresource, info.scope(), "apiserver"];
    if !info.is_long_running() {
        let elapsed = exchange.started.elapsed().as_secs_f64();
        metrics::DURATION.with_label_values(&labels).observe(elapsed);
    }
    let code = response.status();
    labels.push(code.as_str());
    metrics::REQUESTS.with_label_values(&labels).inc();
}
