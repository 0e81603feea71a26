//! Typed requests: one method per verb, generic over the object, bytes underneath.
//!
//! The generic methods only name the resource and call `decode`/`encode` of
//! [`kontiki_api::typed`], so nothing heavy is instantiated in the crates that use them.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kontiki_api::{Object, typed::DecodeError};
use kontiki_base::{Fence, fence::PromptBookmarks};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{Error, ObjectKey};

/// The header with which the API server tells the store's revision after a write.
pub const REVISION_HEADER: &str = "kontiki-revision";

/// How often in-process watches learn of revisions that do not concern them, at most.
const PROMPT: Duration = Duration::from_millis(20);

/// Access to one cluster's API. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    kube: kube::Client,
    fence: Option<Fence>,
    bookmarks: Option<PromptBookmarks>,
}

/// A written object, and the store's revision at which the write stands.
#[derive(Clone, Debug)]
pub struct Written<T> {
    /// The object as the API server stored it.
    pub object: T,
    /// A cache that has passed this revision has seen the write.
    pub revision: u64,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct List<T> {
    /// The objects.
    pub items: Vec<T>,
    /// The revision the list stands for.
    pub revision: u64,
    /// How to get the next page, if there is one.
    pub continue_token: Option<String>,
}

/// Which objects to list or watch.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Only this namespace; all if `None`.
    pub namespace: Option<String>,
    /// Label selector in Kubernetes' string syntax.
    pub label_selector: Option<String>,
    /// Field selector in Kubernetes' string syntax.
    pub field_selector: Option<String>,
    /// Most objects to return.
    pub limit: Option<u32>,
    /// Token of the page before.
    pub continue_token: Option<String>,
}

/// A change to an object, in one of the patch formats.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes' strategic merge patch.
    Strategic(Value),
}

/// What happens to dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kubernetes'")]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// Options of a deletion.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds until a pod is killed; the object's own default if `None`.
    pub grace_period_seconds: Option<i64>,
    /// Only if the object still has this uid.
    pub uid: Option<String>,
    /// Only if the object is still at this version.
    pub resource_version: Option<String>,
    /// What happens to dependents.
    pub propagation: Option<Propagation>,
}

impl DeleteOptions {
    fn to_json(&self) -> Value {
        let mut body = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = &self.resource_version {
            body["preconditions"]["resourceVersion"] = json!(version);
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = json!(format!("{propagation:?}"));
        }
        body
    }
}

/// A complete answer of the API server.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The body.
    pub body: Bytes,
    /// The revision a write stands at; 0 for reads.
    pub revision: u64,
}

#[derive(Deserialize)]
struct StatusBody {
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct ListBody<'a> {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_token: String,
}

#[derive(Deserialize)]
struct ObjectRevision {
    metadata: ListMetadata,
}

impl Client {
    /// Wraps a `kube::Client`.
    pub fn new(kube: kube::Client) -> Client {
        Client { kube, fence: None, bookmarks: None }
    }

    /// A client whose transport is a service of this process, typically the API server's own.
    pub fn in_process<S, B>(service: S) -> Client
    where
        S: tower::Service<Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<tower::BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<tower::BoxError>,
    {
        let kube = kube::Client::new(service, "default");
        Client { kube, fence: None, bookmarks: Some(PromptBookmarks { every: PROMPT }) }
    }

    /// The underlying client, for what this one does not cover.
    pub fn kube(&self) -> kube::Client {
        self.kube.clone()
    }

    /// The same client, whose writes are valid only under the given leadership. Only in-process
    /// transports carry it.
    pub fn with_fence(&self, fence: Fence) -> Client {
        Client { fence: Some(fence), ..self.clone() }
    }

    /// The same client, whose watches learn of revisions that do not concern them no more often
    /// than this while there are always new ones. Only in-process transports carry it.
    pub fn with_bookmarks_every(&self, every: Duration) -> Client {
        let bookmarks = self.bookmarks.map(|_| PromptBookmarks { every });
        Client { bookmarks, ..self.clone() }
    }

    /// Reads one object.
    pub async fn get<T: Object>(&self, namespace: &str, name: &str) -> Result<T, Error> {
        let answer = self.call(Method::GET, &path::<T>(Some(namespace), name, ""), None).await?;
        Ok(T::decode(&answer.body)?)
    }

