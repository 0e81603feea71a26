//! RuntimeClasses: by what containers are run.

use kontiki_api::names;

use super::declared::{Declared, PLAIN};

/// The strategy of `runtimeclasses`.
pub(super) static STRATEGY: Declared = Declared {
    check: |check, class| {
        let handler = class.at("handler");
        let wrong = names::dns1123_label(handler.text());
        check.errors.invalid_each(&handler.path, handler.text(), wrong);
        check.amounts(&class.at("overhead").at("podFixed"));
        for (_, label) in class.at("scheduling").at("nodeSelector").entries() {
            let wrong = names::label_value(label.text());
            check.errors.invalid_each(&label.path, label.text(), wrong);
        }
    },
    check_update: |check, new, old| check.fixed(&new.at("handler"), &old.at("handler")),
    ..PLAIN
};
