//! Which flow schema a request belongs to: pure, from what the objects say and who asks for what.

use serde_json::Value;

use crate::{
    request_info::RequestInfo,
    user::{SERVICE_ACCOUNT_PREFIX, UserInfo},
};

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    /// Nothing: they are one flow.
    None,
    /// Who asks.
    User,
    /// The namespace asked for.
    Namespace,
}

/// One flow schema.
#[derive(Debug)]
pub struct Matcher {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Schemas are tried from the lowest to the highest.
    pub precedence: i64,
    /// The priority level of its requests.
    pub level: String,
    /// What tells its flows apart.
    pub distinguisher: Distinguisher,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    urls: Vec<UrlRule>,
}

#[derive(Debug, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
    /// All accounts of a namespace: how their users' names begin.
    Accounts(String),
    Nobody,
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Words,
    groups: Words,
    resources: Words,
    cluster_scope: bool,
    namespaces: Words,
}

#[derive(Debug)]
struct UrlRule {
    verbs: Words,
    urls: Vec<String>,
}

/// Some words, or all there are (`*`).
#[derive(Debug)]
struct Words {
    all: bool,
    words: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

impl Words {
    fn of(rule: &Value, field: &str) -> Words {
        let words: Vec<String> = items(rule, field).map(text).collect();
        Words { all: words.iter().any(|word| word == "*"), words }
    }

    fn has(&self, wanted: &str) -> bool {
        self.all || self.words.iter().any(|word| word == wanted)
    }

    fn has_part(&self, resource: &str, subresource: &str) -> bool {
        self.all
            || self.words.iter().any(|word| {
                let rest = word.strip_prefix(resource);
                rest.and_then(|rest| rest.strip_prefix('/')) == Some(subresource)
            })
    }
}

impl Matcher {
    /// Reads a `FlowSchema`.
    pub fn read(schema: &Value) -> Matcher {
        let (metadata, spec) = (&schema["metadata"], &schema["spec"]);
        let distinguisher = match spec["distinguisherMethod"]["type"].as_str() {
            Some("ByUser") => Distinguisher::User,
            Some("ByNamespace") => Distinguisher::Namespace,
            _ => Distinguisher::None,
        };
        let rule = |rule: &Value| Rule {
            subjects: items(rule, "subjects").map(Subject::read).collect(),
            resources: items(rule, "resourceRules").map(ResourceRule::read).collect(),
            urls: items(rule, "nonResourceRules").map(UrlRule::read).collect(),
        };
        Matcher {
            name: text(&metadata["name"]),
            uid: text(&metadata["uid"]),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or_default(),
            level: text(&spec["priorityLevelConfiguration"]["name"]),
            distinguisher,
            rules: items(spec, "rules").map(rule).collect(),
        }
    }

    /// Whether a request is of this schema.
    pub fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && if info.is_resource {
                    rule.resources.iter().any(|resource| resource.covers(info))
                } else {
                    rule.urls.iter().any(|url| url.covers(info))
                }
        })
    }

    /// What tells this request's flow from others of the schema.
    pub fn flow<'a>(&self, user: &'a UserInfo, info: &'a RequestInfo) -> &'a str {
        match self.distinguisher {
            Distinguisher::None => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => &info.namespace,
        }
    }
}

impl Subject {
    fn read(subject: &Value) -> Subject {
        let name = |field: &str| text(&subject[field]["name"]);
        match subject["kind"].as_str() {
            Some("User") => Subject::User(name("user")),
            Some("Group") => Subject::Group(name("group")),
            Some("ServiceAccount") => {
                let namespace = text(&subject["serviceAccount"]["namespace"]);
                let accounts = format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:");
                match name("serviceAccount").as_str() {
                    "*" => Subject::Accounts(accounts),
                    name => Subject::User(accounts + name),
                }
            }
            _ => Subject::Nobody,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == user.name,
            Subject::Group(group) => group == "*" || user.in_group(group),
            Subject::Accounts(prefix) => user.name.starts_with(prefix.as_str()),
            Subject::Nobody => false,
        }
    }
}

