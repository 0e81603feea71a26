//! Whether an applied configuration is made as the schema says, in upstream's words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    element::{Element, Path},
    place::{Atom, Place, Shaped},
};
use crate::schema::Shape;

/// How many mistakes are gathered.
const MISTAKES_MAX: usize = 100;

/// Everything that is wrong with a configuration; `Err` holds it as one message.
pub fn check(place: Place<'_>, object: &Value) -> Result<(), String> {
    let mut check = Check { path: Path::default(), mistakes: Vec::new() };
    check.walk(place, object);
    match check.mistakes.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

struct Check {
    path: Path,
    mistakes: Vec<String>,
}

impl Check {
    fn wrong(&mut self, what: &str) {
        if self.mistakes.len() < MISTAKES_MAX {
            let separator = if self.path.0.is_empty() { "" } else { ": " };
            self.mistakes.push(format!("{}{separator}{what}", self.path));
        }
    }

    fn below(&mut self, element: Element, walk: impl FnOnce(&mut Check)) {
        self.path.0.push(element);
        walk(self);
        self.path.0.pop();
    }

    fn walk(&mut self, place: Place<'_>, value: &Value) {
        match (place.atom(value), value) {
            (_, Value::Null) => {}
            (Atom::Scalar, value) => self.scalar(place, value),
            (Atom::Map(entries), Value::Object(map)) => {
                for (key, value) in map {
                    let known = matches!(entries, super::place::Entries::Values(..))
                        || entries.named(key).is_some();
                    self.below(Element::Field(key.clone()), |check| {
                        if known {
                            check.walk(entries.place(key), value);
                        } else {
                            check.wrong("field not declared in schema");
                        }
                    });
                }
            }
            (Atom::AtomicMap, Value::Object(_)) | (Atom::AtomicList, Value::Array(_)) => {}
            (Atom::Map(_) | Atom::AtomicMap, other) => {
                self.wrong(&format!("expected map, got {}", shown(other)));
            }
            (Atom::List(items), Value::Array(list)) => {
                let mut seen = BTreeSet::new();
                for (at, item) in list.iter().enumerate() {
                    match items.element(item) {
                        Err(what) => self.wrong(&format!("element {at}: {what}")),
                        Ok(element) if seen.contains(&element) => {
                            self.wrong(&format!("duplicate entries for key {element}"));
                        }
                        Ok(element) => {
                            seen.insert(element.clone());
                            self.below(element, |check| check.walk(items.place(), item));
                        }
                    }
                }
            }
            (Atom::List(_) | Atom::AtomicList, other) => {
                self.wrong(&format!("expected list, got {}", shown(other)));
            }
        }
    }

    fn scalar(&mut self, place: Place<'_>, value: &Value) {
        let Shaped::By(shape) = place.shape else { return };
        let what = match (shape, value) {
            (Shape::Int32 | Shape::Int64 | Shape::Float, Value::Number(_))
            | (Shape::Text | Shape::Bytes | Shape::Time | Shape::MicroTime, Value::String(_))
            | (Shape::Bool, Value::Bool(_))
            | (Shape::Any, _) => return,
            (Shape::Quantity | Shape::IntOrString, Value::String(_) | Value::Number(_)) => return,
            (Shape::Int32 | Shape::Int64 | Shape::Float, other) => {
                format!("expected numeric (int or float), got {}", go_type(other))
            }
            (Shape::Bool, other) => format!("expected boolean, got {}", shown(other)),
            (Shape::Quantity | Shape::IntOrString, other) => {
                format!("expected any scalar, got {}", shown(other))
            }
            (_, other) => format!("expected string, got {}", shown(other)),
        };
        self.wrong(&what);
    }
}

/// The name of the type that upstream's decoder makes of a value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Bool(_) => "bool",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) | Value::Null => "map[string]interface {}",
    }
}

fn shown(value: &Value) -> String {
    format!("&value.valueUnstructured{{Value:{value}}}")
}
