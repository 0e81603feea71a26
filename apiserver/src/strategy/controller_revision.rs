//! ControllerRevisions: what a template was, so that a controller can go back to it.

use super::declared::{Declared, PLAIN};

/// The strategy of `controllerrevisions`.
pub(super) static STRATEGY: Declared = Declared {
    check: |check, object| {
        if !object.at("data").is_set() {
            check.required(&object.at("data").path, "data is mandatory");
        }
        check.counts(object, &["revision"]);
    },
    check_update: |check, new, old| check.fixed(&new.at("data"), &old.at("data")),
    ..PLAIN
};
