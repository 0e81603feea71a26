//! One request on its way through the pipeline, with what the stages have found out about it.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use http::request::Parts;
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use jiff::Timestamp;
use kontiki_api::Status;
use kontiki_base::{Fence, fence::PromptBookmarks};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    answer::BodyError, audit::Record, cache::Resource, flowcontrol, notes::Notes,
    pipeline::limits::InFlight, query::Query, request_info::RequestInfo, user::UserInfo,
};

/// The largest body that is read, as upstream.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// A request's body, of whatever transport.
pub type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A connection, with the user of its client certificate.
    Network {
        /// `None` if it showed none.
        certificate: Option<Arc<UserInfo>>,
    },
    /// This process; authenticated by construction.
    InProcess {
        /// Who it acts as.
        user: Arc<UserInfo>,
    },
}

/// A request on its way.
pub struct Exchange {
    /// Method, URI, headers and extensions.
    pub parts: Parts,
    /// The body until it is read. Bodies cannot be shared, but requests are.
    body: Mutex<Option<RequestBody>>,
    /// Where it comes from.
    pub source: Source,
    /// When it arrived.
    pub started: Instant,
    /// The same, on the wall.
    pub now: Timestamp,
    /// The query.
    pub query: Query,
    /// What it is about.
    pub info: RequestInfo,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The resource it goes to; set by the router.
    pub resource: Option<Arc<Resource>>,
    /// For the `Warning` header.
    pub warnings: Vec<String>,
    /// What its steps note down; the writer of the request shares it.
    pub notes: Arc<Notes>,
    /// Its record in the audit log.
    pub audit: Option<Record>,
    /// The flow schema that it is of.
    pub schema: Option<Arc<flowcontrol::Schema>>,
    /// Its seat there.
    pub seat: Option<flowcontrol::Seat>,
    /// Counts it while it is served.
    pub in_flight: Option<InFlight>,
    /// Its place among the requests in flight, where seats are not given.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Exchange {
    /// A request before its first stage.
    pub fn new(parts: Parts, body: RequestBody, source: Source) -> Exchange {
        Exchange {
            parts,
            body: Mutex::new(Some(body)),
            source,
            started: Instant::now(),
            now: Timestamp::now(),
            query: Query::default(),
            info: RequestInfo::default(),
            user: Arc::new(UserInfo::anonymous()),
            resource: None,
            warnings: Vec::new(),
            notes: Arc::default(),
            audit: None,
            schema: None,
            seat: None,
            in_flight: None,
            permit: None,
        }
    }

    /// Reads the body, once.
    pub fn read_body(&mut self) -> BoxFuture<'static, Result<Bytes, Status>> {
        let body = self.body.get_mut().take();
        let wanted = self.audit.as_ref().is_some_and(Record::wants_request);
        let keep = wanted.then(|| self.notes.clone());
        async move {
            let Some(mut body) = body else { return Ok(Bytes::new()) };
            let mut whole = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| {
                    Status::bad_request(format!("cannot read the body: {error}"))
                })?;
                let Ok(data) = frame.into_data() else { continue };
                if whole.len() + data.len() > BODY_BYTES_MAX {
                    let limit = format!("limit is {BODY_BYTES_MAX}");
                    return Err(Status::request_entity_too_large(&limit));
                }
                whole.extend_from_slice(&data);
            }
            let whole = whole.freeze();
            if let Some(notes) = keep {
                notes.keep_request(&whole);
            }
            Ok(whole)
        }
        .boxed()
    }

    /// The body, for those who pass it on as it comes; empty if it was taken before.
    pub fn take_body(&mut self) -> RequestBody {
        let taken = self.body.get_mut().take();
        taken.unwrap_or_else(|| Empty::new().map_err(|never| match never {}).boxed_unsync())
    }

    /// The leadership under which the caller acts; only callers in this process can say.
    pub fn fence(&self) -> Option<Fence> {
        match self.source {
            Source::InProcess { .. } => self.parts.extensions.get::<Fence>().copied(),
            Source::Network { .. } => None,
        }
    }

    /// Whether, and how often at most, the caller wants bookmarks when the revision moves.
    pub fn prompt_bookmarks(&self) -> Option<PromptBookmarks> {
        match self.source {
            Source::InProcess { .. } => self.parts.extensions.get().copied(),
            Source::Network { .. } => None,
        }
    }

    /// A header as text; empty if absent or not text.
    pub fn header(&self, name: http::header::HeaderName) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The resource, for stages behind the router.
    pub fn resource(&self) -> Result<&Arc<Resource>, Status> {
        self.resource.as_ref().ok_or_else(Status::no_such_resource)
    }
}
