//! PersistentVolumeClaims: how much of which storage somebody wants.

use kontiki_api::{field::Error, names, quantity::Quantity};
use serde_json::{Value, json};

use super::{
    check::{Check, amount_text},
    declared::{Declared, PLAIN},
    persistent_volume::{ACCESS_MODES, VOLUME_MODES},
    place::Place,
    value,
};

/// The strategy of `persistentvolumeclaims`.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    create: |object, _| value::set(object, "status", json!({"phase": "Pending"})),
    check: |check, claim| check_spec(check, &claim.at("spec")),
    check_update,
    check_status: |check, new, _| {
        let status = new.at("status");
        check.amounts(&status.at("capacity"));
        check.amounts(&status.at("allocatedResources"));
    },
    has_status: true,
    ..PLAIN
};

/// Sets the defaults of a claim.
pub(super) fn defaults(object: &mut Value) {
    value::default(value::child_or_new(object, "status"), "phase", "Pending");
    let spec = value::child_or_new(object, "spec");
    value::default(spec, "volumeMode", "Filesystem");
    // Either field says where the data comes from; the older one cannot say everything.
    for (field, other) in [("dataSource", "dataSourceRef"), ("dataSourceRef", "dataSource")] {
        let crosses = !spec[field]["namespace"].is_null();
        if spec[field].is_object() && !spec[other].is_object() && !crosses {
            let source = spec[field].clone();
            value::set(spec, other, source);
        }
    }
}

/// Checks the spec of a claim, or of the template of one.
pub(super) fn check_spec(check: &mut Check, spec: &Place<'_>) {
    let modes = spec.at("accessModes");
    if modes.is_empty() {
        check.required(&modes.path, "at least 1 access mode is required");
    }
    if spec.at("selector").is_set() {
        check.selects(&spec.at("selector"));
    }
    access_modes(check, &modes);
    let requests = spec.at("resources").at("requests");
    let storage = requests.at("storage");
    let storage_path = requests.path.key("storage");
    if storage.is_set() {
        let text = amount_text(storage.value);
        match Quantity::parse(&text) {
            Ok(amount) if amount.is_negative() || amount.is_zero() => {
                check.invalid(&storage_path, &*text, "must be greater than zero");
            }
            Ok(_) => {}
            Err(error) => check.invalid(&storage_path, &*text, &error.to_string()),
        }
    } else {
        check.required(&storage_path, "");
    }
    let class = spec.at("storageClassName");
    check.optional_named(&class.path, Some(class.text()), names::dns1123_subdomain);
    check.chosen_if_set(&spec.at("volumeMode"), VOLUME_MODES);
    let attributes = spec.at("volumeAttributesClassName");
    check.optional_named(&attributes.path, Some(attributes.text()), names::dns1123_subdomain);
    for source in ["dataSource", "dataSourceRef"].map(|field| spec.at(field)) {
        data_source(check, &source);
    }
}

fn data_source(check: &mut Check, source: &Place<'_>) {
    if !source.is_set() {
        return;
    }
    for field in ["name", "kind"] {
        if source.at(field).is_empty() {
            check.required(&source.at(field).path, "");
        }
    }
    if source.at("apiGroup").is_empty() && source.at("kind").text() != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        check.invalid(&source.path, source.at("kind").text(), detail);
    }
}

/// Checks a list of access modes.
pub(super) fn access_modes(check: &mut Check, modes: &Place<'_>) {
    let (mut alone, mut others) = (false, false);
    for mode in modes.items() {
        if ACCESS_MODES.contains(&mode.text()) {
            let single = mode.text() == "ReadWriteOncePod";
            alone |= single;
            others |= !single;
        } else {
            check.push(Error::not_supported(&modes.path, mode.text(), ACCESS_MODES));
        }
    }
    if alone && others {
        let detail = "may not use ReadWriteOncePod with other access modes";
        check.forbidden(&modes.path, detail);
    }
}

fn check_update(check: &mut Check, new: &Place<'_>, old: &Place<'_>) {
    let (spec, before) = (new.at("spec"), old.at("spec"));
    let mut allowed = before.value.clone();
    let bound = old.at("status").at("phase").text() == "Bound";
    // The binder says which volume it is, once.
    if before.at("volumeName").is_empty() {
        copy(&mut allowed, spec.value, "volumeName");
    }
    // A claim without a class gets the default one when there is one.
    if !before.at("storageClassName").is_set() && before.at("volumeName").is_empty() {
        copy(&mut allowed, spec.value, "storageClassName");
    }
    if bound {
        let requested = spec.at("resources").at("requests").at("storage").value.clone();
        let resources = value::child_or_new(&mut allowed, "resources");
        value::set(value::child_or_new(resources, "requests"), "storage", requested);
    }
    copy(&mut allowed, spec.value, "volumeAttributesClassName");
    if allowed != *spec.value {
        let detail = "spec is immutable after creation except resources.requests and \
                      volumeAttributesClassName for bound claims";
        check.forbidden(&spec.path, detail);
    }
    let amount = |place: &Place<'_>| Quantity::parse(&amount_text(place.at("storage").value)).ok();
    let request = |spec: &Place<'_>| amount(&spec.at("resources").at("requests"));
    let capacity = amount(&old.at("status").at("capacity")).unwrap_or_default();
    if let (Some(now), Some(was)) = (request(&spec), request(&before))
        && now < was
        && now <= capacity
    {
        let path = spec.at("resources").at("requests").path.key("storage");
        check.forbidden(&path, "field can not be less than status.capacity");
    }
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(wanted) => value::set(to, field, wanted.clone()),
        None => value::unset(to, field),
    }
}
