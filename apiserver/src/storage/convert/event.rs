//! Events: core's, and those of `events.k8s.io`, which only use other words.

use serde_json::Value;

use super::rename;

/// What core calls a field, and what the later group does.
const WORDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Core's event in the later group's words.
pub(super) fn from_core(event: &mut Value) {
    WORDS.iter().for_each(|(core, later)| rename(event, core, later));
}

/// The later group's event in core's words.
pub(super) fn to_core(event: &mut Value) {
    WORDS.iter().for_each(|(core, later)| rename(event, later, core));
}
