//! PodTemplates: a template by itself.

use super::{
    declared::{Declared, PLAIN},
    replica_set, template,
};

/// The strategy of `podtemplates`.
pub(super) static STRATEGY: Declared = Declared {
    defaults: replica_set::template_defaults,
    check: |check, object| template::check(check, &object.at("template")),
    ..PLAIN
};