impl ResourceRule {
    fn read(rule: &Value) -> ResourceRule {
        ResourceRule {
            verbs: Words::of(rule, "verbs"),
            groups: Words::of(rule, "apiGroups"),
            resources: Words::of(rule, "resources"),
            cluster_scope: rule["clusterScope"].as_bool().unwrap_or_default(),
            namespaces: Words::of(rule, "namespaces"),
        }
    }

    fn covers(&self, info: &RequestInfo) -> bool {
        let resource = if info.subresource.is_empty() {
            self.resources.has(&info.resource)
        } else {
            self.resources.has_part(&info.resource, &info.subresource)
        };
        let place = if info.namespace.is_empty() {
            self.cluster_scope
        } else {
            self.namespaces.has(&info.namespace)
        };
        resource && place && self.verbs.has(info.verb) && self.groups.has(&info.group)
    }
}

impl UrlRule {
    fn read(rule: &Value) -> UrlRule {
        let urls = items(rule, "nonResourceURLs").map(text).collect();
        UrlRule { verbs: Words::of(rule, "verbs"), urls }
    }

    fn covers(&self, info: &RequestInfo) -> bool {
        self.verbs.has(info.verb)
            && self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => info.path.starts_with(prefix),
                None => info.path == *url,
            })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{bootstrap::flow_schemas, query::Query};

    /// The schema and flow of a request, among those that every cluster begins with.
    fn check(user: &str, groups: &[&str], method: &Method, uri: &str, expected: &str) {
        let mut schemas: Vec<Matcher> = flow_schemas().iter().map(Matcher::read).collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let info = RequestInfo::parse(method, path, &Query::parse(query));
        let user = match user {
            "anonymous" => UserInfo::anonymous(),
            name => UserInfo::new(name, groups),
        };
        let found = schemas.iter().find(|schema| schema.matches(&user, &info)).unwrap();
        let seen = format!("{} {} {}", found.name, found.level, found.flow(&user, &info));
        assert_eq!(seen.trim(), expected, "{} {method} {uri}", user.name);
    }

    #[test]
    fn requests_are_told_apart_as_upstream_tells_them() {
        let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
        let pods = "/api/v1/namespaces/a/pods";
        check("root", &["system:masters"], &get, pods, "exempt exempt");
        check("anonymous", &[], &get, "/readyz", "probes exempt");
        check("anonymous", &[], &get, "/version", "global-default global-default system:anonymous");
        check("jane", &[], &post, pods, "global-default global-default jane");
        let node = "system:node:n1";
        let nodes: &[&str] = &["system:nodes"];
        let status = "/api/v1/nodes/n1/status";
        check(node, nodes, &put, status, "system-node-high node-high system:node:n1");
        check(node, nodes, &put, lease, "system-node-high node-high system:node:n1");
        check(node, nodes, &get, "/api/v1/nodes/n1/proxy", "system-nodes system system:node:n1");
        check(node, nodes, &get, pods, "system-nodes system system:node:n1");
        let manager = "system:kube-controller-manager";
        check(
            manager,
            &[],
            &put,
            lease,
            &format!("system-leader-election leader-election {manager}"),
        );
        check(manager, &[], &get, pods, "kube-controller-manager workload-high a");
        check(
            manager,
            &[],
            &get,
            "/api/v1/namespaces/a/endpoints/x",
            &format!("endpoint-controller workload-high {manager}"),
        );
        check("system:kube-scheduler", &[], &get, "/api/v1/pods", "kube-scheduler workload-high");
        let accounts: &[&str] = &["system:serviceaccounts"];
        let own = "system:serviceaccount:kube-system:x";
        check(own, accounts, &get, pods, "kube-system-service-accounts workload-high a");
        let other = "system:serviceaccount:apps:x";
        check(other, accounts, &get, pods, &format!("service-accounts workload-low {other}"));
    }
}
