//! StorageClasses: kinds of storage, and who makes volumes of them.

use kontiki_api::names;
use serde_json::Value;

use super::{
    check::Check,
    declared::{Declared, PLAIN},
    place::Place,
    value,
};

const PARAMETERS_MAX: usize = 512;
const PARAMETER_BYTES_MAX: usize = 256 << 10;

/// The strategy of `storageclasses`.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    check,
    check_update: |check, new, old| {
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            let (now, was) = (new.at(field), old.at(field));
            if now.value != was.value && !(now.is_empty() && was.is_empty()) {
                check.forbidden(&now.path, &format!("updates to {field} are forbidden."));
            }
        }
        check.fixed(&new.at("volumeBindingMode"), &old.at("volumeBindingMode"));
    },
    creates_on_update: false,
    ..PLAIN
};

fn defaults(object: &mut Value) {
    value::default(object, "reclaimPolicy", "Delete");
    value::default(object, "volumeBindingMode", "Immediate");
}

fn check(check: &mut Check, class: &Place<'_>) {
    driver(check, &class.at("provisioner"));
    parameters(check, &class.at("parameters"));
    let policy = class.at("reclaimPolicy");
    if !policy.is_empty() {
        check.one_of(&policy.path, policy.text(), &["Delete", "Retain"]);
    }
    check.chosen(&class.at("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
    for term in class.at("allowedTopologies").items() {
        for expression in term.at("matchLabelExpressions").items() {
            let key = expression.at("key");
            check.errors.invalid_each(&key.path, key.text(), names::qualified_name(key.text()));
            if expression.at("values").is_empty() {
                check.required(&expression.at("values").path, "");
            }
        }
    }
}

/// The name of a driver or provisioner: a qualified name in lower case.
pub(super) fn driver(check: &mut Check, name: &Place<'_>) {
    if name.is_empty() {
        check.required(&name.path, "");
    } else {
        let wrong = names::qualified_name(&name.text().to_lowercase());
        check.errors.invalid_each(&name.path, name.text(), wrong);
    }
}

/// What is handed to a driver as it is.
pub(super) fn parameters(check: &mut Check, parameters: &Place<'_>) {
    if parameters.len() > PARAMETERS_MAX {
        check.push(kontiki_api::field::Error::too_long(&parameters.path, PARAMETERS_MAX));
    }
    let mut bytes = 0;
    for (key, entry) in parameters.entries() {
        if key.is_empty() {
            check.invalid(&parameters.path, "", "field can not be empty.");
        }
        bytes += key.len() + entry.text().len();
    }
    if bytes > PARAMETER_BYTES_MAX {
        check.push(kontiki_api::field::Error::too_long(&parameters.path, PARAMETER_BYTES_MAX));
    }
}
