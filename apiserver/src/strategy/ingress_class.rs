//! IngressClasses: which controller looks after which Ingresses.

use kontiki_api::names;
use serde_json::Value;

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    place::Place,
    value,
};

const CONTROLLER_MAX: usize = 250;

/// The strategy of `ingressclasses`.
pub(super) static STRATEGY: Declared = Declared {
    defaults: |object: &mut Value| {
        let spec = value::child_or_new(object, "spec");
        if let Some(parameters) = value::child(spec, "parameters") {
            value::default(parameters, "scope", "Cluster");
        }
    },
    check,
    check_update: |check, new, old| {
        check.fixed(&new.at("spec").at("controller"), &old.at("spec").at("controller"));
    },
    has_generation: true,
    ..PLAIN
};

fn check(check: &mut Check, class: &Place<'_>) {
    let spec = class.at("spec");
    let controller = spec.at("controller");
    let text = controller.text();
    if text.len() > CONTROLLER_MAX {
        check.push(kontiki_api::field::Error::too_long(&controller.path, CONTROLLER_MAX));
    }
    domain_path(check, &controller);
    let parameters = spec.at("parameters");
    if !parameters.is_set() {
        return;
    }
    for field in ["kind", "name"] {
        if parameters.at(field).is_empty() {
            check.required(&parameters.at(field).path, &format!("{field} is required"));
        }
    }
    let (scope, namespace) = (parameters.at("scope"), parameters.at("namespace"));
    check.chosen(&scope, &["Cluster", "Namespace"]);
    match scope.text() {
        "Namespace" if namespace.is_empty() => {
            check.required(&namespace.path, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => {
            check.optional_named(&namespace.path, Some(namespace.text()), names::dns1123_label)
        }
        "Cluster" if namespace.is_set() => {
            check.forbidden(&namespace.path, "`parameters.scope` is set to 'Cluster'");
        }
        _ => {}
    }
}

/// A path below somebody's domain.
pub(super) fn domain_path(check: &mut Check, place: &Place<'_>) {
    let text = place.text();
    if text.is_empty() {
        return check.required(&place.path, "");
    }
    let Some((domain, path)) = text.split_once('/').filter(|(d, p)| !d.is_empty() && !p.is_empty())
    else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return check.invalid(&place.path, text, detail);
    };
    check.errors.invalid_each(&place.path, domain, names::dns1123_subdomain(domain));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !path.bytes().all(fits) {
        let detail = "Invalid path (e.g. '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+', regex used for \
                      validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        check.invalid(&place.path, path, detail);
    }
}
