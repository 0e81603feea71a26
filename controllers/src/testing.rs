//! Tests as data: worlds from text, plans as text, and a fake API server to apply plans to.
//!
//! A world is one object per line: kind, name, then `attribute=value` or flags. Times are ages in
//! seconds. Uids are `Kind/name`.

pub(crate) mod api;
mod fake;
pub(crate) mod objects;
mod parse;

use expect_test::Expect;
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use self::fake::Fake;
pub(crate) use self::parse::age;
use crate::{
    action::{Action, Context, Plan, Write},
    world::{Key, World},
};

/// The time of all tests.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(2_000_000_000).expect("a valid time")
}

/// A context without a past.
pub(crate) fn context() -> Context<'static> {
    Context { now: now(), last_failure: None, content: None, allowed: &[] }
}

/// The world that a text describes.
pub(crate) fn world(text: &str) -> World {
    Fake::new(text).world
}

/// A key in the namespace of all tests.
pub(crate) fn key(name: &str) -> Key {
    Key::new("default", name)
}

/// Compares a plan with what is expected of it.
pub(crate) fn check(plan: &Plan, expected: &Expect) {
    expected.assert_eq(&render(plan));
}

/// A plan as text: one line per action with its Events, then reasons and recheck.
pub(crate) fn render(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for action in plan.actions() {
        lines.push(render_action(action));
        if let Some(note) = &action.on_success {
            lines.push(format!("  {}: {}", note.reason, note.message));
        }
    }
    for note in &plan.notes {
        lines.push(format!("{}: {}", note.reason, note.message));
    }
    for reason in &plan.reasons {
        lines.push(format!("because {reason}"));
    }
    for (kind, revision) in &plan.awaits {
        lines.push(format!("awaits {kind:?} at {revision}"));
    }
    if let Some(delay) = plan.recheck_after {
        lines.push(format!("recheck after {} s", delay.as_secs_f64()));
    }
    lines.join("\n")
}

fn render_action(action: &Action) -> String {
    match &action.write {
        Write::Create { resource, object, .. } => {
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().or(metadata["generateName"].as_str());
            format!("create {} {}", resource.kind, name.unwrap_or("?"))
        }
        Write::Patch { target, subresource, patch } => {
            let verb = subresource.unwrap_or("patch");
            format!("{verb} {} {} {}", target.resource.kind, target.name, brief(patch))
        }
        Write::Finalize { target, .. } => format!("finalize {}", target.name),
        Write::Delete { target, grace_seconds, propagation } => {
            let grace = grace_seconds.map(|seconds| format!(" grace={seconds}"));
            let propagation = propagation.map(|propagation| format!(" {propagation:?}"));
            format!(
                "delete {} {}{}{}",
                target.resource.kind,
                target.name,
                grace.unwrap_or_default(),
                propagation.unwrap_or_default()
            )
        }
        Write::DeleteCollection { resource, .. } => format!("delete all {}", resource.plural),
    }
}

/// A patch without quotes around keys and plain words.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", brief(value))).collect();
            format!("{{{}}}", fields.join(" "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(brief).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
