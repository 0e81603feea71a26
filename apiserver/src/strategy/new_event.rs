//! Events of `events.k8s.io`: the same objects as core's, in later words.

use std::time::Duration;

use kontiki_api::{field::Errors, names};
use serde_json::Value;

use super::{
    check::{self, Check},
    event,
    place::Place,
};
use crate::registry::Strategy;

const ACTION_MAX: usize = 128;
const REASON_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

/// The strategy of `events.events.k8s.io`.
pub(super) struct NewEvents;

impl Strategy for NewEvents {
    fn validate(&self, object: &Value) -> Errors {
        let mut check = Check::default();
        let event = Place::root(object);
        required(&mut check, &event);
        for field in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedSource"] {
            let old = event.at(field);
            if old.is_set() && !old.is_empty() {
                check.invalid(&old.path, old.value.clone(), "needs to be unset");
            }
        }
        check.errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let mut check = Check::default();
        let (new, old) = (Place::root(object), Place::root(old));
        // What was written through core need not be what is asked for here.
        for field in [
            "regarding",
            "related",
            "reportingController",
            "reportingInstance",
            "action",
            "reason",
            "type",
            "note",
            "eventTime",
        ] {
            check.fixed(&new.at(field), &old.at(field));
        }
        check.errors
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        check::name_with(names::dns1123_subdomain, name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn time_to_live(&self) -> Option<Duration> {
        Some(event::TIME_TO_LIVE)
    }
}

fn required(check: &mut Check, event: &Place<'_>) {
    if !event.at("eventTime").is_set() {
        check.required(&event.at("eventTime").path, "");
    }
    let controller = event.at("reportingController");
    if controller.is_empty() {
        check.required(&controller.path, "");
    } else {
        let wrong = names::qualified_name(controller.text());
        check.errors.invalid_each(&controller.path, controller.text(), wrong);
    }
    let bounded =
        [("reportingInstance", REASON_MAX), ("action", ACTION_MAX), ("reason", REASON_MAX)];
    for (field, max) in bounded {
        let text = event.at(field);
        if text.is_empty() {
            check.required(&text.path, "");
        }
        if text.text().len() > max {
            let detail = format!("can have at most {max} characters");
            check.invalid(&text.path, "", &detail);
        }
    }
    let note = event.at("note");
    if note.text().len() > NOTE_MAX {
        let detail = format!("can have at most {NOTE_MAX} characters");
        check.invalid(&note.path, "", &detail);
    }
    let kind = event.at("type");
    if !["Normal", "Warning"].contains(&kind.text()) {
        check.invalid(&kind.path, "", "has invalid value: ");
    }
    let (namespace, own) = (event.at("regarding").at("namespace"), event.at("metadata"));
    let own = own.at("namespace");
    let fits = match namespace.text() {
        "" => matches!(own.text(), "default" | "kube-system"),
        other => other == own.text(),
    };
    if !fits {
        check.invalid(&namespace.path, namespace.text(), "does not match event.namespace");
    }
}
