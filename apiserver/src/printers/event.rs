//! Events.

use jiff::Timestamp;
use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age, column, wide};
use crate::storage::convert;

pub(super) const PRINTER: Printer = Printer {
    columns: &[
        column("Last Seen"),
        column("Type"),
        column("Reason"),
        column("Object"),
        wide("Subobject"),
        wide("Source"),
        column("Message"),
        wide("First Seen"),
        wide("Count"),
        wide("Name"),
    ],
    cells,
};

/// The same objects in the words of `events.k8s.io`.
pub(super) const LATER: Printer = Printer {
    columns: PRINTER.columns,
    cells: |event, now| {
        let mut core = event.clone();
        convert::apply("events.k8s.io/v1", "v1", &mut core);
        cells(&core, now)
    },
};

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let event_time = text(&event["eventTime"]);
    let or_event_time = |field: &str| {
        let time = text(&event[field]);
        if time.is_empty() { event_time.clone() } else { time }
    };
    let series = &event["series"];
    let (count, last) = if series.is_object() {
        (series["count"].as_i64(), text(&series["lastObservedTime"]))
    } else {
        (event["count"].as_i64().filter(|count| *count > 0), or_event_time("lastTimestamp"))
    };
    let object = &event["involvedObject"];
    let target = {
        let (kind, name) = (text(&object["kind"]).to_lowercase(), text(&object["name"]));
        if name.is_empty() { kind } else { format!("{kind}/{name}") }
    };
    vec![
        age(&last, now).into(),
        text(&event["type"]).into(),
        text(&event["reason"]).into(),
        target.into(),
        text(&object["fieldPath"]).into(),
        source(event).into(),
        text(&event["message"]).trim().into(),
        age(&or_event_time("firstTimestamp"), now).into(),
        count.unwrap_or(1).to_string().into(),
        meta::name(event).into(),
    ]
}

fn source(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let either = |old: &Value, new: &str| {
        let old = text(old);
        if old.is_empty() { text(&event[new]) } else { old }
    };
    let component = either(&event["source"]["component"], "reportingComponent");
    let host = either(&event["source"]["host"], "reportingInstance");
    if host.is_empty() { component } else { format!("{component}, {host}") }
}
