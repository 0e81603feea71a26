//! The version 2 document as protobuf, for `kubectl`s that take nothing else.
//!
//! They read it when a kind is unknown to version 3, to find out whether validation on the server
//! is supported. The numbers are those of gnostic's `openapi.v2.Document`; what no client reads
//! (answers, bodies, tags) is left out.

use serde_json::Value;

use crate::protobuf::message::Message;

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, &info);
    let mut paths = Message::default();
    for (name, item) in document["paths"].as_object().into_iter().flatten() {
        paths.named(2, name, &path_item(item));
    }
    out.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in document["definitions"].as_object().into_iter().flatten() {
        definitions.named(1, name, &schema(definition));
    }
    out.message(9, &definitions);
    out.0
}

impl Message {
    fn flag(&mut self, field: u64, value: &Value) {
        if value == true {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, values: &Value) {
        values.as_array().into_iter().flatten().for_each(|value| self.text(field, value));
    }

    /// An entry of what is a map in JSON.
    fn named(&mut self, field: u64, name: &str, value: &Message) {
        let mut entry = Message::default();
        entry.bytes(1, name.as_bytes());
        entry.message(2, value);
        self.message(field, &entry);
    }

    /// The extensions of an object, as YAML, which JSON is.
    fn extensions(&mut self, field: u64, value: &Value) {
        for (name, value) in value.as_object().into_iter().flatten() {
            if name.starts_with("x-") {
                let mut any = Message::default();
                any.bytes(2, value.to_string().as_bytes());
                self.named(field, name, &any);
            }
        }
    }
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(field, &operation(&item[method]));
        }
    }
    parameters(&mut out, 9, &item["parameters"]);
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    parameters(&mut out, 8, &operation["parameters"]);
    out.message(9, &Message::default());
    out.extensions(13, operation);
    out
}

fn parameters(out: &mut Message, field: u64, parameters: &Value) {
    for parameter in parameters.as_array().into_iter().flatten() {
        let (place, kind_field) = match parameter["in"].as_str() {
            Some("query") => (3, 6),
            Some("path") => (4, 5),
            _ => continue,
        };
        let mut sub = Message::default();
        sub.flag(1, &parameter["required"]);
        sub.text(2, &parameter["in"]);
        sub.text(3, &parameter["description"]);
        sub.text(4, &parameter["name"]);
        sub.text(kind_field, &parameter["type"]);
        let (mut non_body, mut whole, mut item) =
            (Message::default(), Message::default(), Message::default());
        non_body.message(place, &sub);
        whole.message(2, &non_body);
        item.message(1, &whole);
        out.message(field, &item);
    }
}

fn schema(schema_of: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &schema_of["$ref"]);
    out.text(2, &schema_of["format"]);
    out.text(4, &schema_of["description"]);
    out.texts(19, &schema_of["required"]);
    if schema_of["additionalProperties"].is_object() {
        let mut item = Message::default();
        item.message(1, &schema(&schema_of["additionalProperties"]));
        out.message(21, &item);
    }
    if schema_of["type"].is_string() {
        let mut kind = Message::default();
        kind.text(1, &schema_of["type"]);
        out.message(22, &kind);
    }
    if schema_of["items"].is_object() {
        let mut items = Message::default();
        items.message(1, &schema(&schema_of["items"]));
        out.message(23, &items);
    }
    if let Some(all) = schema_of["properties"].as_object() {
        let mut properties = Message::default();
        for (name, property) in all {
            properties.named(1, name, &schema(property));
        }
        out.message(25, &properties);
    }
    out.extensions(31, schema_of);
    out
}
