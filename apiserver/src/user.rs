//! Who makes a request.

use std::collections::BTreeMap;

/// An authenticated (or anonymous) user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Name: a certificate's common name, `system:serviceaccount:NS:NAME`, ...
    pub name: String,
    /// Unique id, where the authenticator knows one.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Whatever else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Members may do everything, whatever RBAC says.
pub const MASTERS: &str = "system:masters";
/// Everyone who is authenticated.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everyone who is not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Prefix of the names of service accounts.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Prefix of the names of nodes.
pub const NODE_PREFIX: &str = "system:node:";
/// All nodes.
pub const NODES: &str = "system:nodes";

impl UserInfo {
    /// An authenticated user of the given groups; `system:authenticated` is added.
    pub fn new(name: &str, groups: &[&str]) -> UserInfo {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        UserInfo { name: name.to_owned(), groups, ..UserInfo::default() }
    }

    /// Nobody in particular.
    pub fn anonymous() -> UserInfo {
        UserInfo {
            name: "system:anonymous".to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..UserInfo::default()
        }
    }

    /// Whether the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node this user is, if it is one.
    pub fn node_name(&self) -> Option<&str> {
        if self.in_group(NODES) { self.name.strip_prefix(NODE_PREFIX) } else { None }
    }
}
