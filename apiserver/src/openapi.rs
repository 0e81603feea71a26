//! OpenAPI documents: what clients such as `kubectl explain` and `kubectl apply` ask for.
//!
//! They are derived from the catalogue (paths) and the schemas of the types (components), with the
//! extensions that Kubernetes' clients look for. Nothing is made before somebody asks, and then
//! once per catalogue; a document's hash is part of its address, so clients keep what they have.

mod paths;
mod protobuf;
mod schemas;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use kontiki_api::{Catalogue, catalogue::GroupVersion};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::{self, Body};

/// What the documents say about whom they describe.
const TITLE: &str = "Kubernetes";
const VERSION: &str = kontiki_api::KUBERNETES_VERSION;
/// The media type that clients ask for to get version 2 as protobuf, …
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// … and the one they are told, which unlike the former is a valid one.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The two versions of the specification that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    Two,
    Three,
}

/// A document and its hash.
#[derive(Clone)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl Document {
    fn new(value: &Value) -> Document {
        let bytes = value.to_string().into_bytes();
        let digest = Sha256::digest(&bytes);
        let hash = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Document { bytes: bytes.into(), hash }
    }
}

/// All documents of one catalogue.
struct Documents {
    /// By path below `/openapi/v3`, e.g. `apis/apps/v1`.
    three: BTreeMap<String, Document>,
    two: Document,
    /// The same as protobuf.
    two_protobuf: Bytes,
}

/// The documents of the catalogue that was asked about last, with its fingerprint.
static LATEST: Mutex<Option<(u64, Arc<Documents>)>> = Mutex::new(None);

/// Answers `/openapi/...`, given the segments behind it; `None` if there is no such document.
pub fn serve(catalogue: &Catalogue, path: &[&str], accept: &str) -> Option<Response<Body>> {
    let documents = documents(catalogue);
    match path {
        ["v2"] if accept.contains(PROTOBUF_ASKED) => Some(answer::typed(
            StatusCode::OK,
            PROTOBUF,
            Body::full(documents.two_protobuf.clone()),
        )),
        ["v2"] => Some(reply(&documents.two)),
        ["v3"] => Some(answer::value(StatusCode::OK, &index(&documents))),
        ["v3", rest @ ..] => documents.three.get(&rest.join("/")).map(reply),
        _ => None,
    }
}

fn reply(document: &Document) -> Response<Body> {
    let mut response = answer::json(StatusCode::OK, document.bytes.clone());
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", document.hash)) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

fn index(documents: &Documents) -> Value {
    let path = |(path, document): (&String, &Document)| {
        let url = format!("/openapi/v3/{path}?hash={}", document.hash);
        (path.clone(), json!({ "serverRelativeURL": url }))
    };
    let paths: serde_json::Map<String, Value> = documents.three.iter().map(path).collect();
    json!({ "paths": paths })
}

fn documents(catalogue: &Catalogue) -> Arc<Documents> {
    let fingerprint = fingerprint(catalogue);
    let mut latest = LATEST.lock();
    match &*latest {
        Some((known, documents)) if *known == fingerprint => documents.clone(),
        _ => {
            let documents = Arc::new(build(catalogue));
            *latest = Some((fingerprint, documents.clone()));
            documents
        }
    }
}

fn fingerprint(catalogue: &Catalogue) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in catalogue.rows() {
        (&row.group, &row.version, &row.resource, &row.verbs).hash(&mut hasher);
    }
    hasher.finish()
}

fn build(catalogue: &Catalogue) -> Documents {
    let components = kontiki_api::schema::components();
    let three = catalogue
        .group_versions()
        .iter()
        .map(|group_version| {
            let paths = paths::of(catalogue, Some(group_version), Spec::Three);
            let schemas = schemas::reachable(&components, catalogue, Some(group_version));
            let document = json!({
                "openapi": "3.0.0",
                "info": {"title": TITLE, "version": VERSION},
                "paths": paths,
                "components": {"schemas": schemas},
            });
            (prefix(group_version), Document::new(&document))
        })
        .collect();
    let mut document = json!({
        "swagger": "2.0",
        "info": {"title": TITLE, "version": VERSION},
        "paths": paths::of(catalogue, None, Spec::Two),
        "definitions": schemas::reachable(&components, catalogue, None),
    });
    schemas::downgrade(&mut document);
    let two_protobuf = protobuf::encode(&document).into();
    Documents { three, two: Document::new(&document), two_protobuf }
}

/// `api/v1` or `apis/GROUP/VERSION`.
fn prefix(group_version: &GroupVersion) -> String {
    if group_version.group.is_empty() {
        format!("api/{}", group_version.version)
    } else {
        format!("apis/{}/{}", group_version.group, group_version.version)
    }
}

#[cfg(test)]
mod tests;
