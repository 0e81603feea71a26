//! JSON with an eye on repeated fields, which a plain parser silently merges.

use std::{
    collections::HashSet,
    fmt::{self, Write},
};

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value, and the paths of the fields that were given more than once.
pub(super) struct Parsed {
    pub(super) value: Value,
    pub(super) duplicates: Vec<String>,
}

/// Parses one JSON document.
pub(super) fn parse(body: &[u8]) -> Result<Parsed, String> {
    let (mut path, mut duplicates) = (String::new(), Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let seed = Seed { path: &mut path, duplicates: &mut duplicates };
    let value = seed.deserialize(&mut deserializer).map_err(|error| mistake(&error))?;
    deserializer.end().map_err(|error| mistake(&error))?;
    Ok(Parsed { value, duplicates })
}

/// Go's word for a document that stops too early; the others are our parser's, which say more.
fn mistake(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
}

struct Seed<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let length = self.path.len();
        loop {
            write!(self.path, "[{}]", list.len()).map_err(de::Error::custom)?;
            let seed = Seed { path: self.path, duplicates: self.duplicates };
            let next = items.next_element_seed(seed)?;
            self.path.truncate(length);
            match next {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let length = self.path.len();
        while let Some(key) = entries.next_key::<String>()? {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let own = self.path.len();
            let seed = Seed { path: self.path, duplicates: self.duplicates };
            let value = entries.next_value_seed(seed)?;
            if map.insert(key, value).is_some() {
                self.path.truncate(own);
                self.duplicates.push(duplicate(self.path));
            }
            self.path.truncate(length);
        }
        Ok(Value::Object(map))
    }
}

/// What is said of a field that the kind does not have.
pub(super) fn unknown(path: &str) -> String {
    format!("unknown field {path:?}")
}

fn duplicate(path: &str) -> String {
    format!("duplicate field {path:?}")
}

/// Complaints about a document in the order in which upstream's decoder meets what they are about.
/// Nothing is said of what stands within an unknown field, nor of its repetition.
pub(super) fn in_order(body: &[u8], complaints: Vec<String>) -> Vec<String> {
    let wanted: HashSet<&str> = complaints.iter().map(String::as_str).collect();
    let (mut path, mut found) = (String::new(), Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let walk = Order { path: &mut path, wanted: &wanted, found: &mut found };
    // It has been parsed before.
    let walked = walk.deserialize(&mut deserializer);
    if walked.is_ok() { found } else { complaints }
}

struct Order<'a> {
    path: &'a mut String,
    wanted: &'a HashSet<&'a str>,
    found: &'a mut Vec<String>,
}

impl Order<'_> {
    /// Complains, unless that has been done before or there is no reason to.
    fn complain(&mut self, complaint: String) -> bool {
        let complains = self.wanted.contains(complaint.as_str());
        if complains && !self.found.contains(&complaint) {
            self.found.push(complaint);
        }
        complains
    }

    fn inside(&mut self) -> Order<'_> {
        Order { path: self.path, wanted: self.wanted, found: self.found }
    }
}

impl<'de> DeserializeSeed<'de> for Order<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Order<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let length = self.path.len();
        for index in 0_usize.. {
            write!(self.path, "[{index}]").map_err(de::Error::custom)?;
            let next = items.next_element_seed(self.inside())?;
            self.path.truncate(length);
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let (mut seen, length) = (HashSet::new(), self.path.len());
        while let Some(key) = entries.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let complaint = unknown(self.path);
            if self.complain(complaint) {
                entries.next_value::<IgnoredAny>()?;
            } else {
                if !seen.insert(key) {
                    let complaint = duplicate(self.path);
                    self.complain(complaint);
                }
                entries.next_value_seed(self.inside())?;
            }
            self.path.truncate(length);
        }
        Ok(())
    }
}
