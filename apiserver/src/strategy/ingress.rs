//! Ingresses: which host and path leads to which Service.

use kontiki_api::{field::Error, names};

use super::{
    check::Check,
    declared::{Declared, WANTED},
    place::Place,
};

/// What no path may hold, and what none may end with.
const NOT_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const NOT_AT_ENDS: [&str; 2] = ["/..", "/."];

/// The strategy of `ingresses`.
pub(super) static STRATEGY: Declared = Declared {
    check,
    warnings: |ingress, old| {
        let annotations = ingress.at("metadata").at("annotations");
        let classified = ingress.at("spec").at("ingressClassName").is_set();
        if old.is_none() && !classified && annotations.at("kubernetes.io/ingress.class").is_set() {
            return vec![
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use \
                 'spec.ingressClassName' instead"
                    .to_owned(),
            ];
        }
        Vec::new()
    },
    ..WANTED
};

fn check(check: &mut Check, ingress: &Place<'_>) {
    let spec = ingress.at("spec");
    let (rules, default) = (spec.at("rules"), spec.at("defaultBackend"));
    if rules.is_empty() && !default.is_set() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        check.invalid(&spec.path, rules.value.clone(), detail);
    }
    if default.is_set() {
        backend(check, &default);
    }
    for rule in rules.items() {
        host(check, &rule.at("host"));
        let http = rule.at("http");
        if http.is_set() && http.at("paths").is_empty() {
            check.required(&http.at("paths").path, "");
        }
        for path in http.at("paths").items() {
            one_path(check, &path);
        }
    }
    for tls in spec.at("tls").items() {
        for name in tls.at("hosts").items() {
            dns_name(check, &name);
        }
        let secret = tls.at("secretName");
        check.optional_named(&secret.path, Some(secret.text()), names::dns1123_subdomain);
    }
    let class = spec.at("ingressClassName");
    if class.is_set() {
        let wrong = names::dns1123_subdomain(class.text());
        check.errors.invalid_each(&class.path, class.text(), wrong);
    }
}

fn host(check: &mut Check, host: &Place<'_>) {
    if host.is_empty() {
        return;
    }
    if host.text().parse::<std::net::IpAddr>().is_ok() {
        check.invalid(&host.path, host.text(), "must be a DNS name, not an IP address");
    } else {
        dns_name(check, host);
    }
}

/// A DNS name, perhaps of everything below one.
fn dns_name(check: &mut Check, name: &Place<'_>) {
    let text = name.text();
    let wrong = match text.strip_prefix("*.") {
        Some(parent) if names::dns1123_subdomain(parent).is_empty() => Vec::new(),
        Some(_) => vec![
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
             subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and \
             end with an alphanumeric character (e.g. '*.example.com', regex used for validation \
             is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        ],
        None => names::dns1123_subdomain(text),
    };
    check.errors.invalid_each(&name.path, text, wrong);
}

fn one_path(check: &mut Check, rule: &Place<'_>) {
    let (kind, path) = (rule.at("pathType"), rule.at("path"));
    let text = path.text();
    match kind.text() {
        "" => check.required(&kind.path, "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                check.invalid(&path.path, text, "must be an absolute path");
            }
            if !text.is_empty() {
                for sequence in NOT_IN_PATHS.iter().filter(|sequence| text.contains(**sequence)) {
                    check.invalid(&path.path, text, &format!("must not contain '{sequence}'"));
                }
                for end in NOT_AT_ENDS.iter().filter(|end| text.ends_with(**end)) {
                    check.invalid(&path.path, text, &format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                check.invalid(&path.path, text, "must be an absolute path");
            }
        }
        other => {
            let known = &["Exact", "ImplementationSpecific", "Prefix"];
            check.push(Error::not_supported(&kind.path, other, known));
        }
    }
    backend(check, &rule.at("backend"));
}

fn backend(check: &mut Check, backend: &Place<'_>) {
    let (service, resource) = (backend.at("service"), backend.at("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => {
            check.invalid(&backend.path, "", "cannot set both resource and service backends");
        }
        (false, false) => {
            check.required(&backend.path, "resource or service backend is required");
        }
        (true, false) => service_backend(check, &service),
        (false, true) => {
            for field in ["kind", "name"] {
                if resource.at(field).is_empty() {
                    check.required(&resource.at(field).path, "");
                }
            }
        }
    }
}

fn service_backend(check: &mut Check, service: &Place<'_>) {
    let name = service.at("name");
    check.named(&name.path, name.text(), names::dns1035_label);
    let port = service.at("port");
    let (name, number) = (port.at("name"), port.at("number"));
    let has_number = number.number().is_some_and(|number| number != 0);
    match (!name.is_empty(), has_number) {
        (true, true) => {
            check.invalid(
                &port.path,
                port.value.clone(),
                "cannot set both port name & port number",
            );
        }
        (true, false) => {
            let wrong = names::port_name(name.text());
            check.errors.invalid_each(&name.path, name.text(), wrong);
        }
        (false, true) => {
            for message in names::port_number(number.number().unwrap_or_default()) {
                check.invalid(&number.path, number.value.clone(), &message);
            }
        }
        (false, false) => check.required(&port.path, "port name or number is required"),
    }
}
