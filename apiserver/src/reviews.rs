//! Resources that are questions: created, answered and forgotten.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{Status, field};
use serde_json::{Map, Value, json};

use crate::{
    answer::Body,
    authz::Attributes,
    core::Core,
    exchange::Exchange,
    request_info::RequestInfo,
    schema::Expected,
    user::UserInfo,
    verbs::{accept, bodies, body, metadata},
};

/// One kind of question.
pub struct Review {
    /// API group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural resource name.
    pub resource: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether it is asked in a namespace.
    pub namespaced: bool,
    answer: fn(&Core, &Exchange, &Value) -> Result<Value, Status>,
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// All kinds of questions, alphabetically in their groups.
pub static TABLE: &[Review] = &[
    Review {
        group: AUTHENTICATION,
        version: "v1",
        resource: "selfsubjectreviews",
        kind: "SelfSubjectReview",
        namespaced: false,
        answer: |_, exchange, _| Ok(json!({"userInfo": user_value(&exchange.user)})),
    },
    Review {
        group: AUTHENTICATION,
        version: "v1",
        resource: "tokenreviews",
        kind: "TokenReview",
        namespaced: false,
        answer: review_token,
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        resource: "localsubjectaccessreviews",
        kind: "LocalSubjectAccessReview",
        namespaced: true,
        answer: |core, _, review| {
            validate(review, true)?;
            Ok(access(core, &subject(review), &review["spec"]))
        },
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        resource: "selfsubjectaccessreviews",
        kind: "SelfSubjectAccessReview",
        namespaced: false,
        answer: |core, exchange, review| {
            validate(review, false)?;
            Ok(access(core, &exchange.user, &review["spec"]))
        },
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        resource: "selfsubjectrulesreviews",
        kind: "SelfSubjectRulesReview",
        namespaced: false,
        answer: review_rules,
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        resource: "subjectaccessreviews",
        kind: "SubjectAccessReview",
        namespaced: false,
        answer: |core, _, review| {
            validate(review, false)?;
            Ok(access(core, &subject(review), &review["spec"]))
        },
    },
];

/// The row of a request.
pub fn find(info: &RequestInfo) -> Option<&'static Review> {
    TABLE.iter().find(|review| {
        review.resource == info.resource
            && review.group == info.group
            && review.version == info.version
    })
}

/// Answers a question.
pub async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
    review: &'static Review,
) -> Result<Response<Body>, Status> {
    if exchange.info.verb != "create" {
        return Err(crate::verbs::method_not_allowed());
    }
    let agreed = accept::negotiate_answer(exchange.header(http::header::ACCEPT))?;
    let Review { group, version, kind, namespaced, .. } = *review;
    let mut value = body::read_kind(exchange, Expected { group, version, kind }).await?;
    if namespaced {
        metadata::within(&mut value, &exchange.info.namespace)?;
    }
    let status = (review.answer)(core, exchange, &value)?;
    if value["metadata"].is_null() {
        value["metadata"] = json!({"creationTimestamp": null});
    }
    value["status"] = status;
    bodies::answer(StatusCode::CREATED, &value, agreed)
}

/// A user as the API shows it.
fn user_value(user: &UserInfo) -> Value {
    let mut value = Map::new();
    value.insert("username".to_owned(), user.name.as_str().into());
    if !user.uid.is_empty() {
        value.insert("uid".to_owned(), user.uid.as_str().into());
    }
    value.insert("groups".to_owned(), user.groups.clone().into());
    if !user.extra.is_empty() {
        value.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(value)
}

fn review_token(core: &Core, exchange: &Exchange, review: &Value) -> Result<Value, Status> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = review["spec"]["audiences"].as_array().filter(|list| !list.is_empty());
    let audiences: Option<Vec<String>> =
        asked.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let found = core.authenticator.token(token, audiences.as_deref(), exchange.now, &core.caches);
    Ok(match found {
        Some(user) => {
            let own = vec![core.authenticator.tokens.issuer().to_owned()];
            json!({
                "authenticated": true,
                "user": user_value(&user),
                "audiences": audiences.unwrap_or(own),
            })
        }
        None => json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
    })
}

