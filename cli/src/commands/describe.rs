//! `kontiki describe`: all of an object for a person, and what happened to it.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use kontiki_client::client::escape;
use serde_json::Value;

use super::get::Selection;
use crate::{
    render::{age, columns, tree},
    session::{Accept, ConnectionArguments, Session, Target, targets},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// TYPE [NAME...] or TYPE/NAME...
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Leave the events out
    #[arg(long)]
    no_events: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.connection.open()?;
    let mut first = true;
    for target in targets(&session.catalogue().await?, &arguments.what)? {
        for object in objects(&session, &arguments, &target).await? {
            let events = match arguments.no_events {
                true => None,
                false => Some(events(&session, &object).await?),
            };
            if !first {
                session.output.data("\n\n")?;
            }
            first = false;
            session.output.data(&describe(&object, events.as_deref(), Timestamp::now()))?;
        }
    }
    if first {
        session.output.note(&format!("No resources found in {} namespace.", session.namespace));
    }
    Ok(())
}

async fn objects(session: &Session, arguments: &Arguments, target: &Target) -> Result<Vec<Value>> {
    if let Some(name) = &target.name {
        let uri = target.resource.object(&session.namespace, name);
        return Ok(vec![session.get(&uri, Accept::Json).await?]);
    }
    let uri = format!(
        "{}?limit=0{}",
        session.collection(&target.resource, arguments.selection.all_namespaces),
        arguments.selection.query()
    );
    let mut list = session.get(&uri, Accept::Json).await?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

async fn events(session: &Session, object: &Value) -> Result<Vec<Value>> {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let selector = format!(
        "involvedObject.name={},involvedObject.uid={}",
        metadata["name"].as_str().unwrap_or_default(),
        metadata["uid"].as_str().unwrap_or_default()
    );
    let uri = format!("/api/v1/namespaces/{namespace}/events?fieldSelector={}", escape(&selector));
    let mut list = session.get(&uri, Accept::Json).await?;
    match list["items"].take() {
        Value::Array(events) => Ok(events),
        _ => Ok(Vec::new()),
    }
}

/// Identity first, then what was wanted, what is, and what happened.
fn describe(object: &Value, events: Option<&[Value]>, now: Timestamp) -> String {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or("<none>").to_owned();
    let mut lines = vec![vec!["Name:".to_owned(), text(&metadata["name"])]];
    if metadata["namespace"].is_string() {
        lines.push(vec!["Namespace:".to_owned(), text(&metadata["namespace"])]);
    }
    for (title, field) in [("Labels:", "labels"), ("Annotations:", "annotations")] {
        lines.extend(pairs(title, &metadata[field]));
    }
    let created = text(&metadata["creationTimestamp"]);
    let since = created.parse().map_or(String::new(), |t| format!(" ({} ago)", age(t, now)));
    lines.push(vec!["Created:".to_owned(), format!("{created}{since}")]);
    if let Some(deleted) = metadata["deletionTimestamp"].as_str() {
        lines.push(vec!["Deleting:".to_owned(), format!("since {deleted}")]);
    }
    let owners = metadata["ownerReferences"].as_array();
    for owner in owners.into_iter().flatten().filter(|owner| owner["controller"] == true) {
        let owner = format!("{}/{}", text(&owner["kind"]), text(&owner["name"]));
        lines.push(vec!["Controlled By:".to_owned(), owner]);
    }
    let mut description = columns(&lines);
    let hidden = ["apiVersion", "kind", "metadata"];
    let rest: serde_json::Map<String, Value> = object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !hidden.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), concealed(object, name, value)))
        .collect();
    description.push_str(&tree(&Value::Object(rest), 0));
    if let Some(events) = events {
        description.push_str(&event_table(events, now));
    }
    description
}

/// A Secret's values are shown by their size only.
fn concealed(object: &Value, name: &str, value: &Value) -> Value {
    let Some(data) = value.as_object().filter(|_| object["kind"] == "Secret" && name == "data")
    else {
        return value.clone();
    };
    let size = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
        format!("{} bytes", (text.len() / 4 * 3).saturating_sub(padding))
    };
    data.iter().map(|(key, value)| (key.clone(), Value::from(size(value)))).collect()
}

fn pairs(title: &str, map: &Value) -> Vec<Vec<String>> {
    const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let entries: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != APPLIED)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if entries.is_empty() {
        return vec![vec![title.to_owned(), "<none>".to_owned()]];
    }
    let title = |index: usize| if index == 0 { title.to_owned() } else { String::new() };
    entries.into_iter().enumerate().map(|(index, entry)| vec![title(index), entry]).collect()
}

fn event_table(events: &[Value], now: Timestamp) -> String {
    if events.is_empty() {
        return "Events: <none>\n".to_owned();
    }
    let time = |event: &Value, field: &str| event[field].as_str()?.parse::<Timestamp>().ok();
    let last = |event: &Value| {
        time(event, "lastTimestamp")
            .or(time(event, "eventTime"))
            .or_else(|| event["metadata"]["creationTimestamp"].as_str()?.parse().ok())
    };
    let mut sorted: Vec<&Value> = events.iter().collect();
    sorted.sort_by_key(|event| last(event));
    let header = ["  Type", "Reason", "Age", "From", "Message"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for event in sorted {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let count = event["count"].as_u64().unwrap_or(1);
        let mut shown = last(event).map_or("<unknown>".to_owned(), |time| age(time, now));
        if let (true, Some(first)) = (count > 1, time(event, "firstTimestamp")) {
            shown = format!("{shown} (x{count} over {})", age(first, now));
        }
        let from = text(&event["source"]["component"]);
        let from = if from.is_empty() { text(&event["reportingComponent"]) } else { from };
        lines.push(vec![
            format!("  {}", text(&event["type"])),
            text(&event["reason"]),
            shown,
            from,
            text(&event["message"]).trim().replace('\n', " "),
        ]);
    }
    format!("Events:\n{}", columns(&lines))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_description_starts_with_identity_and_ends_with_events() {
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "namespace": "shop", "labels": {"app": "web"},
                         "creationTimestamp": "2026-01-01T00:00:00Z"},
            "type": "Opaque", "data": {"password": "c2VjcmV0"},
        });
        let events = [serde_json::json!({
            "type": "Normal", "reason": "Seen", "message": "it was seen", "count": 2,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z",
            "source": {"component": "test"},
        })];
        let now = "2026-01-01T00:01:30Z".parse().unwrap();
        expect![[r"
            Name:          s
            Namespace:     shop
            Labels:        app=web
            Annotations:   <none>
            Created:       2026-01-01T00:00:00Z (90s ago)
            Type: Opaque
            Data:
              password: 6 bytes
            Events:
              Type     Reason   Age                 From   Message
              Normal   Seen     30s (x2 over 90s)   test   it was seen
        "]]
        .assert_eq(&describe(&object, Some(&events), now));
    }
}
