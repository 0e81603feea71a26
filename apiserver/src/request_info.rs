//! What a request is about, read from its method and path alone.
//!
//! ```text
//! /api/VERSION/...                            core group
//! /apis/GROUP/VERSION/...                     any other group
//!   [watch/][namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE...]]
//! ```
//!
//! Everything else is a non-resource request: its verb is the method in lower case. Authorisation,
//! routing, limits and metrics all work from this one reading.

use http::Method;

use crate::query::Query;

/// The reading of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource.
    pub is_resource: bool,
    /// The path as asked.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, ...; for non-resource requests the method in lower case.
    pub verb: &'static str,
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace; empty for cluster-scoped requests and across all namespaces.
    pub namespace: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource; empty if none.
    pub subresource: String,
    /// Object name; empty for collections.
    pub name: String,
}

const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads method, path and query.
    pub fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
        let mut info = RequestInfo {
            path: path.to_owned(),
            verb: method_verb(method),
            ..RequestInfo::default()
        };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let rest = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => return info,
        };
        info.is_resource = true;
        info.verb = resource_verb(method);
        let rest = match rest {
            ["watch", rest @ ..] => {
                info.verb = "watch";
                rest
            }
            rest => rest,
        };
        info.read_object(rest);
        info.refine_verb(query);
        info
    }

    fn read_object(&mut self, rest: &[&str]) {
        let rest = match rest {
            ["namespaces", namespace, sub, ..] if !NAMESPACE_SUBRESOURCES.contains(sub) => {
                self.namespace = (*namespace).to_owned();
                &rest[2..]
            }
            ["namespaces", namespace, ..] => {
                self.namespace = (*namespace).to_owned();
                rest
            }
            _ => rest,
        };
        let mut parts = rest.iter();
        let mut next = || parts.next().copied().unwrap_or_default().to_owned();
        self.resource = next();
        self.name = next();
        self.subresource = next();
    }

    fn refine_verb(&mut self, query: &Query) {
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection";
        }
        if self.name.is_empty() && self.verb == "get" {
            self.verb = "list";
        }
        // Watching one object by name is an old form of a list with a field selector.
        if matches!(self.verb, "list" | "get") && self.subresource.is_empty() && query.flag("watch")
        {
            self.verb = "watch";
        }
        if matches!(self.verb, "list" | "watch" | "deletecollection") && self.name.is_empty() {
            let selected = query.get("fieldSelector").and_then(single_name);
            self.name = selected.unwrap_or_default().to_owned();
        }
    }

    /// Whether it may take as long as it likes.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || matches!(
                self.subresource.as_str(),
                "attach" | "exec" | "log" | "portforward" | "proxy"
            )
    }

    /// `RESOURCE[.GROUP]`, as messages name it.
    pub fn qualified_resource(&self) -> String {
        qualified(&self.resource, &self.group)
    }

    /// `cluster`, `namespace` or `resource`, as metrics name it.
    pub fn scope(&self) -> &'static str {
        match (self.is_resource, self.name.is_empty(), self.namespace.is_empty()) {
            (false, ..) => "",
            (_, false, _) => "resource",
            (_, _, false) => "namespace",
            _ => "cluster",
        }
    }
}

/// `RESOURCE[.GROUP]`.
pub fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// The name that a selector `metadata.name=NAME` asks for.
fn single_name(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let value = term.trim().strip_prefix("metadata.name=")?;
        Some(value.trim_start_matches('='))
    })
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "",
    }
}

fn resource_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, uri: &str, expected: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let info = RequestInfo::parse(method, path, &Query::parse(query));
        let seen = if info.is_resource {
            format!(
                "{} {}/{} ns={} {}/{} name={}",
                info.verb,
                info.group,
                info.version,
                info.namespace,
                info.resource,
                info.subresource,
                info.name
            )
        } else {
            format!("{} non-resource", info.verb)
        };
        assert_eq!(seen, expected, "{uri}");
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        let get = Method::GET;
        check(&get, "/api", "get non-resource");
        check(&get, "/api/v1", "get non-resource");
        check(&get, "/apis/apps/v1", "get non-resource");
        check(&get, "/readyz?verbose", "get non-resource");
        check(&get, "/api/v1/pods", "list /v1 ns= pods/ name=");
        check(&get, "/api/v1/namespaces", "list /v1 ns= namespaces/ name=");
        check(&get, "/api/v1/namespaces/a", "get /v1 ns=a namespaces/ name=a");
        check(&get, "/api/v1/namespaces/a/pods", "list /v1 ns=a pods/ name=");
        check(&get, "/api/v1/namespaces/a/pods/b", "get /v1 ns=a pods/ name=b");
        check(&get, "/api/v1/namespaces/a/pods/b/log", "get /v1 ns=a pods/log name=b");
        check(&get, "/api/v1/nodes/n/status", "get /v1 ns= nodes/status name=n");
        check(&get, "/api/v1/pods?watch=true", "watch /v1 ns= pods/ name=");
        check(&get, "/api/v1/watch/pods", "watch /v1 ns= pods/ name=");
        check(
            &get,
            "/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Db",
            "watch /v1 ns=a pods/ name=b",
        );
        check(
            &Method::PUT,
            "/api/v1/namespaces/a/finalize",
            "update /v1 ns=a namespaces/finalize name=a",
        );
        check(
            &Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            "deletecollection apps/v1 ns=a deployments/ name=",
        );
        check(
            &Method::POST,
            "/apis/apps/v1/namespaces/a/deployments",
            "create apps/v1 ns=a deployments/ name=",
        );
    }
}
