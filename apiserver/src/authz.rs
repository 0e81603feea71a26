//! Who may do what: RBAC, and for nodes only what concerns their own pods.

pub mod attributes;
pub mod follow;
pub mod node;
pub mod policy;
pub mod rbac;

pub use attributes::Attributes;

use std::str::FromStr;

use crate::{cache::Caches, user::MASTERS};
use rbac::Policy;

/// One way to decide, by upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is, unless another mode allows it.
    AlwaysDeny,
    /// What roles and bindings say.
    Rbac,
    /// Nodes see what their pods need.
    Node,
}

impl Mode {
    /// What is asked unless somebody says otherwise.
    pub const DEFAULT: [Mode; 2] = [Mode::Node, Mode::Rbac];
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        match text {
            "AlwaysAllow" => Ok(Mode::AlwaysAllow),
            "AlwaysDeny" => Ok(Mode::AlwaysDeny),
            "RBAC" => Ok(Mode::Rbac),
            "Node" => Ok(Mode::Node),
            _ => Err(format!(
                "authorization-mode {text:?} is not a valid mode; there are AlwaysAllow, \
                 AlwaysDeny, Node and RBAC"
            )),
        }
    }
}

/// A compiled set of rules. Replaced as a whole when the RBAC objects change.
#[derive(Default)]
pub struct Authorizer {
    /// Who is asked, in order.
    pub modes: Vec<Mode>,
    /// What roles and bindings say.
    pub rbac: Policy,
}

impl Authorizer {
    /// Whether a user may do something.
    pub fn allows(&self, attributes: &Attributes<'_>, caches: &Caches) -> bool {
        attributes.user.in_group(MASTERS)
            || self.modes.iter().any(|mode| match mode {
                Mode::AlwaysAllow => true,
                Mode::AlwaysDeny => false,
                Mode::Node => node::allows(attributes, caches),
                Mode::Rbac => self.rbac.allows(attributes),
            })
    }

    /// Why something is allowed, for the audit log and for who asks; empty where there is nothing to say.
    pub fn reason(&self, attributes: &Attributes<'_>) -> String {
        let rbac = self.modes.contains(&Mode::Rbac) && !attributes.user.in_group(MASTERS);
        let by = rbac.then(|| self.rbac.allowed_by(attributes)).flatten();
        by.unwrap_or_default()
    }
}
