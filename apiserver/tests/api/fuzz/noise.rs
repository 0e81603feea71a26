//! Inputs out of a seed.

use kontiki_api::schema::{Schema, Shape, TypeId};
use serde_json::{Map, Value, json};

/// Deterministic noise.
pub(crate) struct Noise(u64);

/// Words that mean something somewhere.
const WORDS: &[&str] = &[
    "",
    "a",
    "web",
    "default",
    "kube-system",
    "x/y",
    "a.b/c",
    "Always",
    "RollingUpdate",
    "10.0.0.1",
    "fd00::1",
    "10.0.0.0/8",
    "80%",
    "100m",
    "1Gi",
    "-1",
    "2026-01-02T03:04:05Z",
    "*",
    "$patch",
    "replace",
    "delete",
    "In",
    "NotIn",
    "Exists",
    "TCP",
    "UDP",
    "http",
    "None",
    "ClusterIP",
    "system:masters",
    "a in (b,c)",
    "a!=b",
    "metadata.name=x",
    "\u{0}",
    "\u{1F600}",
    "é",
    "a\nb",
    "/../..",
    "%2F",
    "0x10",
    "1e400",
    "NaN",
    "9223372036854775808",
    "{{.}}",
    "$(A)",
    "*/5 * * * *",
];

/// Names of fields that many types have, and of directives.
const FIELDS: &[&str] = &[
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "spec",
    "status",
    "kind",
    "apiVersion",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "containers",
    "managedFields",
    "fieldsV1",
    "f:a",
    "k:{\"name\":\"a\"}",
    "v:1",
    "i:0",
    ".",
    "",
];

impl Noise {
    pub(crate) fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap()
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    pub(crate) fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    pub(crate) fn word(&mut self) -> String {
        if self.once_in(6) {
            let length = self.below(80);
            return (0..length).map(|_| char::from(32 + (self.below(95) as u8))).collect();
        }
        (*self.pick(WORDS)).to_owned()
    }

    /// Text of pieces of a grammar, with a mistake now and then.
    pub(crate) fn text_of(&mut self, pieces: &[&str]) -> String {
        let mut text = String::new();
        for _ in 0..self.below(14) {
            if self.once_in(20) {
                text.push_str(&self.word());
            } else {
                text.push_str(self.one_of(pieces));
            }
        }
        text
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Damages bytes: flips, cuts, repeats, inserts.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] = self.next() as u8,
                1 => bytes.truncate(at),
                2 => {
                    let piece = bytes[at..(at + self.below(20)).min(bytes.len())].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                3 => {
                    let piece = self.word().into_bytes();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + self.below(8)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
    }

    pub(crate) fn number(&mut self) -> Value {
        match self.below(6) {
            0 => json!(i64::MAX),
            1 => json!(i64::MIN),
            2 => json!(1.5e300),
            3 => json!(u64::MAX),
            _ => json!(self.below(100) as i64 - 20),
        }
    }

    /// Any JSON.
    pub(crate) fn json(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.once_in(2)),
            2 => self.number(),
            3 | 4 => self.word().into(),
            5 => (0..self.below(4)).map(|_| self.json(depth - 1)).collect(),
            _ => {
                let mut map = Map::new();
                for _ in 0..self.below(5) {
                    let name =
                        if self.once_in(4) { self.word() } else { (*self.pick(FIELDS)).to_owned() };
                    map.insert(name, self.json(depth - 1));
                }
                Value::Object(map)
            }
        }
    }

    /// A kind of the schema: group, version, kind, type.
    pub(crate) fn kind(&mut self) -> (String, String, String, TypeId) {
        let schema = Schema::builtin();
        let mut kinds: Vec<_> = schema.kinds().collect();
        kinds.sort_unstable_by_key(|(group, version, kind, _)| (*group, *version, *kind));
        let (group, version, kind, id) = *self.pick(&kinds);
        (group.to_owned(), version.to_owned(), kind.to_owned(), id)
    }

    /// An object of a type, mostly as it should be.
    pub(crate) fn object(&mut self, id: TypeId, depth: usize) -> Value {
        let known = Schema::builtin().get(id);
        let mut map = Map::new();
        for field in &known.fields {
            let likely = field.required || matches!(field.name.as_str(), "metadata" | "spec");
            if (likely && !self.once_in(20)) || self.once_in(4) {
                map.insert(field.name.clone(), self.shaped(&field.shape, depth));
            }
        }
        if self.once_in(10) {
            map.insert((*self.pick(FIELDS)).to_owned(), self.json(2));
        }
        Value::Object(map)
    }

    fn shaped(&mut self, shape: &Shape, depth: usize) -> Value {
        if depth == 0 || self.once_in(40) {
            return self.json(1);
        }
        match shape {
            Shape::Struct(id) => self.object(*id, depth - 1),
            Shape::List(item) => (0..self.below(4)).map(|_| self.shaped(item, depth - 1)).collect(),
            Shape::Map(item) => {
                let mut map = Map::new();
                for _ in 0..self.below(4) {
                    map.insert(self.word(), self.shaped(item, depth - 1));
                }
                Value::Object(map)
            }
            Shape::Int32 | Shape::Int64 | Shape::Float => self.number(),
            Shape::Bool => json!(self.once_in(2)),
            Shape::IntOrString if self.once_in(2) => self.number(),
            Shape::Time | Shape::MicroTime if !self.once_in(4) => "2026-01-02T03:04:05Z".into(),
            Shape::Bytes if !self.once_in(4) => "YWJj".into(),
            Shape::Any => self.json(2),
            _ => self.word().into(),
        }
    }
}
