//! Targets without a server: decoders, patches, ownership, selectors, quantities, strategies.

use bytes::{Bytes, BytesMut};
use http::Method;
use kontiki_api::{
    Catalogue,
    fields::{self, Place},
    ownership::{self, Owned, Scope},
    patch::{self, JsonPatch},
    quantity::Quantity,
    schema::{Schema, TypeId},
    selector::{FieldSelector, Selector},
};
use kontiki_apiserver::{
    UserInfo, protobuf,
    query::Query,
    registry::{self, Context},
    request_info::RequestInfo,
    schema::{self, Expected, FieldValidation},
    storage::envelope,
    streams::{spdy, websocket},
    verbs::{accept, body},
};
use kontiki_raft::types::Revision;
use serde_json::{Value, json};

use super::{Target, noise::Noise};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "bodies", run: bodies },
    Target { name: "envelopes", run: envelopes },
    Target { name: "json-patches", run: json_patches },
    Target { name: "merge-patches", run: merge_patches },
    Target { name: "ownership", run: owners },
    Target { name: "protobuf", run: messages },
    Target { name: "quantities", run: quantities },
    Target { name: "requests", run: requests },
    Target { name: "selectors", run: selectors },
    Target { name: "strategies", run: strategies },
    Target { name: "streams", run: streams },
    Target { name: "yaml", run: yaml },
];

fn quantities(noise: &mut Noise) {
    let pieces =
        ["0", "1", "9", "12345678901234567890", ".", "-", "+", "e", "E", "m", "Ki", "Gi", "n", "u"];
    let text = noise.text_of(&pieces);
    if let Ok(canonical) = Quantity::canonical(&text) {
        let quantity = Quantity::parse(&text).expect("what has a canonical form can be read");
        let again = Quantity::parse(&canonical).expect("and so can the canonical form");
        assert_eq!(quantity.units(), again.units(), "{text} and {canonical}");
        assert_eq!(Quantity::canonical(&canonical).as_ref(), Ok(&canonical), "of {text}");
    }
}

fn selectors(noise: &mut Noise) {
    let pieces =
        ["a", "b", "x.y/z", "=", "==", "!=", "!", ",", " ", "in", "notin", "(", ")", "<", ">", "1"];
    let text = noise.text_of(&pieces);
    let labels = std::collections::BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    if let Ok(selector) = Selector::parse(&text) {
        let _ = selector.matches(&labels);
    }
    let text = noise.text_of(&["metadata.name", "=", "!=", "==", ",", "a", "\\", "\\,", " "]);
    if let Ok(selector) = FieldSelector::parse(&text) {
        let _ = selector.matches(|_| Some("a".to_owned()));
    }
}

/// An object of some kind as JSON text, now and then damaged.
fn body_of(noise: &mut Noise, id: TypeId) -> Vec<u8> {
    let mut body = noise.object(id, 5).to_string().into_bytes();
    if noise.once_in(3) {
        noise.damage(&mut body);
    }
    body
}

fn validation(noise: &mut Noise) -> FieldValidation {
    *noise.pick(&[FieldValidation::Ignore, FieldValidation::Warn, FieldValidation::Strict])
}

fn bodies(noise: &mut Noise) {
    let (group, version, kind, id) = noise.kind();
    let expected = Expected { group: &group, version: &version, kind: &kind };
    let body = body_of(noise, id);
    if let Ok(decoded) = schema::decode(expected, &body, validation(noise)) {
        let text = decoded.object.to_string();
        let again = schema::decode(expected, text.as_bytes(), FieldValidation::Strict);
        assert_eq!(again.expect("what conforms conforms").object, decoded.object);
    }
}

fn yaml(noise: &mut Noise) {
    let pieces = [
        "a: ", "b:\n  ", "- ", "\n", "  ", "&x ", "*x", "{", "}", "[", "]", "'", "\"", "|", ">",
        "#", "!!str ", "? ", ": ", "---\n", "0x1F", "~", "yes", "<<: *x", "\t", "1e3",
    ];
    let _ = body::yaml_to_json(noise.text_of(&pieces).as_bytes());
    let (.., id) = noise.kind();
    let mut text = serde_json::to_vec_pretty(&noise.object(id, 4)).expect("JSON is YAML");
    noise.damage(&mut text);
    let _ = body::yaml_to_json(&text);
}

fn messages(noise: &mut Noise) {
    let field = |number: u8, bytes: &[u8]| -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length as u8) | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    };
    let (group, version, kind, _) = noise.kind();
    let api_version = if group.is_empty() { version } else { format!("{group}/{version}") };
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    let mut raw = Vec::new();
    for _ in 0..noise.below(6) {
        let number = u8::try_from(1 + noise.below(15)).expect("small");
        let inner = if noise.once_in(2) {
            let text = noise.word();
            field(u8::try_from(1 + noise.below(15)).expect("small"), text.as_bytes())
        } else {
            noise.bytes(30)
        };
        raw.extend(field(number, &inner));
    }
    let mut message = [b"k8s\0".as_slice(), &field(1, &meta), &field(2, &raw)].concat();
    if noise.once_in(3) {
        noise.damage(&mut message);
    }
    let _ = protobuf::to_json(&message);
}

