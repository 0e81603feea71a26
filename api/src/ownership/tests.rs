//! Stories: who wrote what, and who owns what afterwards.

use serde_json::{Value, json};

use super::*;
use crate::{fields, meta};

mod properties;
mod stories;

/// An object and those who write it, each write a minute after the one before.
struct Story {
    api_version: &'static str,
    kind: &'static str,
    live: Option<Value>,
    minute: i64,
}

impl Story {
    fn of(api_version: &'static str, kind: &'static str) -> Story {
        Story { api_version, kind, live: None, minute: 0 }
    }

    fn scope<'a>(&self, subresource: &'a str) -> Scope<'a> {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        let schema = Schema::builtin();
        Scope {
            schema,
            type_id: schema.kind(group, version, self.kind).expect("a kind"),
            api_version: self.api_version,
            kind: self.kind,
            subresource,
            owned: match subresource {
                "status" => Owned::Only(&[&["status"]]),
                _ => Owned::Without(&[&["status"]]),
            },
            // Nothing in these stories is named otherwise in other versions.
            convert: |object, _, to| {
                let mut object = object.clone();
                object["apiVersion"] = to.into();
                Some(object)
            },
        }
    }

    fn now(&mut self) -> jiff::Timestamp {
        self.minute += 1;
        jiff::Timestamp::from_second(self.minute * 60).expect("a time")
    }

    fn whole(&self, mut object: Value) -> Value {
        object["apiVersion"] = self.api_version.into();
        object["kind"] = self.kind.into();
        object["metadata"]["name"] = "a".into();
        object
    }

    /// Writes the object as it is to be, or creates it.
    fn update(&mut self, manager: &str, object: Value) -> &mut Story {
        self.update_part(manager, "", object)
    }

    fn update_part(&mut self, manager: &str, subresource: &str, object: Value) -> &mut Story {
        let now = self.now();
        let mut new = self.whole(object);
        update(&self.scope(subresource), self.live.as_ref(), &mut new, manager, now);
        if let Some(live) = &self.live {
            settle_times(&mut new, live);
        }
        meta::set(&mut new, "uid", Some("u".into()));
        self.live = Some(new);
        self
    }

    fn try_apply(&mut self, manager: &str, config: Value, force: bool) -> Result<(), Refusal> {
        let now = self.now();
        let config = self.whole(config);
        let wanted = Configuration { config: &config, manager, force, now };
        let mut new = conformed(apply(&self.scope(""), self.live.as_ref(), &wanted)?);
        if let Some(live) = &self.live {
            settle_times(&mut new, live);
        }
        meta::set(&mut new, "uid", Some("u".into()));
        self.live = Some(new);
        Ok(())
    }

    fn apply(&mut self, manager: &str, config: Value) -> &mut Story {
        self.try_apply(manager, config, false).expect("no conflict");
        self
    }

    fn force(&mut self, manager: &str, config: Value) -> &mut Story {
        self.try_apply(manager, config, true).expect("forced");
        self
    }

    /// What an apply is told.
    fn refusal(&mut self, manager: &str, config: Value) -> String {
        let refusal = self.try_apply(manager, config, false).expect_err("a refusal");
        refusal.status().message
    }

    /// The object without what identifies it.
    fn object(&self) -> Value {
        let mut object = self.live.clone().expect("an object");
        let map = object.as_object_mut().expect("an object");
        map.shift_remove("apiVersion");
        map.shift_remove("kind");
        let metadata = meta::metadata_mut(&mut object);
        for field in ["managedFields", "name", "uid"] {
            metadata.shift_remove(field);
        }
        if metadata.is_empty() {
            object.as_object_mut().expect("an object").shift_remove("metadata");
        }
        object
    }

    /// `MANAGER OPERATION[/SUBRESOURCE] @MINUTE: PATHS`, a line each.
    fn owners(&self) -> String {
        let live = self.live.as_ref().expect("an object");
        let entries = live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let lines = entries.iter().map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            let subresource = match text("subresource") {
                "" => String::new(),
                name => format!("/{name}"),
            };
            let minute = meta::parse_time(text("time"))
                .map_or("-".to_owned(), |time| (time.as_second() / 60).to_string());
            let set = fields::decode(&entry["fieldsV1"]).expect("a set");
            let paths: Vec<String> = set.paths().iter().map(ToString::to_string).collect();
            format!(
                "{} {}{subresource} @{minute}: {}",
                text("manager"),
                text("operation"),
                paths.join(" ")
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What decoding into an object does with nulls, and with lists, labels and specs that are empty.
fn conformed(value: Value) -> Value {
    let nothing = |key: &str, value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => matches!(key, "labels" | "spec") && map.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, value)| !nothing(key, value))
            .map(|(key, value)| (key, conformed(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(conformed).collect(),
        plain => plain,
    }
}

fn config_map(data: impl Into<Value>) -> Value {
    json!({"data": data.into()})
}
