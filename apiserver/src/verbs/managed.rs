//! Who owns which fields, in every write.
//!
//! Ownership is decided once a write's object is complete as its author means it (decoded,
//! patched, with defaults), and before admission and the strategy add what is nobody's. What was
//! decided then stands, whatever those do to `managedFields`.

use kontiki_api::{
    Status, field, meta,
    ownership::{self, Scope},
    schema::Schema,
};
use serde_json::Value;

use super::stored::{Ownership, Writer};
use crate::{
    cache::Resource,
    exchange::{Exchange, Source},
    storage::convert,
};

/// The longest name of a manager in bytes.
const NAME_BYTES_MAX: usize = ownership::MANAGER_BYTES_MAX;

/// The name under which a request owns what it writes: what it says, or what its client is
/// called. A caller in this process that says nothing is called as its user is.
pub fn manager(exchange: &Exchange) -> String {
    if let Some(named) = exchange.query.non_empty("fieldManager") {
        return named.to_owned();
    }
    let agent = exchange.header(http::header::USER_AGENT);
    match &exchange.source {
        Source::InProcess { user } if agent.is_empty() => {
            user.name.strip_prefix("system:").unwrap_or(&user.name).to_owned()
        }
        _ => ownership::manager_of_user_agent(agent),
    }
}

/// Checks `fieldManager` and `force` of a write; `kind` is that of its options.
pub fn check_options(exchange: &Exchange, kind: &str, applies: bool) -> Result<(), Status> {
    let mut errors = field::Errors::new();
    let path = field::Path::new("fieldManager");
    let manager = exchange.query.get("fieldManager").unwrap_or_default();
    if applies && manager.is_empty() {
        errors.push(field::Error::required(&path, "is required for apply patch"));
    }
    if !applies && kind == "PatchOptions" && exchange.query.get("force").is_some() {
        let detail = "may not be specified for non-apply patch";
        errors.push(field::Error::forbidden(&field::Path::new("force"), detail));
    }
    if manager.len() > NAME_BYTES_MAX {
        errors.push(field::Error::too_long(&path, NAME_BYTES_MAX));
    }
    if let Some((at, letter)) = manager.char_indices().find(|(_, letter)| letter.is_control()) {
        let detail =
            format!("should only contain printable characters: {letter:?} at position {at}");
        errors.push(field::Error::invalid(&path, manager, detail));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("meta.k8s.io", kind, "", &errors))
}

/// What ownership depends on, for a resource and a subresource; `None` for what has no schema.
pub fn scope<'a>(
    resource: &'a Resource,
    api_version: &'a str,
    subresource: &'a str,
) -> Option<Scope<'a>> {
    let row = &resource.row;
    let schema = Schema::builtin();
    Some(Scope {
        schema,
        type_id: schema.kind(&row.group, &row.version, &row.kind)?,
        api_version,
        kind: &row.kind,
        subresource,
        owned: resource.strategy.owned(subresource),
        convert: |object, from, to| {
            let mut object = object.clone();
            convert::apply(from, to, &mut object).then_some(object)
        },
    })
}

/// Decides who owns what after a write; `old` is none if it creates. Answers with the new
/// `managedFields`, which stand in the object too.
pub fn track(
    writer: &Writer,
    resource: &Resource,
    subresource: &str,
    old: Option<&Value>,
    new: &mut Value,
) -> Option<Value> {
    decide(writer, resource, subresource, old, new);
    new["metadata"].get("managedFields").cloned()
}

/// The same for a new object; the answer is taken out of it. Everything that looks at the object
/// until it is written is spared the list.
pub fn track_new(writer: &Writer, resource: &Resource, new: &mut Value) -> Option<Value> {
    decide(writer, resource, "", None, new);
    meta::metadata_mut(new).shift_remove("managedFields")
}

fn decide(
    writer: &Writer,
    resource: &Resource,
    subresource: &str,
    old: Option<&Value>,
    new: &mut Value,
) {
    if writer.ownership == Ownership::Update {
        let api_version = resource.row.api_version();
        if let Some(scope) = scope(resource, &api_version, subresource) {
            ownership::update(&scope, old, new, &writer.manager, writer.now);
        }
    }
}

/// Puts what was decided into an object on which everything else is decided, too.
pub fn settle(new: &mut Value, old: &Value, owners: Option<Value>) {
    meta::set(new, "managedFields", owners);
    ownership::settle_times(new, old);
}
