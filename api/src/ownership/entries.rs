//! `metadata.managedFields` and the managers that it tells of.

use serde_json::{Map, Value};

use crate::fields::{self, Set};

const FIELDS_TYPE: &str = "FieldsV1";

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By applying a configuration.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What makes two entries the same manager. An applier is the same in every version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Its name.
    pub manager: String,
    /// How it writes.
    pub operation: Operation,
    /// In which version; empty for an applier.
    pub api_version: String,
    /// Through which subresource; empty for the object itself.
    pub subresource: String,
}

impl Id {
    /// The identity of a manager that writes in this way.
    pub fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Id {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        let applies = operation == Operation::Apply;
        Id {
            manager: manager.to_owned(),
            operation,
            api_version: if applies { String::new() } else { api_version.to_owned() },
            subresource: subresource.to_owned(),
        }
    }
}

/// A manager's fields: as they are stored until somebody needs more than a look.
#[derive(Clone, Debug)]
pub enum Fields {
    /// FieldsV1.
    Stored(Value),
    /// Decoded.
    Set(Set),
}

impl Fields {
    /// The set; stored fields have been checked when they were read.
    pub fn set(&self) -> Set {
        match self {
            Fields::Stored(stored) => fields::decode(stored).unwrap_or_default(),
            Fields::Set(set) => set.clone(),
        }
    }

    /// Whether all of a set is in it.
    pub fn hold_all(&self, set: &Set) -> bool {
        match self {
            Fields::Stored(stored) => fields::holds_all(stored, set),
            Fields::Set(own) => set.difference(own).is_empty(),
        }
    }

    /// Whether some of a set is in it.
    pub fn hold_any(&self, set: &Set) -> bool {
        match self {
            Fields::Stored(stored) => fields::holds_any(stored, set),
            Fields::Set(own) => !set.intersection(own).is_empty(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Fields::Stored(stored) => stored.as_object().is_none_or(Map::is_empty),
            Fields::Set(set) => set.is_empty(),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Fields::Stored(stored) => stored,
            Fields::Set(set) => fields::encode(&set),
        }
    }
}

/// One manager and what it owns.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub id: Id,
    /// In which version its fields are named.
    pub api_version: String,
    /// When it last changed something.
    pub time: Option<String>,
    /// What it owns.
    pub fields: Fields,
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub struct Managed {
    /// One entry per identity.
    pub entries: Vec<Entry>,
}

impl Managed {
    /// Reads `managedFields`; what is wrong with it if it cannot be read.
    pub fn decode(list: &Value) -> Result<Managed, String> {
        let mut managed = Managed::default();
        for (index, entry) in list.as_array().into_iter().flatten().enumerate() {
            let entry = decode_entry(entry, index)?;
            managed.put(entry);
        }
        Ok(managed)
    }

    /// Reads `managedFields` of a stored object; none if it cannot be read.
    pub fn of_object(object: &Value) -> Managed {
        Managed::decode(&object["metadata"]["managedFields"]).unwrap_or_default()
    }

    /// The entry of an identity.
    pub fn get(&self, id: &Id) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == *id)
    }

    /// The entry of an identity.
    pub fn get_mut(&mut self, id: &Id) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == *id)
    }

    /// Adds an entry, or replaces the one of the same identity.
    pub fn put(&mut self, entry: Entry) {
        match self.get_mut(&entry.id) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Takes an entry out.
    pub fn take(&mut self, id: &Id) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.id == *id)?;
        Some(self.entries.remove(at))
    }

    /// Drops whoever owns nothing any more.
    pub fn drop_empty(&mut self) {
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    /// As `managedFields`: appliers first, then by time; `None` if nobody owns anything.
    pub fn encode(mut self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.sort_by(|a, b| order(a).cmp(&order(b)));
        Some(self.entries.into_iter().map(encode_entry).collect())
    }
}

/// Times are all of one form, so their order is that of their texts.
fn order(entry: &Entry) -> (Operation, &str, &str, &str, &str) {
    let Entry { id, api_version, time, .. } = entry;
    let time = time.as_deref().unwrap_or_default();
    (id.operation, time, &id.manager, api_version, &id.subresource)
}

fn decode_entry(entry: &Value, index: usize) -> Result<Entry, String> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        FIELDS_TYPE => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
        other => {
            return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}"));
        }
    }
    let fields = entry.get("fieldsV1").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    fields::well_formed(&fields).map_err(|error| format!("error decoding set: {error}"))?;
    Ok(Entry {
        id: Id {
            manager: text("manager").to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.to_owned(),
            },
            subresource: text("subresource").to_owned(),
        },
        api_version: api_version.to_owned(),
        time: entry["time"].as_str().map(str::to_owned),
        fields: Fields::Stored(fields),
    })
}

fn encode_entry(entry: Entry) -> Value {
    let mut map = Map::with_capacity(7);
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    put("apiVersion", entry.api_version.into());
    put("fieldsType", FIELDS_TYPE.into());
    put("fieldsV1", entry.fields.into_value());
    put("manager", entry.id.manager.into());
    put("operation", entry.id.operation.as_str().into());
    if !entry.id.subresource.is_empty() {
        put("subresource", entry.id.subresource.into());
    }
    if let Some(time) = entry.time {
        put("time", time.into());
    }
    Value::Object(map)
}