fn json_patches(noise: &mut Noise) {
    let (.., id) = noise.kind();
    let mut document = noise.object(id, 4);
    let mut operations = Vec::new();
    for _ in 0..noise.below(12) {
        let verb = *noise.pick(&["add", "remove", "replace", "move", "copy", "test", "nothing"]);
        let path = pointer(noise, &document);
        let from = pointer(noise, &document);
        operations.push(json!({"op": verb, "path": path, "from": from, "value": noise.json(2)}));
    }
    let mut text = Value::Array(operations).to_string().into_bytes();
    if noise.once_in(4) {
        noise.damage(&mut text);
    }
    if let Ok(patch) = JsonPatch::parse(&text) {
        let before = document.clone();
        if patch.apply(&mut document).is_err() {
            assert_eq!(document, before, "a patch that fails changes nothing");
        }
    }
}

/// A place in a document, or beside it.
fn pointer(noise: &mut Noise, document: &Value) -> String {
    let (mut at, mut path) = (document, String::new());
    while !noise.once_in(4) {
        match at {
            Value::Object(map) if !map.is_empty() => {
                let (name, value) = map.iter().nth(noise.below(map.len())).expect("one of them");
                path.push('/');
                path.push_str(&name.replace('~', "~0").replace('/', "~1"));
                at = value;
            }
            Value::Array(items) if !items.is_empty() => {
                let index = noise.below(items.len() + 1);
                path.push_str(&format!("/{index}"));
                at = items.get(index).unwrap_or(&Value::Null);
            }
            _ => break,
        }
    }
    if noise.once_in(6) {
        path.push_str(noise.one_of(&["/-", "/x", "/0", "/~2", "/99999999999999999999", "x"]));
    }
    path
}

fn merge_patches(noise: &mut Noise) {
    let (group, version, kind, id) = noise.kind();
    let document = noise.object(id, 4);
    let change = if noise.once_in(3) { noise.json(4) } else { noise.object(id, 4) };
    let mut merged = document.clone();
    patch::merge(&mut merged, &change);
    let mut twice = merged.clone();
    patch::merge(&mut twice, &change);
    assert_eq!(merged, twice, "a merge patch says what is to be");
    let mut strategic = document;
    if patch::strategic_merge(Schema::builtin(), id, &mut strategic, change.clone()).is_ok() {
        let expected = Expected { group: &group, version: &version, kind: &kind };
        let _ = schema::conform_patched(expected, strategic, &change, &[], validation(noise));
    }
}

