//! The policy file: the first rule that matches a request says how much of it is logged.

use serde::Deserialize;

use crate::{request_info::RequestInfo, user::UserInfo};

/// How much of a request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[expect(missing_docs, reason = "the names are upstream's")]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// When something is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are upstream's")]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// What is logged of what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    api_version: String,
    kind: String,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("failed decoding: {0}")]
    Unreadable(String),
    /// It is of another kind or version.
    #[error("unknown group version field {0} in policy")]
    Version(String),
    /// It says nothing.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
    /// A rule contradicts itself.
    #[error("rules[{at}].{field}: Invalid value: {why}")]
    Rule {
        /// Number of the rule.
        at: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// What the policy says of one request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    omit_stages: Vec<Stage>,
    pub(super) omits_managed_fields: bool,
}

impl Verdict {
    pub(super) fn omits(&self, stage: Stage) -> bool {
        self.omit_stages.contains(&stage)
    }
}

impl Policy {
    /// Reads and checks a policy file.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let policy: Policy = serde_saphyr::from_str(text)
            .map_err(|error| PolicyError::Unreadable(error.to_string()))?;
        if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
            let what = format!("{}, Kind={}", policy.api_version, policy.kind);
            return Err(PolicyError::Version(what));
        }
        if policy.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|(field, why)| PolicyError::Rule { at, field, why })?;
        }
        Ok(policy)
    }

    /// The verdict of the first rule that matches; what none matches is not logged.
    pub(super) fn judge(&self, user: &UserInfo, info: &RequestInfo) -> Verdict {
        let found = self.rules.iter().find(|rule| rule.matches(user, info));
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(found.iter().flat_map(|rule| &rule.omit_stages));
        let own = found.and_then(|rule| rule.omit_managed_fields);
        Verdict {
            level: found.map_or(Level::None, |rule| rule.level),
            omit_stages,
            omits_managed_fields: own.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.non_resource_urls.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            return Err(("nonResourceURLs", format!("{:?}: {why}", self.non_resource_urls)));
        }
        for url in self.non_resource_urls.iter().filter(|url| *url != "*") {
            if !url.starts_with('/') {
                let why = "non-resource URL rules must begin with a '/' character";
                return Err(("nonResourceURLs", format!("{url:?}: {why}")));
            }
            if url.trim_end_matches('*').contains('*') || url.ends_with("**") {
                let why = "non-resource URL wildcards '*' must be the final character of the rule";
                return Err(("nonResourceURLs", format!("{url:?}: {why}")));
            }
        }
        for resources in &self.resources {
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                return Err(("resources", format!("{:?}: {why}", resources.resource_names)));
            }
        }
        Ok(())
    }

    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        let any = |list: &[String], value: &str| {
            list.is_empty() || list.iter().any(|entry| entry == value)
        };
        let groups = self.user_groups.is_empty()
            || self.user_groups.iter().any(|group| user.in_group(group));
        if !any(&self.users, &user.name) || !groups || !any(&self.verbs, info.verb) {
            return false;
        }
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources {
            return info.is_resource
                && any(&self.namespaces, &info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.matches(info)));
        }
        if self.non_resource_urls.is_empty() {
            return true;
        }
        !info.is_resource && self.non_resource_urls.iter().any(|url| covers(url, &info.path))
    }
}

impl Resources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&info.name);
        let combined = if info.subresource.is_empty() {
            info.resource.clone()
        } else {
            format!("{}/{}", info.resource, info.subresource)
        };
        named
            && self.resources.iter().any(|entry| {
                let any_parent = entry.strip_prefix("*/");
                let any_child = entry.strip_suffix("/*");
                entry == "*"
                    || *entry == combined
                    || any_parent.is_some_and(|sub| !sub.is_empty() && sub == info.subresource)
                    || any_child.is_some_and(|parent| parent == info.resource)
            })
    }
}

fn covers(url: &str, path: &str) -> bool {
    url == "*" || url == path || url.strip_suffix('*').is_some_and(|head| path.starts_with(head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use http::Method;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: ["RequestReceived"]
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: ["watch"]
  resources: [{group: "", resources: ["endpoints", "services"]}]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: Request
  namespaces: ["kube-system"]
  resources: [{resources: ["configmaps"], resourceNames: ["a"]}]
- level: Metadata
  omitStages: ["ResponseStarted"]
  resources: [{resources: ["secrets", "pods/*", "*/scale"]}]
- level: RequestResponse
  userGroups: ["auditors"]
"#;

    fn level(user: &UserInfo, method: &Method, uri: &str) -> Level {
        let uri: http::Uri = uri.parse().unwrap();
        let query = Query::parse(uri.query().unwrap_or_default());
        let info = RequestInfo::parse(method, uri.path(), &query);
        Policy::parse(POLICY).unwrap().judge(user, &info).level
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let proxy = UserInfo::new("system:kube-proxy", &[]);
        let jane = UserInfo::new("jane", &["auditors"]);
        let eve = UserInfo::new("eve", &[]);
        let get = Method::GET;
        for (user, uri, expected) in [
            (&proxy, "/api/v1/services?watch=1", Level::None),
            (&proxy, "/api/v1/services", Level::None),
            (&jane, "/api/v1/services", Level::RequestResponse),
            (&jane, "/healthz/x", Level::None),
            (&jane, "/api/v1/namespaces/kube-system/configmaps/a", Level::Request),
            (&eve, "/api/v1/namespaces/kube-system/configmaps/b", Level::None),
            (&eve, "/api/v1/namespaces/x/secrets", Level::Metadata),
            (&eve, "/api/v1/namespaces/x/pods/p/log", Level::Metadata),
            (&eve, "/api/v1/namespaces/x/pods/p", Level::Metadata),
            (&eve, "/apis/apps/v1/namespaces/x/deployments/d/scale", Level::None),
        ] {
            assert_eq!(level(user, &get, uri), expected, "{} {uri}", user.name);
        }
        let info = RequestInfo::parse(&get, "/api/v1/secrets", &Query::default());
        let verdict = Policy::parse(POLICY).unwrap().judge(&eve, &info);
        assert!(verdict.omits(Stage::RequestReceived) && verdict.omits(Stage::ResponseStarted));
        assert!(!verdict.omits(Stage::ResponseComplete));
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused() {
        let refused = |rules: &str| {
            let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n");
            Policy::parse(&text).unwrap_err().to_string()
        };
        assert_eq!(refused("[]"), "loaded illegal policy with 0 rules");
        assert_eq!(
            refused("[{level: None, namespaces: [a], nonResourceURLs: [/x]}]"),
            "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both \
             regular resources and non-resource URLs"
        );
        assert_eq!(
            refused("[{level: None, nonResourceURLs: [x]}]"),
            "rules[0].nonResourceURLs: Invalid value: \"x\": non-resource URL rules must begin \
             with a '/' character"
        );
        assert!(refused("[{level: Everything}]").starts_with("failed decoding: "));
        assert!(Policy::parse("kind: Policy\napiVersion: v1\nrules: [{level: None}]").is_err());
    }
}
