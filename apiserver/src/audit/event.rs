//! One line of the log.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Answer, Level, Record, Stage, source_of};
use crate::{exchange::Exchange, user::UserInfo};

/// The event of a stage.
pub(super) fn of(
    record: &Record,
    stage: Stage,
    exchange: &Exchange,
    answer: Option<&Answer>,
) -> Value {
    let info = &exchange.info;
    let mut event = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": record.verdict.level.name(),
        "auditID": record.id,
        "stage": stage.name(),
        "requestURI": exchange.parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
        "verb": info.verb,
        "user": user(&record.user),
        "sourceIPs": source_of(exchange),
        "userAgent": exchange.header(http::header::USER_AGENT),
        "requestReceivedTimestamp": micros(exchange.now),
        "stageTimestamp": micros(Timestamp::now()),
    });
    if exchange.user != record.user {
        event["impersonatedUser"] = user(&exchange.user);
    }
    if info.is_resource {
        event["objectRef"] = reference(exchange);
    }
    if record.verdict.level >= Level::Request
        && let Some(object) = record.request_object.as_ref().and_then(parsed)
    {
        event["requestObject"] = shown(object, record);
    }
    if let Some(answer) = answer {
        describe(&mut event, record, answer);
    }
    let notes = exchange.notes.annotations();
    if !notes.is_empty() && stage != Stage::RequestReceived {
        event["annotations"] = json!(notes);
    }
    event
}

fn describe(event: &mut Value, record: &Record, answer: &Answer) {
    let mut status = json!({"metadata": {}, "code": answer.code});
    let body = answer.body.as_ref().and_then(parsed);
    if let Some(body) = body.as_ref().filter(|body| body["kind"] == "Status") {
        for field in ["status", "message", "reason", "details"] {
            if !body[field].is_null() {
                status[field] = body[field].clone();
            }
        }
    }
    event["responseStatus"] = status;
    if let Some(body) = body.filter(|_| record.wants_response()) {
        event["responseObject"] = shown(body, record);
    }
}

fn parsed(bytes: &Bytes) -> Option<Value> {
    serde_json::from_slice::<Value>(bytes).ok().filter(Value::is_object)
}

/// An object as the policy wants it shown.
fn shown(mut object: Value, record: &Record) -> Value {
    if record.verdict.omits_managed_fields {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.shift_remove("managedFields");
        }
        for item in object["items"].as_array_mut().into_iter().flatten() {
            if let Some(metadata) = item["metadata"].as_object_mut() {
                metadata.shift_remove("managedFields");
            }
        }
    }
    object
}

fn reference(exchange: &Exchange) -> Value {
    let info = &exchange.info;
    let fields = [
        ("resource", info.resource.as_str()),
        ("namespace", &info.namespace),
        ("name", &info.name),
        ("apiGroup", &info.group),
        ("apiVersion", &info.version),
        ("subresource", &info.subresource),
    ];
    let set = fields.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(set.map(|(key, value)| (key.to_owned(), value.into())).collect())
}

fn user(user: &UserInfo) -> Value {
    let mut shown = Map::new();
    shown.insert("username".to_owned(), user.name.as_str().into());
    if !user.uid.is_empty() {
        shown.insert("uid".to_owned(), user.uid.as_str().into());
    }
    shown.insert("groups".to_owned(), user.groups.clone().into());
    if !user.extra.is_empty() {
        shown.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(shown)
}

/// A time with six digits of fraction.
pub(super) fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}
