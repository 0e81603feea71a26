//! How lists and maps merge, from the table `lists.tsv`.

use serde_json::Value;

/// How server-side apply tells the items of a list apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    Atomic,
    /// Items are their own keys.
    Set,
    /// Items are objects with keys.
    Map,
}

/// How one field merges. The default is what a field without a row has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Semantics {
    /// For server-side apply, if it is a list.
    pub list_type: Option<ListType>,
    /// The keys of a [`ListType::Map`].
    pub map_keys: Vec<String>,
    /// What those keys are for items that leave them out, if they have defaults.
    pub key_defaults: Vec<(String, Value)>,
    /// Whether it is a map that server-side apply replaces as a whole.
    pub atomic_map: bool,
    /// Whether it is a map marked as granular.
    pub granular_map: bool,
    /// Whether a strategic merge patch merges the list instead of replacing it.
    pub merge: bool,
    /// Whether a strategic merge patch may clear what it does not name.
    pub retain_keys: bool,
    /// The key by which a strategic merge patch finds list items.
    pub merge_key: Option<String>,
}

impl Semantics {
    /// What a key is for an item that leaves it out.
    pub fn key_default(&self, key: &str) -> Option<&Value> {
        self.key_defaults.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

const TABLE: &str = include_str!("lists.tsv");

/// The rows as (type, field, semantics).
pub(super) fn rows() -> impl Iterator<Item = (&'static str, &'static str, Semantics)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        let (type_name, field, kind, keys, strategy, merge_key) =
            (next(), next(), next(), next(), next(), next());
        let words = |text: &str| -> Vec<String> {
            text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let semantics = Semantics {
            list_type: match kind {
                "atomic" => Some(ListType::Atomic),
                "set" => Some(ListType::Set),
                "map" => Some(ListType::Map),
                _ => None,
            },
            map_keys: words(keys)
                .into_iter()
                .map(|key| key.split_once('=').map_or(key.clone(), |(name, _)| name.to_owned()))
                .collect(),
            key_defaults: words(keys)
                .iter()
                .filter_map(|key| key.split_once('='))
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect(),
            atomic_map: kind == "map:atomic",
            granular_map: kind == "map:granular",
            merge: strategy.split(',').any(|word| word == "merge"),
            retain_keys: strategy.split(',').any(|word| word == "retainKeys"),
            merge_key: (!merge_key.is_empty()).then(|| merge_key.to_owned()),
        };
        (type_name, field, semantics)
    })
}
