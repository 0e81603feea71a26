//! What selectors need of an object, read in one pass over its JSON that builds nothing else.

use std::fmt;

use kontiki_api::catalogue::{Name, SelectableField};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::packed::{Packed, Pairs};

/// The way to the labels.
const LABELS: [&str; 2] = ["metadata", "labels"];

/// The labels, and the values of the fields in the order of the fields.
pub(super) fn peek(
    json: &[u8],
    fields: &[SelectableField],
) -> Result<(Pairs, Packed), serde_json::Error> {
    let paths: Vec<&[Name]> =
        fields.iter().flat_map(|field| &field.paths).map(Vec::as_slice).collect();
    assert!(paths.len() < 32, "a resource has few selectable fields");
    let mut seen = Seen {
        paths: &paths,
        found: vec![None; paths.len()],
        labels: Pairs::default(),
        metadata: false,
    };
    let all = (1 << paths.len()) - 1;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Place { seen: &mut seen, wanted: all, ended: 0, depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    if !seen.metadata {
        return Err(de::Error::missing_field("metadata"));
    }
    let mut found = seen.found.into_iter();
    let value_of = |field: &SelectableField| {
        let mut own = None;
        for value in found.by_ref().take(field.paths.len()) {
            own = own.or(value);
        }
        own.unwrap_or_else(|| field.absent.to_string())
    };
    let values: Vec<String> = fields.iter().map(value_of).collect();
    Ok((seen.labels, Packed::of(values.iter().map(String::as_str))))
}

struct Seen<'a> {
    paths: &'a [&'a [Name]],
    found: Vec<Option<String>>,
    labels: Pairs,
    metadata: bool,
}

/// A value somewhere in the object, and the paths that go on in it or end at it, as bits.
struct Place<'s, 'a> {
    seen: &'s mut Seen<'a>,
    wanted: u32,
    ended: u32,
    depth: usize,
}

impl Place<'_, '_> {
    /// A plain value; an empty text is none.
    fn keep(self, text: impl FnOnce() -> String) {
        if self.ended == 0 {
            return;
        }
        let text = Some(text()).filter(|text| !text.is_empty());
        for at in bits(self.ended) {
            self.seen.found[at].clone_from(&text);
        }
    }
}

fn bits(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |at| mask & (1 << at) != 0)
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.keep(|| value.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.keep(|| value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.keep(|| value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.keep(|| serde_json::Value::from(value).to_string());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.keep(|| value.to_owned());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Place { seen, wanted, depth, .. } = self;
        while let Some(step) = entries.next_key_seed(Key { paths: seen.paths, wanted, depth })? {
            if step.to_labels && depth == 0 {
                seen.metadata = true;
                entries.next_value_seed(Metadata { seen: &mut *seen, wanted: step.passing })?;
            } else {
                go_on(seen, &step, depth, &mut entries)?;
            }
        }
        Ok(())
    }
}

/// Reads the value behind a key, or passes over it.
fn go_on<'de, A: MapAccess<'de>>(
    seen: &mut Seen<'_>,
    step: &Step,
    depth: usize,
    entries: &mut A,
) -> Result<(), A::Error> {
    if step.passing | step.ended == 0 {
        return entries.next_value::<IgnoredAny>().map(drop);
    }
    let Step { passing: wanted, ended, .. } = *step;
    entries.next_value_seed(Place { seen, wanted, ended, depth: depth + 1 })
}

/// `metadata` of the object: a map with `labels` in it.
struct Metadata<'s, 'a> {
    seen: &'s mut Seen<'a>,
    wanted: u32,
}

impl<'de> DeserializeSeed<'de> for Metadata<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Metadata { seen, wanted } = self;
        while let Some(step) = entries.next_key_seed(Key { paths: seen.paths, wanted, depth: 1 })? {
            if step.to_labels {
                seen.labels = entries.next_value::<Option<Pairs>>()?.unwrap_or_default();
            } else {
                go_on(seen, &step, 1, &mut entries)?;
            }
        }
        Ok(())
    }
}

/// A key at some depth of the wanted paths.
struct Key<'a> {
    paths: &'a [&'a [Name]],
    wanted: u32,
    depth: usize,
}

/// Which of the wanted paths go through a key, and which end at it.
struct Step {
    passing: u32,
    ended: u32,
    to_labels: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Step;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Step, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Step, E> {
        let to_labels = LABELS.get(self.depth).is_some_and(|step| *step == key);
        let mut step = Step { passing: 0, ended: 0, to_labels };
        for at in bits(self.wanted) {
            let path = self.paths[at];
            if path.get(self.depth).is_some_and(|name| name.as_ref() == key) {
                let last = path.len() == self.depth + 1;
                *(if last { &mut step.ended } else { &mut step.passing }) |= 1 << at;
            }
        }
        Ok(step)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = entries.next_entry::<String, String>()? {
                    pairs.push(pair);
                }
                Ok(Pairs::of(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))))
            }
        }

        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use kontiki_api::Catalogue;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_peeked_at_is_what_the_whole_object_says() {
        let catalogue = Catalogue::builtin();
        let objects = [
            json!({"metadata": {"labels": {"a": "1", "b": ""}, "name": "x"}, "spec": {
                "nodeName": "n", "hostNetwork": true, "containers": [{"nodeName": "y"}],
                "schedulerName": "", "unschedulable": true, "type": "ClusterIP",
            }, "status": {"phase": "Running", "podIP": "1.2.3.4", "replicas": 3},
                "involvedObject": {"name": "p", "kind": "Pod"}, "regarding": {"name": "q"},
                "type": "Opaque", "reason": "because", "source": {"component": "c"}}),
            json!({"spec": null, "status": 5, "metadata": {"labels": null}}),
            json!({"metadata": {}, "spec": {"nodeName": {"x": 1}}, "status": [{"phase": "x"}]}),
        ];
        for row in catalogue.rows() {
            for object in &objects {
                let (labels, fields) =
                    peek(object.to_string().as_bytes(), &row.selectable_fields).unwrap();
                for (at, field) in row.selectable_fields.iter().enumerate() {
                    let expected = field.value_in(object);
                    assert_eq!(fields.get(at), Some(expected.as_str()), "{} {object}", field.label);
                }
                let expected = object["metadata"]["labels"].as_object();
                let expected: Vec<(&str, &str)> = expected
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
                    .collect();
                assert_eq!(labels.iter().collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn what_is_no_object_is_told() {
        for text in [
            "",
            "1",
            "{}",
            r#"{"metadata":1}"#,
            r#"{"metadata":{}} x"#,
            r#"{"metadata":{"labels":{"a":1}}}"#,
            r#"{"metadata":{"labels":[]}}"#,
            r#"{"metadata":{},"spec":{"a":}}"#,
        ] {
            assert!(peek(text.as_bytes(), &[]).is_err(), "{text}");
        }
        assert!(peek(br#"{"metadata":{}}"#, &[]).is_ok());
    }
}
