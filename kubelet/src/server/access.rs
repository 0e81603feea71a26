//! Who may ask this kubelet what.
//!
//! A certificate says who asks, or a bearer token (see `bearer`). Members of `system:masters`,
//! the API server among them, may ask for everything; for anybody else the API server is asked,
//! under upstream's names: a request is about `nodes/NODE`, its subresource follows from the
//! path, its verb from the method. Whoever may not use the narrow subresource may still use it by
//! `nodes/proxy`, which stands for all of them.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::node::context::Context;

const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Who asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Caller {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: Value,
}

impl Caller {
    /// Reads what the API server says of a token; `None` if it is none of anybody's.
    pub(super) fn reviewed(review: &Value) -> Option<Caller> {
        let (status, user) = (&review["status"], &review["status"]["user"]);
        let groups = user["groups"].as_array().into_iter().flatten();
        let caller = || Caller {
            name: user["username"].as_str().unwrap_or_default().to_owned(),
            uid: user["uid"].as_str().unwrap_or_default().to_owned(),
            groups: groups.filter_map(|group| group.as_str().map(str::to_owned)).collect(),
            extra: user["extra"].clone(),
        };
        (status["authenticated"] == true).then(caller)
    }

    /// Reads the subject of a certificate that the handshake has verified.
    pub(super) fn of(der: &[u8]) -> Option<Caller> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
        let groups = groups.map(str::to_owned).collect();
        Some(Caller { name, uid: String::new(), groups, extra: Value::Null })
    }

    fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// What a request is about: the verb, and the subresources of which one must be allowed.
fn attributes(method: &Method, path: &str) -> (&'static str, Vec<&'static str>) {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let subresources = match first {
        "metrics" => vec!["metrics"],
        "stats" => vec!["stats"],
        "logs" => vec!["log"],
        "healthz" => vec!["healthz", "proxy"],
        "pods" | "runningpods" => vec!["pods", "proxy"],
        _ => vec!["proxy"],
    };
    (verb, subresources)
}

fn question(caller: &Caller, node: &str, verb: &str, subresource: &str) -> Value {
    let mut groups = caller.groups.clone();
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    let mut question = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": caller.name,
            "groups": groups,
            "resourceAttributes": {
                "verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource,
                "name": node,
            },
        },
    });
    if !caller.uid.is_empty() {
        question["spec"]["uid"] = caller.uid.as_str().into();
    }
    if !caller.extra.is_null() {
        question["spec"]["extra"] = caller.extra.clone();
    }
    question
}

/// Lets a request pass or says why not.
pub(super) async fn judge(
    context: &Context,
    caller: Option<&Caller>,
    method: &Method,
    path: &str,
) -> Result<(), (StatusCode, String)> {
    let Some(caller) = caller else {
        return Err((StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()));
    };
    if caller.is_master() {
        return Ok(());
    }
    let (verb, subresources) = attributes(method, path);
    for subresource in &subresources {
        let question = question(caller, &context.options.node_name, verb, subresource);
        let body = Some(("application/json", question.to_string().into_bytes()));
        let answer = context.client.call(Method::POST, REVIEWS, body).await.map_err(|error| {
            let problem = format!(
                "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})",
                caller.name
            );
            tracing::warn!("cannot ask whether {} may {verb} {path}: {error}", caller.name);
            (StatusCode::INTERNAL_SERVER_ERROR, problem)
        })?;
        let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer["status"]["allowed"] == true {
            return Ok(());
        }
    }
    let named = subresources.join(",");
    Err((
        StatusCode::FORBIDDEN,
        format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{named}])",
            caller.name
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_become_attributes() {
        let check = |method: Method, path: &str, expected: &str| {
            let (verb, subresources) = attributes(&method, path);
            assert_eq!(format!("{verb} {}", subresources.join(",")), expected, "{path}");
        };
        check(Method::GET, "/pods", "get pods,proxy");
        check(Method::GET, "/healthz", "get healthz,proxy");
        check(Method::GET, "/metrics", "get metrics");
        check(Method::GET, "/stats/summary", "get stats");
        check(Method::GET, "/containerLogs/a/b/c", "get proxy");
        check(Method::POST, "/exec/a/b/c", "create proxy");
        check(Method::GET, "/exec/a/b/c", "get proxy");
        check(Method::DELETE, "/anything", "delete proxy");
    }

    #[test]
    fn tokens_name_the_caller_with_all_that_is_known() {
        let review = json!({"status": {"authenticated": true, "user": {
            "username": "system:serviceaccount:m:prometheus", "uid": "7",
            "groups": ["system:serviceaccounts", AUTHENTICATED], "extra": {"a": ["b"]},
        }}});
        let caller = Caller::reviewed(&review).unwrap();
        assert!(!caller.is_master());
        let asked = question(&caller, "w1", "get", "metrics");
        assert_eq!(asked["spec"]["user"], "system:serviceaccount:m:prometheus");
        assert_eq!(asked["spec"]["groups"], json!(["system:serviceaccounts", AUTHENTICATED]));
        assert_eq!(
            (&asked["spec"]["uid"], &asked["spec"]["extra"]["a"][0]),
            (&json!("7"), &json!("b"))
        );
        assert_eq!(Caller::reviewed(&json!({"status": {"user": {}, "error": "x"}})), None);
    }

    #[test]
    fn certificates_name_the_caller() {
        use kontiki_base::{
            pki::{Authority, CertificateRequest},
            tls,
        };
        let authority = Authority::generate("test").unwrap();
        let caller = |name, group| {
            let identity = authority.issue(&CertificateRequest::client(name, group)).unwrap();
            let chain = tls::certificates(&identity.chain_pem).unwrap();
            Caller::of(&chain[0]).unwrap()
        };
        let node = caller("system:node:w1", Some("system:nodes"));
        assert_eq!((node.name.as_str(), node.is_master()), ("system:node:w1", false));
        assert!(caller("kube-apiserver-kubelet-client", Some(MASTERS)).is_master());
        let asked = question(&node, "w2", "create", "proxy");
        assert_eq!(asked["spec"]["groups"], json!(["system:nodes", AUTHENTICATED]));
        assert_eq!(asked["spec"]["resourceAttributes"]["name"], "w2");
    }
}