fn owners(noise: &mut Noise) {
    let (group, version, kind, id) = noise.kind();
    let expected = Expected { group: &group, version: &version, kind: &kind };
    let conforming = |noise: &mut Noise| {
        let object = noise.object(id, 4);
        let decoded =
            schema::conform_patched(expected, object, &Value::Null, &[], FieldValidation::Ignore);
        decoded.ok().map(|decoded| decoded.object)
    };
    let (Some(live), Some(config)) = (conforming(noise), conforming(noise)) else { return };
    let schema = Schema::builtin();
    let place = Place::root(schema, id);
    if fields::check(place, &live).is_ok() && fields::check(place, &config).is_ok() {
        let set = fields::collect(place, &live);
        let encoded = fields::encode(&set);
        assert_eq!(fields::decode(&encoded).as_ref(), Ok(&set), "{encoded}");
        let _ = fields::remove(place, &live, &fields::collect(place, &config));
        let merged = fields::merge(place, &live, &config);
        assert!(fields::compare(place, &merged, &merged).is_empty());
    }
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    let scope = Scope {
        schema,
        type_id: id,
        api_version: &api_version,
        kind: &kind,
        subresource: "",
        owned: Owned::Without(&[&["status"]]),
        convert: ownership::no_conversion,
    };
    let wanted = ownership::Configuration {
        config: &config,
        manager: "fuzz",
        force: noise.once_in(2),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let _ = ownership::apply(&scope, Some(&live), &wanted);
    let mut changed = config.clone();
    ownership::update(&scope, Some(&live), &mut changed, "fuzz", jiff::Timestamp::UNIX_EPOCH);
    let _ = fields::decode(&noise.json(4));
}

/// Defaults and validators see nothing but what conforms, and anything that does.
fn strategies(noise: &mut Noise) {
    let rows = registry::rows(&Catalogue::builtin());
    let row = noise.pick(&rows);
    let resource = &row.resource;
    let expected =
        Expected { group: &resource.group, version: &resource.version, kind: &resource.kind };
    let Some(id) = Schema::builtin().kind(&resource.group, &resource.version, &resource.kind)
    else {
        return;
    };
    let made = |noise: &mut Noise| {
        let body = noise.object(id, 7).to_string();
        let decoded = schema::decode(expected, body.as_bytes(), FieldValidation::Ignore).ok()?;
        let mut object = decoded.object;
        if !object["metadata"].is_object() {
            object["metadata"] = json!({"name": "a", "namespace": "default"});
        }
        Some(object)
    };
    let (Some(mut old), Some(mut new)) = (made(noise), made(noise)) else { return };
    let user = UserInfo::new("fuzz", &[]);
    let context = Context { now: jiff::Timestamp::UNIX_EPOCH, user: &user };
    row.strategy.set_defaults(&mut old);
    let once = old.clone();
    row.strategy.set_defaults(&mut old);
    assert_eq!(once, old, "defaults of {} are idempotent", resource.kind);
    row.strategy.prepare_for_create(&mut old, &context);
    let _ = row.strategy.validate(&old).aggregate();
    row.strategy.set_defaults(&mut new);
    let mut status = new.clone();
    row.strategy.prepare_for_update(&mut new, &old, &context);
    let _ = row.strategy.validate_update(&new, &old).aggregate();
    row.strategy.prepare_for_status_update(&mut status, &old, &context);
    let _ = row.strategy.validate_status_update(&status, &old).aggregate();
}

fn envelopes(noise: &mut Noise) {
    let (group, version, kind, id) = noise.kind();
    let mut object = noise.object(id, 4);
    object["apiVersion"] =
        if group.is_empty() { version.into() } else { format!("{group}/{version}").into() };
    object["kind"] = kind.into();
    object["metadata"] = json!({"name": "a", "labels": {"a": noise.word()}});
    let mut sealed = envelope::seal(&object);
    let opened = envelope::open(&Bytes::from(sealed.clone())).expect("what was sealed opens");
    let spliced: Value =
        serde_json::from_slice(&opened.with_revision(Revision(7))).expect("and is JSON");
    object["metadata"]["resourceVersion"] = "7".into();
    assert_eq!(spliced, object);
    noise.damage(&mut sealed);
    if let Ok(opened) = envelope::open(&Bytes::from(sealed)) {
        let _ = opened.with_revision(Revision(u64::MAX));
    }
}

fn requests(noise: &mut Noise) {
    let pieces = [
        "/",
        "api",
        "apis",
        "v1",
        "apps",
        "namespaces",
        "default",
        "pods",
        "a",
        "status",
        "watch",
        "proxy",
        "%2F",
        "%",
        "..",
        ":",
        "https:a:80",
        "?",
        "//",
    ];
    let path = format!("/{}", noise.text_of(&pieces));
    let raw = noise.text_of(&["watch", "=", "1", "&", "true", "limit", "%", "%41", "+", "pretty"]);
    let query = Query::parse(&raw);
    let method = noise.pick(&[Method::GET, Method::POST, Method::PATCH, Method::DELETE]).clone();
    let info = RequestInfo::parse(&method, &path, &query);
    let _ = (info.is_long_running(), info.qualified_resource(), info.scope());
    let header = noise.text_of(&[
        "application/json",
        ",",
        ";",
        "as=Table",
        "g=meta.k8s.io",
        "v=v1",
        "q=0.5",
        "*/*",
        " ",
        "=",
    ]);
    let _ = accept::negotiate(&header);
}

/// Frames in pieces of any size.
fn streams(noise: &mut Noise) {
    let mut frames = Vec::new();
    for _ in 0..noise.below(6) {
        match noise.below(4) {
            0 => frames.extend_from_slice(&spdy::data(noise.below(9) as u32, &noise.bytes(40))),
            1 => frames.extend_from_slice(&spdy::ping(noise.below(9) as u32)),
            2 => {
                // A client's frame, masked.
                let payload = noise.bytes(100);
                let opcode = *noise.pick(&[0u8, 1, 2, 8, 9, 10, 3]);
                let last = if noise.once_in(4) { 0 } else { 0x80 };
                frames.push(last | opcode);
                frames.push(0x80 | u8::try_from(payload.len()).expect("short"));
                frames.extend_from_slice(&[1, 2, 3, 4]);
                frames.extend(payload);
            }
            _ => frames.extend(noise.bytes(30)),
        }
    }
    let (mut first, mut second) = (websocket::Decoder::default(), spdy::Decoder::default());
    let (mut one, mut two) = (BytesMut::new(), BytesMut::new());
    let mut left = &frames[..];
    let (mut is_websocket, mut is_spdy) = (true, true);
    while !left.is_empty() {
        let (piece, rest) = left.split_at(1 + noise.below(left.len()));
        left = rest;
        one.extend_from_slice(piece);
        two.extend_from_slice(piece);
        while is_websocket {
            match first.next(&mut one) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => is_websocket = false,
            }
        }
        while is_spdy {
            match second.next(&mut two) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => is_spdy = false,
            }
        }
    }
}
