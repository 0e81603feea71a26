//! Objects as indented trees for `describe`: field names as words, empty things left out.

use std::fmt::Write;

use serde_json::Value;

/// Maps whose keys are people's own words, not names of fields.
const FREE_MAPS: &[&str] = &[
    "allocatable",
    "annotations",
    "binaryData",
    "capacity",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "selector",
];

/// Renders the fields of an object. Nested values are indented below their name.
pub(crate) fn tree(value: &Value, indent: usize) -> String {
    render(value, indent, false)
}

fn render(value: &Value, indent: usize, free: bool) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !is_empty(value)) {
                let is_free = FREE_MAPS.contains(&name.as_str());
                let name = if free { name.clone() } else { words(name) };
                field(&mut text, &name, value, indent, is_free);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 && item.is_object() {
                    let _ = writeln!(text, "{:indent$}--", "");
                }
                text.push_str(&render(item, indent, free));
            }
        }
        scalar => {
            let _ = writeln!(text, "{:indent$}{}", "", plain(scalar));
        }
    }
    text
}

fn field(text: &mut String, name: &str, value: &Value, indent: usize, free: bool) {
    match value {
        Value::Object(_) | Value::Array(_) => {
            let _ = writeln!(text, "{:indent$}{name}:", "");
            text.push_str(&render(value, indent + 2, free));
        }
        scalar => {
            let _ = writeln!(text, "{:indent$}{name}: {}", "", plain(scalar));
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `restartPolicy` becomes `Restart Policy`; keys that are no field names stay as they are.
fn words(name: &str) -> String {
    if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut words = String::with_capacity(name.len() + 4);
    let mut previous_lower = false;
    for (index, c) in name.chars().enumerate() {
        if index == 0 {
            words.extend(c.to_uppercase());
        } else {
            if c.is_ascii_uppercase() && previous_lower {
                words.push(' ');
            }
            words.push(c);
        }
        previous_lower = c.is_ascii_lowercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_indented_and_has_no_empty_branches() {
        let value = serde_json::json!({
            "restartPolicy": "Always",
            "podIP": "10.42.0.2",
            "nodeSelector": {},
            "containers": [{"name": "a", "args": ["x", "y"]}, {"name": "b"}],
            "labels": {"app.kubernetes.io/name": "web"},
        });
        let expected = "Restart Policy: Always\nPod IP: 10.42.0.2\nContainers:\n  Name: a\n  \
                        Args:\n    x\n    y\n  --\n  Name: b\nLabels:\n  \
                        app.kubernetes.io/name: web\n";
        assert_eq!(tree(&value, 0), expected);
    }
}
