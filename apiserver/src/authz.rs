//! Who may do what: RBAC, and for nodes only what concerns their own pods.

pub mod attributes;
pub mod follow;
pub mod node;
pub mod policy;
pub mod rbac;

pub use attributes::Attributes;

use crate::{cache::Caches, user::MASTERS};
use rbac::Policy;

/// A compiled set of rules. Replaced as a whole when the RBAC objects change.
#[derive(Default)]
pub struct Authorizer {
    /// What roles and bindings say.
    pub rbac: Policy,
}

impl Authorizer {
    /// Whether a user may do something.
    pub fn allows(&self, attributes: &Attributes<'_>, caches: &Caches) -> bool {
        attributes.user.in_group(MASTERS)
            || node::allows(attributes, caches)
            || self.rbac.allows(attributes)
    }
}