    /// Reads one object; `None` if there is none.
    pub async fn find<T: Object>(&self, namespace: &str, name: &str) -> Result<Option<T>, Error> {
        match self.get(namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists objects, linearizably.
    pub async fn list<T: Object>(&self, options: &ListOptions) -> Result<List<T>, Error> {
        self.list_at(&collection::<T>(options.namespace.as_deref()), options, T::decode).await
    }

    /// Lists the collection at a path, whose objects are read by a function: one type may read
    /// objects of many kinds.
    pub(crate) async fn list_at<T: Object>(
        &self,
        path: &str,
        options: &ListOptions,
        decode: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<List<T>, Error> {
        let uri = format!("{path}?{}", options.query());
        let answer = self.call(Method::GET, &uri, None).await?;
        let body: ListBody<'_> = parse("list", &answer.body)?;
        let items = body.items.unwrap_or_default();
        let items: Result<Vec<T>, _> = items.iter().map(|o| decode(o.get().as_bytes())).collect();
        Ok(List {
            items: items?,
            revision: body.metadata.resource_version.parse().unwrap_or(0),
            continue_token: Some(body.metadata.continue_token).filter(|t| !t.is_empty()),
        })
    }

    /// Creates an object.
    pub async fn create<T: Object>(&self, object: &T) -> Result<Written<T>, Error> {
        let uri = collection::<T>(Some(object.namespace()));
        self.write(Method::POST, &uri, "application/json", object.encode()).await
    }

    /// Replaces an object. If it carries a resourceVersion, only when that is still current.
    pub async fn update<T: Object>(&self, object: &T) -> Result<Written<T>, Error> {
        let uri = path::<T>(Some(object.namespace()), object.name(), "");
        self.write(Method::PUT, &uri, "application/json", object.encode()).await
    }

    /// Replaces an object's status.
    pub async fn update_status<T: Object>(&self, object: &T) -> Result<Written<T>, Error> {
        let uri = path::<T>(Some(object.namespace()), object.name(), "status");
        self.write(Method::PUT, &uri, "application/json", object.encode()).await
    }

    /// Patches an object.
    pub async fn patch<T: Object>(
        &self,
        key: &ObjectKey,
        patch: Patch,
    ) -> Result<Written<T>, Error> {
        self.patch_subresource(key, "", patch).await
    }

    /// Patches an object's status.
    pub async fn patch_status<T: Object>(
        &self,
        key: &ObjectKey,
        patch: Patch,
    ) -> Result<Written<T>, Error> {
        self.patch_subresource(key, "status", patch).await
    }

    async fn patch_subresource<T: Object>(
        &self,
        key: &ObjectKey,
        subresource: &str,
        patch: Patch,
    ) -> Result<Written<T>, Error> {
        let (content_type, body) = match patch {
            Patch::Json(body) => ("application/json-patch+json", body),
            Patch::Merge(body) => ("application/merge-patch+json", body),
            Patch::Strategic(body) => ("application/strategic-merge-patch+json", body),
        };
        let uri = path::<T>(Some(&key.namespace), &key.name, subresource);
        self.write(Method::PATCH, &uri, content_type, body.to_string().into_bytes()).await
    }

    /// Deletes an object; answers the revision of the deletion, or of its first mark.
    pub async fn delete<T: Object>(
        &self,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<u64, Error> {
        let uri = path::<T>(Some(&key.namespace), &key.name, "");
        let body = options.to_json().to_string().into_bytes();
        let answer = self.call(Method::DELETE, &uri, Some(("application/json", body))).await?;
        Ok(answer.revision)
    }

    /// Posts to a subresource, such as `binding` or `token`.
    pub async fn create_subresource<T: Object>(
        &self,
        key: &ObjectKey,
        subresource: &str,
        body: &Value,
    ) -> Result<Answer, Error> {
        let uri = path::<T>(Some(&key.namespace), &key.name, subresource);
        let body = body.to_string().into_bytes();
        self.call(Method::POST, &uri, Some(("application/json", body))).await
    }

    /// A revision that everything acknowledged before this call is not newer than.
    pub async fn read_index(&self) -> Result<u64, Error> {
        let answer = self.call(Method::GET, "/api/v1/namespaces?limit=1", None).await?;
        let body: ObjectRevision = parse("list", &answer.body)?;
        body.metadata.resource_version.parse().map_err(|_| {
            Error::InvalidRequest("the server's list carries no resourceVersion".to_owned())
        })
    }

    /// Any request with a complete answer. A body comes with its content type.
    pub async fn call(
        &self,
        method: Method,
        uri: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Answer, Error> {
        let response = self.send(method, uri, body).await?;
        let revision = response
            .headers()
            .get(REVISION_HEADER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| Error::Transport {
            message: format!("{uri}: the answer broke off: {error}"),
            outcome_unknown: true,
        })?;
        let body = body.to_bytes();
        if status.is_success() {
            Ok(Answer { body, revision })
        } else {
            Err(refused(status, &body))
        }
    }

    /// Any request whose answer is read as it arrives. An error status is returned as an error.
    pub async fn stream(&self, uri: &str) -> Result<Body, Error> {
        let response = self.send(Method::GET, uri, None).await?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(body);
        }
        let bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        Err(refused(status, &bytes))
    }

    async fn send(
        &self,
        method: Method,
        uri: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<http::Response<Body>, Error> {
        let mut request = Request::builder().method(&method).uri(uri);
        request = request.header(header::ACCEPT, "application/json");
        let content = match body {
            Some((content_type, bytes)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                bytes
            }
            None => Vec::new(),
        };
        if let Some(fence) = self.fence {
            request = request.extension(fence);
        }
        if let Some(bookmarks) = self.bookmarks {
            request = request.extension(bookmarks);
        }
        let request = request
            .body(Body::from(content))
            .map_err(|error| Error::InvalidRequest(format!("{method} {uri}: {error}")))?;
        self.kube.send(request).await.map_err(|error| Error::Transport {
            message: format!("{method} {uri}: {}", kontiki_base::tasks::render(&error)),
            outcome_unknown: method != Method::GET,
        })
    }

    async fn write<T: Object>(
        &self,
        method: Method,
        uri: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Written<T>, Error> {
        let answer = self.call(method, uri, Some((content_type, body))).await?;
        let object = T::decode(&answer.body)?;
        let own = object.metadata().resource_version.as_deref().and_then(|v| v.parse().ok());
        Ok(Written { revision: answer.revision.max(own.unwrap_or(0)), object })
    }
}

impl ListOptions {
    /// Only one namespace.
    pub fn namespace(namespace: &str) -> ListOptions {
        ListOptions { namespace: Some(namespace.to_owned()), ..ListOptions::default() }
    }

    /// Adds a field selector.
    pub fn fields(mut self, selector: &str) -> ListOptions {
        self.field_selector = Some(selector.to_owned());
        self
    }

    /// Adds a label selector.
    pub fn labels(mut self, selector: &str) -> ListOptions {
        self.label_selector = Some(selector.to_owned());
        self
    }

    /// The query string of these options.
    pub fn query(&self) -> String {
        let mut query = Vec::new();
        let mut add = |name: &str, value: &str| query.push(format!("{name}={}", escape(value)));
        if let Some(selector) = &self.label_selector {
            add("labelSelector", selector);
        }
        if let Some(selector) = &self.field_selector {
            add("fieldSelector", selector);
        }
        if let Some(limit) = self.limit {
            add("limit", &limit.to_string());
        }
        if let Some(token) = &self.continue_token {
            add("continue", token);
        }
        query.join("&")
    }
}

/// The path of a kind's collection; a namespace is ignored for cluster-scoped kinds.
pub fn collection<T: Object>(namespace: Option<&str>) -> String {
    let root = if T::GROUP.is_empty() {
        format!("/api/{}", T::VERSION)
    } else {
        format!("/apis/{}/{}", T::GROUP, T::VERSION)
    };
    match namespace {
        Some(namespace) if T::NAMESPACED => {
            format!("{root}/namespaces/{namespace}/{}", T::RESOURCE)
        }
        _ => format!("{root}/{}", T::RESOURCE),
    }
}

/// The path of an object, or of a subresource of it.
pub fn path<T: Object>(namespace: Option<&str>, name: &str, subresource: &str) -> String {
    let object = format!("{}/{name}", collection::<T>(namespace));
    if subresource.is_empty() { object } else { format!("{object}/{subresource}") }
}

/// Percent-encodes a query value (RFC 3986, section 2.3: unreserved characters stay).
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn parse<'a, B: Deserialize<'a>>(kind: &'static str, json: &'a [u8]) -> Result<B, Error> {
    serde_json::from_slice(json)
        .map_err(|error| Error::Decode(DecodeError { kind, reason: error.to_string() }))
}

/// Turns an error answer into an [`Error`], with the server's own words when it sent a Status.
pub(crate) fn refused(status: StatusCode, body: &[u8]) -> Error {
    let parsed: StatusBody = serde_json::from_slice(body).unwrap_or_else(|_| StatusBody {
        message: String::from_utf8_lossy(&body[..body.len().min(512)]).trim().to_owned(),
        reason: String::new(),
    });
    Error::Api { code: status.as_u16(), reason: parsed.reason, message: parsed.message }
}

#[cfg(test)]
mod tests {
    use kontiki_api::k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};

    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        assert_eq!(path::<Node>(Some("ignored"), "w1", "status"), "/api/v1/nodes/w1/status");
        assert_eq!(
            path::<Deployment>(Some("shop"), "web", ""),
            "/apis/apps/v1/namespaces/shop/deployments/web"
        );
        assert_eq!(collection::<Deployment>(None), "/apis/apps/v1/deployments");
    }

    #[test]
    fn selectors_are_escaped() {
        let options =
            ListOptions::namespace("shop").labels("app in (a,b)").fields("spec.nodeName=w1");
        assert_eq!(
            options.query(),
            "labelSelector=app%20in%20%28a%2Cb%29&fieldSelector=spec.nodeName%3Dw1"
        );
    }

    #[test]
    fn a_status_becomes_an_error_with_its_reason() {
        let body = br#"{"kind":"Status","reason":"NotFound","message":"pods \"a\" not found"}"#;
        let error = refused(StatusCode::NOT_FOUND, body);
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "pods \"a\" not found");
    }
}
