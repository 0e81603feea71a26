//! Objects by selection, streamed from stored bytes.
//!
//! A list walks a stable snapshot of the cache and writes each object's bytes as they are: the
//! body is never whole in memory. Pages behind the first come from the store at the revision of
//! the first.

mod packed;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use jiff::Timestamp;
use kontiki_api::{Status, field};
use kontiki_raft::types::{KeyRange, Revision};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    accept::{self, Agreed, Encoding, Form},
    bodies, get,
    selection::Selection,
};
use crate::{
    answer::{self, Body, BodyError},
    cache::{Resource, object::Object},
    core::{Core, unavailable},
    exchange::Exchange,
    printers, protobuf,
    storage::backend::BackendError,
};

/// Bytes gathered before they are handed to the socket.
const CHUNK_BYTES: usize = 128 << 10;
/// Keys fetched at a time when a page comes from the store.
const STORE_PAGE: u64 = 500;

/// What a client is told whose pages took too long. The answer carries another token.
const TOKEN_EXPIRED: &str = "The provided continue parameter is too old to display a consistent \
                             list result. You can start a new list without the continue parameter, \
                             or use the continue token in this response to retrieve the remainder \
                             of the results. Continuing with the provided token results in an \
                             inconsistent list - objects that were created, modified, or deleted \
                             between the time the first chunk was returned and now may show up in \
                             the list.";
const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// The revision in a token that goes on with what there is now, as upstream writes it.
const LATEST: i64 = -1;

/// What a list is asked for.
struct Request {
    selection: Selection,
    limit: usize,
    /// Exactly this revision; `None` is the cache's.
    exact: Option<Revision>,
    /// First key; that of a token, unless empty.
    start: String,
}

/// One page.
struct Page {
    revision: Revision,
    objects: Objects,
    /// Where the next page starts, and how many objects it and all later ones hold.
    next: Option<(String, Option<usize>)>,
}

/// The objects of a page: walked as they are written, or fetched before.
type Objects = Box<dyn Iterator<Item = Arc<Object>> + Send>;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    fn encode(revision: i64, start: &str) -> String {
        let token = Token { v: TOKEN_VERSION.to_owned(), rv: revision, start: start.to_owned() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is JSON"))
    }
}

pub(super) async fn serve(
    core: &Arc<Core>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Status> {
    let agreed = accept::negotiate(exchange.header(http::header::ACCEPT))?;
    let resource = exchange.resource()?.clone();
    let request = read_request(core, exchange, &resource).await?;
    let page = match request.exact {
        Some(revision) => from_store(core, &resource, &request, revision).await?,
        None => from_cache(core, &resource, &request),
    };
    respond(exchange, &resource, page, agreed)
}

async fn read_request(
    core: &Core,
    exchange: &Exchange,
    resource: &Resource,
) -> Result<Request, Status> {
    let query = &exchange.query;
    let selection = Selection::of(exchange, &resource.row)?;
    let limit = query.non_empty("limit").map_or(Ok(0), |text| {
        text.parse::<usize>()
            .map_err(|_| Status::bad_request(format!("invalid value for limit: {text:?}")))
    })?;
    let version = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    check_match(version, matching, query.non_empty("continue").is_some())?;
    if let Some(token) = query.non_empty("continue") {
        let token = decode_token(token)?;
        if !matches!(version, "" | "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        // A negative revision: nothing is left of the one that the list began at.
        let exact = u64::try_from(token.rv).ok().map(Revision);
        if exact.is_none() {
            get::freshness(core, "").await?;
        }
        return Ok(Request { selection, limit, exact, start: token.start });
    }
    let legacy_exact = limit > 0 && matching.is_empty() && !matches!(version, "" | "0");
    if matching == "Exact" || legacy_exact {
        let revision = get::parse_revision(version)?;
        get::at_least(core, revision).await?;
        return Ok(Request { selection, limit, exact: Some(revision), start: String::new() });
    }
    get::freshness(core, version).await?;
    Ok(Request { selection, limit, exact: None, start: String::new() })
}

fn check_match(version: &str, matching: &str, continues: bool) -> Result<(), Status> {
    let path = field::Path::new("resourceVersionMatch");
    let refused =
        |error: field::Error| Err(Status::invalid("meta.k8s.io", "ListOptions", "", &error.into()));
    match (matching, version) {
        ("", _) => Ok(()),
        _ if continues => refused(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden when continue is provided",
        )),
        ("Exact" | "NotOlderThan", "") => refused(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )),
        ("Exact", "0") => refused(field::Error::forbidden(
            &path,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )),
        ("Exact" | "NotOlderThan", _) => Ok(()),
        (other, _) => {
            refused(field::Error::not_supported(&path, other, &["Exact", "NotOlderThan"]))
        }
    }
}