/// Whether a question about access can be answered: that of a namespace, of it alone
/// (upstream's `validation.ValidateSubjectAccessReview` and its kin).
fn validate(review: &Value, local: bool) -> Result<(), Status> {
    let at = field::Path::new("spec");
    let mut errors = field::Errors::new();
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_object(), path.is_object()) {
        (true, true) => errors.push(field::Error::invalid(
            &at.child("nonResourceAttributes"),
            path.clone(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(field::Error::invalid(
            &at.child("resourceAttributes"),
            "null",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let kind = review["kind"].as_str().unwrap_or_default();
    let is_empty = |field: &str| spec[field].as_str().unwrap_or_default().is_empty();
    let has_groups = spec["groups"].as_array().is_some_and(|groups| !groups.is_empty());
    if kind != "SelfSubjectAccessReview" && is_empty("user") && !has_groups {
        let why = "at least one of user or group must be specified";
        errors.push(field::Error::invalid(&at.child("user"), "", why));
    }
    let mut metadata = review["metadata"].as_object().cloned().unwrap_or_default();
    metadata.shift_remove("managedFields");
    let own = if local { metadata.shift_remove("namespace") } else { None };
    if !metadata.is_empty() {
        let but = if local { " except for namespace" } else { "" };
        let why = format!("must be empty{but}");
        let value = review["metadata"].clone();
        errors.push(field::Error::invalid(&field::Path::new("metadata"), value, &why));
    }
    if local {
        let of = resource["namespace"].as_str().unwrap_or_default();
        if resource.is_object() && of != own.as_ref().and_then(Value::as_str).unwrap_or_default() {
            let at = at.child("resourceAttributes").child("namespace");
            errors.push(field::Error::invalid(&at, of, "must match metadata.namespace"));
        }
        if path.is_object() {
            let why = "disallowed on this kind of request";
            errors.push(field::Error::invalid(
                &at.child("nonResourceAttributes"),
                path.clone(),
                why,
            ));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(AUTHORIZATION, kind, "", &errors)) }
}

/// The user of a question about somebody else.
fn subject(review: &Value) -> UserInfo {
    let spec = &review["spec"];
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.clone(), strings(values))).collect();
    UserInfo { name: text("user"), uid: text("uid"), groups: strings(&spec["groups"]), extra }
}

fn access(core: &Core, user: &UserInfo, spec: &Value) -> Value {
    let resource = &spec["resourceAttributes"];
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let is_resource = resource.is_object();
    let verb = if is_resource {
        text(resource, "verb")
    } else {
        text(&spec["nonResourceAttributes"], "verb")
    };
    let (namespace, group) = (text(resource, "namespace"), text(resource, "group"));
    let (name, subresource) = (text(resource, "name"), text(resource, "subresource"));
    let (kind, path) = (text(resource, "resource"), text(&spec["nonResourceAttributes"], "path"));
    let attributes = Attributes {
        user,
        verb: &verb,
        is_resource,
        namespace: &namespace,
        group: &group,
        resource: &kind,
        subresource: &subresource,
        name: &name,
        path: &path,
    };
    if !core.allows(&attributes) {
        return json!({"allowed": false});
    }
    match core.authorizer.load().reason(&attributes) {
        reason if reason.is_empty() => json!({"allowed": true}),
        reason => json!({"allowed": true, "reason": reason}),
    }
}

fn review_rules(core: &Core, exchange: &Exchange, review: &Value) -> Result<Value, Status> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if exchange.user.in_group(crate::user::MASTERS) {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let authorizer = core.authorizer.load();
    for rule in authorizer.rbac.rules_for(&exchange.user, namespace) {
        if let Some(urls) = &rule.non_resource_urls {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": urls}));
            continue;
        }
        let mut shown = json!({
            "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources,
        });
        if let Some(names) = &rule.resource_names {
            shown["resourceNames"] = json!(names);
        }
        resources.push(shown);
    }
    Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
}
