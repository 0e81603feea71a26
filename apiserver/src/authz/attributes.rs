//! What an authoriser is asked.

use crate::{request_info::RequestInfo, user::UserInfo};

/// One question: may this user do this?
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a UserInfo,
    /// Verb.
    pub verb: &'a str,
    /// Whether it is about a resource.
    pub is_resource: bool,
    /// Namespace; empty for cluster scope and across all.
    pub namespace: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource; empty if none.
    pub subresource: &'a str,
    /// Object name; empty for collections.
    pub name: &'a str,
    /// Path of a non-resource request.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// The question that a request asks.
    pub fn of_request(user: &'a UserInfo, info: &'a RequestInfo) -> Attributes<'a> {
        Attributes {
            user,
            verb: info.verb,
            is_resource: info.is_resource,
            namespace: &info.namespace,
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            name: &info.name,
            path: &info.path,
        }
    }

    /// `RESOURCE[/SUBRESOURCE]`.
    pub fn combined_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// What the user is told who may not, in upstream's words.
    pub fn forbidden_text(&self) -> String {
        let user = &self.user.name;
        if !self.is_resource {
            return format!("User {user:?} cannot {} path {:?}", self.verb, self.path);
        }
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", self.namespace)
        };
        format!(
            "User {user:?} cannot {} resource {:?} in API group {:?} {scope}",
            self.verb,
            self.combined_resource(),
            self.group,
        )
    }
}