fn decode_token(text: &str) -> Result<Token, Status> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let token = bytes.and_then(|bytes| serde_json::from_slice::<Token>(&bytes).ok());
    token
        .filter(|token| token.v == TOKEN_VERSION && (token.rv > 0 || token.rv == LATEST))
        .ok_or_else(|| Status::bad_request("continue key is not valid: cannot be decoded"))
}

fn from_cache(core: &Core, resource: &Resource, request: &Request) -> Page {
    let snapshot = resource.cache.snapshot(core.caches.revision());
    let selection = request.selection.clone();
    let revision = snapshot.revision;
    let walk = snapshot.index.walk(&selection.narrowest_prefix(), &request.start);
    if request.limit == 0 {
        let objects = walk.filter(move |object| selection.selects(object));
        return Page { revision, objects: Box::new(objects), next: None };
    }
    let mut walk = walk.filter(|object| selection.selects(object));
    let objects: Vec<_> = walk.by_ref().take(request.limit).collect();
    let next = walk.next().map(|first| {
        let rest = request.selection.is_everything().then(|| 1 + walk.count());
        (first.key.to_string(), rest)
    });
    Page { revision, objects: Box::new(objects.into_iter()), next }
}

async fn from_store(
    core: &Core,
    resource: &Resource,
    request: &Request,
    revision: Revision,
) -> Result<Page, Status> {
    let selection = &request.selection;
    let mut range = KeyRange::prefix(format!("{}{}", resource.prefix, selection.prefix));
    let start = Bytes::from(format!("{}{}", resource.prefix, request.start));
    if start > range.start {
        range.start = start;
    }
    let limit = if request.limit == 0 { usize::MAX } else { request.limit };
    let mut objects = Vec::new();
    loop {
        let page = core.storage.page(range.clone(), revision, STORE_PAGE).await;
        let page = page.map_err(|error| match error {
            BackendError::Compacted { .. } if !request.start.is_empty() => Status {
                continue_token: Some(Token::encode(LATEST, &request.start).into()),
                ..Status::expired(TOKEN_EXPIRED)
            },
            BackendError::Compacted { .. } => {
                Status::expired("The resourceVersion for the provided list is too old.")
            }
            other => unavailable(&other),
        })?;
        let mut left = page.count;
        for kv in &page.kvs {
            let key = String::from_utf8_lossy(&kv.key[resource.prefix.len()..]).into_owned();
            if objects.len() == limit {
                let rest = usize::try_from(left).unwrap_or(usize::MAX);
                let next = Some((key, selection.is_everything().then_some(rest)));
                return Ok(Page { revision, objects: Box::new(objects.into_iter()), next });
            }
            left = left.saturating_sub(1);
            if let Ok(object) = Object::open(&key, &kv.value, kv.mod_revision, &resource.row)
                && selection.selects(&object)
            {
                objects.push(Arc::new(object));
            }
        }
        match page.kvs.last() {
            Some(last) if page.more => {
                let mut next = last.key.to_vec();
                next.push(0);
                range.start = next.into();
            }
            _ => return Ok(Page { revision, objects: Box::new(objects.into_iter()), next: None }),
        }
    }
}

fn list_metadata(page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some((start, rest)) = &page.next {
        let revision = i64::try_from(page.revision.0).unwrap_or(i64::MAX);
        metadata["continue"] = Token::encode(revision, start).into();
        if let Some(rest) = rest {
            metadata["remainingItemCount"] = (*rest).into();
        }
    }
    metadata
}

