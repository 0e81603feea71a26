//! `metav1.Status`: how every refusal, and some successes, read on the wire.
//!
//! Reasons, codes and messages are upstream's, because clients branch on the reason and users
//! search for the message. This is the only file that makes them.

use serde_json::{Map, Value, json};

use crate::{catalogue::Row, field};

/// One cause among the details of a Status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable, e.g. `FieldValueRequired`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field's path; empty if no field is meant.
    pub field: String,
}

/// What a Status is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// API group.
    pub group: String,
    /// Plural resource name, or kind for `Invalid`.
    pub kind: String,
    /// The object's uid.
    pub uid: String,
    /// All that is wrong.
    pub causes: Vec<Cause>,
    /// When to come again; 0 if it does not help.
    pub retry_after_seconds: u32,
}

/// The outcome of a request that does not answer with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason; empty for a plain success.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: where a list may go on that could not be continued as it was.
    pub continue_token: Option<Box<str>>,
}

/// What a conflict says when somebody else wrote the object first.
pub const STALE: &str = "the object has been modified; please apply your changes to the latest \
                         version and try again";

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into(), details: None, continue_token: None }
    }

    fn about(
        code: u16,
        reason: &'static str,
        (group, resource, name): (&str, &str, &str),
        message: String,
    ) -> Status {
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: resource.to_owned(),
            ..Details::default()
        };
        let details = Some(Box::new(details));
        Status { code, reason, message, details, continue_token: None }
    }

    /// A success about one object, such as its deletion.
    pub fn success(group: &str, resource: &str, name: &str, uid: &str) -> Status {
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: resource.to_owned(),
            uid: uid.to_owned(),
            ..Details::default()
        };
        let details = Some(Box::new(details));
        Status { code: 200, reason: "", message: String::new(), details, continue_token: None }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::plain(400, "BadRequest", message)
    }

    /// 401: nobody knows who asks.
    pub fn unauthorized() -> Status {
        Status::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 403: `PODS "NAME" is forbidden: WHY`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{} is forbidden: {why}", qualified(resource, group)),
            (false, false) => {
                format!("{} {name:?} is forbidden: {why}", qualified(resource, group))
            }
        };
        Status::about(403, "Forbidden", (group, resource, name), message)
    }

    /// 404: no such object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
        let message = format!("{} {name:?} not found", qualified(resource, group));
        Status::about(404, "NotFound", (group, resource, name), message)
    }

    /// 404: no such object of a row's resource.
    pub fn row_not_found(row: &Row, name: &str) -> Status {
        Status::not_found(&row.group, &row.resource, name)
    }

    /// 404: no such resource.
    pub fn no_such_resource() -> Status {
        let details = Some(Box::default());
        let message = "the server could not find the requested resource".to_owned();
        Status { code: 404, reason: "NotFound", message, details, continue_token: None }
    }

    /// 405: the verb is not supported there.
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Status {
        let qualified = qualified(resource, group);
        let message = format!("{verb} is not supported on resources of kind {qualified:?}");
        Status::about(405, "MethodNotAllowed", (group, resource, ""), message)
    }

    /// 406: none of the accepted media types can be produced.
    pub fn not_acceptable(accepted: &[&str]) -> Status {
        let message =
            format!("only the following media types are accepted: {}", accepted.join(", "));
        Status::plain(406, "NotAcceptable", message)
    }

    /// 409: an object of that name exists.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
        let message = format!("{} {name:?} already exists", qualified(resource, group));
        Status::about(409, "AlreadyExists", (group, resource, name), message)
    }

    /// 409: no free name was found for `generateName`.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str) -> Status {
        let message = format!(
            "{} {name:?} already exists, the server was not able to generate a unique name for \
             the object",
            qualified(resource, group)
        );
        let mut status = Status::about(409, "AlreadyExists", (group, resource, name), message);
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = 1;
        }
        status
    }

    /// 409: somebody else was faster; see [`STALE`].
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            qualified(resource, group)
        );
        Status::about(409, "Conflict", (group, resource, name), message)
    }

    /// 409: an apply would change what others own.
    pub fn apply_conflict(causes: Vec<Cause>, message: String) -> Status {
        let details = Some(Box::new(Details { causes, ..Details::default() }));
        Status { code: 409, reason: "Conflict", message, details, continue_token: None }
    }

    /// 500 without a reason: what upstream makes of an error that is no Status.
    pub fn unknown_error(message: impl Into<String>) -> Status {
        Status::plain(500, "", message)
    }

    /// 410: that revision is compacted, list again.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::plain(410, "Expired", message)
    }

    /// 413: the body is too large.
    pub fn request_entity_too_large(message: &str) -> Status {
        let message = format!("Request entity too large: {message}");
        Status::plain(413, "RequestEntityTooLarge", message)
    }

    /// 415: the body's media type is not known.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::plain(415, "UnsupportedMediaType", message)
    }

    /// 422: `Pod "NAME" is invalid: FIELD ERRORS`.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &field::Errors) -> Status {
        let mut message = format!("{} {name:?} is invalid", qualified(kind, group));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&errors.aggregate());
        }
        let mut status = Status::about(422, "Invalid", (group, kind, name), message);
        if let Some(details) = &mut status.details {
            details.causes = errors
                .iter()
                .map(|error| Cause {
                    reason: error.kind.reason().to_owned(),
                    message: error.body(),
                    field: error.field.to_string(),
                })
                .collect();
        }
        status
    }

    /// 422: a JSON patch that cannot be applied.
    pub fn unprocessable_patch(cause: &str) -> Status {
        let mut status = Status::plain(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        );
        let cause =
            Cause { reason: String::new(), message: cause.to_owned(), field: "patch".to_owned() };
        status.details = Some(Box::new(Details { causes: vec![cause], ..Details::default() }));
        status
    }

    /// 429: too many requests, come again.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::plain(429, "TooManyRequests", message);
        status.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        status
    }

    /// 500: our fault.
    pub fn internal_error(why: &str) -> Status {
        let message = format!("Internal error occurred: {why}");
        let mut status = Status::plain(500, "InternalError", message);
        let cause = Cause { reason: String::new(), message: why.to_owned(), field: String::new() };
        status.details = Some(Box::new(Details { causes: vec![cause], ..Details::default() }));
        status
    }

    /// 500: it could not be done in time and may be tried again.
    pub fn server_timeout(group: &str, resource: &str, verb: &str, retry: u32) -> Status {
        let message = format!(
            "The {verb} operation against {} could not be completed at this time, please try \
             again.",
            qualified(resource, group)
        );
        let mut status = Status::about(500, "ServerTimeout", (group, resource, verb), message);
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = retry;
        }
        status
    }

    /// 503: not now.
    pub fn service_unavailable(message: impl Into<String>) -> Status {
        Status::plain(503, "ServiceUnavailable", message)
    }

    /// 504: the deadline passed; whether it was done is unknown.
    pub fn timeout(message: &str, retry_after_seconds: u32) -> Status {
        let mut status = Status::plain(504, "Timeout", format!("Timeout: {message}"));
        status.details = Some(Box::new(Details { retry_after_seconds, ..Details::default() }));
        status
    }

    /// The Status as a JSON object.
    pub fn to_value(&self) -> Value {
        let outcome = if self.code < 400 { "Success" } else { "Failure" };
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": outcome,
        });
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = (**token).into();
        }
        if !self.message.is_empty() {
            status["message"] = self.message.as_str().into();
        }
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        if self.code >= 400 {
            status["code"] = self.code.into();
        }
        status
    }

    /// The Status as JSON text.
    pub fn encode(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut details = Map::new();
        let texts = [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ];
        for (key, text) in texts {
            if !text.is_empty() {
                details.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(Cause::to_value).collect();
            details.insert("causes".to_owned(), Value::Array(causes));
        }
        if self.retry_after_seconds > 0 {
            details.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(details)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut cause = Map::new();
        let texts = [("reason", &self.reason), ("message", &self.message), ("field", &self.field)];
        for (key, text) in texts {
            if !text.is_empty() {
                cause.insert(key.to_owned(), text.as_str().into());
            }
        }
        Value::Object(cause)
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Error, Errors, Path};

    #[test]
    fn messages_read_as_upstream() {
        let cases = [
            (Status::not_found("", "pods", "a"), r#"pods "a" not found"#),
            (Status::not_found("apps", "deployments", "a"), r#"deployments.apps "a" not found"#),
            (Status::already_exists("", "pods", "a"), r#"pods "a" already exists"#),
            (
                Status::conflict("", "pods", "a", STALE),
                r#"Operation cannot be fulfilled on pods "a": the object has been modified; please apply your changes to the latest version and try again"#,
            ),
            (
                Status::forbidden("", "pods", "", "User \"x\" cannot list"),
                r#"pods is forbidden: User "x" cannot list"#,
            ),
            (
                Status::method_not_allowed("", "pods", "fly"),
                r#"fly is not supported on resources of kind "pods""#,
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(status.message, expected);
        }
    }

    #[test]
    fn invalid_lists_every_cause() {
        let mut errors = Errors::new();
        errors.push(Error::required(&Path::new("spec").child("containers"), ""));
        let status = Status::invalid("", "Pod", "web", &errors);
        assert_eq!(
            status.to_value().to_string(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Pod \"web\" is invalid: spec.containers: Required value","reason":"Invalid","details":{"name":"web","kind":"Pod","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.containers"}]},"code":422}"#
        );
    }
}
