//! `serviceaccounts/NAME/token`: a token for a service account, bound to what asks for it.

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::Timestamp;
use kontiki_api::{Status, field, meta};
use serde_json::{Value, json};

use super::ServeFuture;
use crate::{
    answer::{self, Body},
    authn::service_account::{Bound, Claims, Reference},
    core::Core,
    exchange::Exchange,
    schema::Expected,
    user::SERVICE_ACCOUNT_PREFIX,
    verbs::body,
};

const TOKEN_REQUEST: Expected<'_> =
    Expected { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" };
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;
const SECONDS_DEFAULT: i64 = 3600;
/// The period that marks a pod's default token; such tokens live longer than they say, so that
/// clients which never read the file again go on working.
const EXTENDED_FOR: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let mut request = body::read_kind(exchange, TOKEN_REQUEST).await?;
    let (namespace, name) = (exchange.info.namespace.clone(), exchange.info.name.clone());
    addressed(&request, &namespace, &name)?;
    let found = core.find("", "serviceaccounts", &namespace, &name).await?;
    let account = found.ok_or_else(|| Status::not_found("", "serviceaccounts", &name))?.value();
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(SECONDS_DEFAULT);
    validate(seconds, &name)?;
    if let Some(node) = exchange.user.node_name() {
        for_own_pod(core, exchange, &request, node).await?;
    }
    let (pod, node, secret) = bound_to(core, &request, &namespace, &name).await?;
    let asked: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let issuer = core.authenticator.tokens.issuer().to_owned();
    let audiences = if asked.is_empty() { vec![issuer.clone()] } else { asked };
    let now = exchange.now.as_second();
    let extended = seconds == EXTENDED_FOR && pod.is_some() && audiences == [issuer.clone()];
    let claims = Claims {
        aud: audiences.clone(),
        exp: now + if extended { EXTENDED_SECONDS } else { seconds },
        iat: now,
        iss: issuer,
        jti: uuid::Uuid::new_v4().to_string(),
        bound: Bound {
            namespace: namespace.clone(),
            node,
            pod,
            secret,
            serviceaccount: Reference { name: name.clone(), uid: meta::uid(&account).to_owned() },
            warnafter: extended.then_some(now + seconds),
        },
        nbf: now,
        sub: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
    };
    let token =
        core.authenticator.tokens.sign(&claims).map_err(|error| {
            Status::internal_error(&format!("failed to generate token: {error}"))
        })?;
    let expires = Timestamp::from_second(now + seconds)
        .map_err(|error| Status::internal_error(&error.to_string()))?;
    request["metadata"] = json!({"name": name, "namespace": namespace, "creationTimestamp": null});
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"token": token, "expirationTimestamp": meta::time(expires)});
    Ok(answer::value(StatusCode::CREATED, &request))
}

/// A request that names an account names the one it is sent to.
fn addressed(request: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    let own =
        [("name", meta::name(request), name), ("namespace", meta::namespace(request), namespace)];
    match own.into_iter().find(|(_, own, wanted)| !own.is_empty() && own != wanted) {
        Some((field, own, _)) => {
            let path = field::Path::new("metadata").child(field);
            let why = format!("must match the service account {field} if specified");
            Err(invalid(name, field::Error::invalid(&path, own, &why)))
        }
        None => Ok(()),
    }
}

fn validate(seconds: i64, name: &str) -> Result<(), Status> {
    let path = field::Path::new("spec").child("expirationSeconds");
    let why = match seconds {
        SECONDS_MIN..=SECONDS_MAX => return Ok(()),
        ..SECONDS_MIN => "may not specify a duration less than 10 minutes",
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(invalid(name, field::Error::invalid(&path, seconds, why)))
}

fn invalid(name: &str, error: field::Error) -> Status {
    Status::invalid(TOKEN_REQUEST.group, TOKEN_REQUEST.kind, name, &error.into())
}

type Bounds = (Option<Reference>, Option<Reference>, Option<Reference>);

/// A node asks for tokens of the pods that it runs, and for no others.
async fn for_own_pod(
    core: &Core,
    exchange: &Exchange,
    request: &Value,
    node: &str,
) -> Result<(), Status> {
    let (namespace, account) = (&exchange.info.namespace, &exchange.info.name);
    let refused = |why: &str| Err(Status::forbidden("", "serviceaccounts", account, why));
    let reference = &request["spec"]["boundObjectRef"];
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("v1", "Pod") || text("name").is_empty() {
        return refused("node requested token not bound to a pod");
    }
    if text("uid").is_empty() {
        return refused("node requested token with a pod binding without a uid");
    }
    let found = core.find("", "pods", namespace, text("name")).await?;
    let pod = found.ok_or_else(|| Status::not_found("", "pods", text("name")))?;
    if pod.field("spec.nodeName") != Some(node) {
        return refused("node requested token bound to a pod scheduled on a different node");
    }
    Ok(())
}

/// The pod (with its node), the node or the secret that the token is bound to.
async fn bound_to(
    core: &Core,
    request: &Value,
    namespace: &str,
    account: &str,
) -> Result<Bounds, Status> {
    let reference = &request["spec"]["boundObjectRef"];
    if !reference.is_object() {
        return Ok((None, None, None));
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let (resource, namespace) = match (kind, text("apiVersion")) {
        ("Node", "v1") => ("nodes", ""),
        ("Pod", "v1") => ("pods", namespace),
        ("Secret", "v1") => ("secrets", namespace),
        _ => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to type {:?}, Kind={kind}",
                text("apiVersion")
            )));
        }
    };
    let found = core.find("", resource, namespace, name).await?;
    let object = found.ok_or_else(|| Status::not_found("", resource, name))?.value();
    if !uid.is_empty() && uid != meta::uid(&object) {
        return Err(Status::conflict(
            "",
            resource,
            name,
            &format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The \
             object might have been deleted and then recreated"
            ),
        ));
    }
    let bound = Reference { name: name.to_owned(), uid: meta::uid(&object).to_owned() };
    match resource {
        "nodes" => return Ok((None, Some(bound), None)),
        "secrets" => return Ok((None, None, Some(bound))),
        _ => {}
    }
    let own = object["spec"]["serviceAccountName"].as_str().unwrap_or_default();
    if own != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different \
             serviceaccount name."
        )));
    }
    let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
    let node = match core.find("", "nodes", "", node).await? {
        Some(found) if !node.is_empty() => {
            Some(Reference { name: node.to_owned(), uid: meta::uid(&found.value()).to_owned() })
        }
        _ => None,
    };
    Ok((Some(bound), node, None))
}