fn respond(
    exchange: &Exchange,
    resource: &Arc<Resource>,
    page: Page,
    agreed: Agreed,
) -> Result<Response<Body>, Status> {
    let metadata = list_metadata(&page);
    if agreed.encoding == Encoding::Protobuf {
        let body = packed::body(&resource.row, agreed.form, &metadata, page.objects);
        return Ok(answer::typed(StatusCode::OK, protobuf::MEDIA_TYPE, body));
    }
    let row = &resource.row;
    let chunks = match agreed.form {
        Form::Object => {
            let (kind, version) = (&row.list_kind, row.api_version());
            let head = format!(
                r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{metadata},"items":["#
            );
            Chunks::new(head, Box::new(page.objects.map(|object| object.json.clone())))
        }
        Form::Metadata => {
            let meta = agreed.meta;
            let kind = format!(r#"{{"kind":"PartialObjectMetadataList","apiVersion":"{meta}""#);
            let head = format!(r#"{kind},"metadata":{metadata},"items":["#);
            let items = page.objects.map(move |object| bodies::partial(&object.json, meta));
            Chunks::new(head, Box::new(items))
        }
        Form::Table => {
            let printer = printers::of(&row.group, &row.resource);
            let (columns, now) = (printer.definitions(), Timestamp::now());
            let (include, meta) = (bodies::include(&exchange.query), agreed.meta);
            let kind = format!(r#"{{"kind":"Table","apiVersion":"{meta}""#);
            let head =
                format!(r#"{kind},"metadata":{metadata},"columnDefinitions":{columns},"rows":["#);
            let rows = page.objects.map(move |object| {
                Bytes::from(printer.row(&object.value(), now, include, meta).to_string())
            });
            Chunks::new(head, Box::new(rows))
        }
    };
    if agreed.encoding == Encoding::Yaml {
        // Written for human eyes: there is nobody who reads a large one.
        let mut whole = BytesMut::new();
        chunks.flatten().for_each(|chunk| whole.extend_from_slice(&chunk));
        return bodies::encoded(StatusCode::OK, whole.freeze(), agreed);
    }
    Ok(answer::typed(StatusCode::OK, "application/json", chunks.into_body()))
}

/// The text of a list, a chunk at a time.
struct Chunks {
    head: Option<String>,
    items: Items,
    first: bool,
    done: bool,
}

/// The items of a list as they are written.
type Items = Box<dyn Iterator<Item = Bytes> + Send>;

impl Chunks {
    fn new(head: String, items: Items) -> Chunks {
        Chunks { head: Some(head), items, first: true, done: false }
    }

    /// A list that fits into one piece is whole, and says its length.
    fn into_body(mut self) -> Body {
        match self.next() {
            Some(Ok(first)) if self.done => Body::full(first),
            first => Body::stream(futures::stream::iter(first.into_iter().chain(self))),
        }
    }
}

impl Iterator for Chunks {
    type Item = Result<Bytes, BodyError>;

    fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if self.done {
            return None;
        }
        let mut chunk = BytesMut::new();
        if let Some(head) = self.head.take() {
            chunk.extend_from_slice(head.as_bytes());
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(item) = self.items.next() else {
                chunk.extend_from_slice(b"]}\n");
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                chunk.extend_from_slice(b",");
            } else {
                chunk.reserve(CHUNK_BYTES.min(4 * item.len()));
            }
            chunk.extend_from_slice(&item);
        }
        Some(Ok(chunk.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_to_one_list() {
        let items = (0..5000).map(|n| Object::for_tests(&format!("a/{n}"), n).json);
        let head = "{\"items\":[".to_owned();
        let chunks: Vec<Bytes> =
            Chunks::new(head, Box::new(items)).map(|chunk| chunk.unwrap()).collect();
        assert!(chunks.len() > 1);
        assert!(chunks.iter().all(|chunk| chunk.len() < CHUNK_BYTES + 1000));
        let list: Value = serde_json::from_slice(&chunks.concat()).unwrap();
        assert_eq!(list["items"].as_array().unwrap().len(), 5000);
    }

    #[test]
    fn a_token_comes_back() {
        let page = Page {
            revision: Revision(7),
            objects: Box::new(std::iter::empty()),
            next: Some(("a/b".to_owned(), Some(3))),
        };
        let metadata = list_metadata(&page);
        let token = decode_token(metadata["continue"].as_str().unwrap()).unwrap();
        assert_eq!((token.rv, token.start.as_str()), (7, "a/b"));
        assert_eq!(metadata["remainingItemCount"], 3);
        assert!(decode_token("nonsense").is_err());
    }
}
