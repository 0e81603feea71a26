//! Answers: what goes back over the socket, or to a caller in this process.

use std::{
    any::Any,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use kontiki_api::Status;
use serde_json::Value;

/// The header that tells the store's revision after a successful write.
pub const REVISION_HEADER: &str = "kontiki-revision";

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer: nothing, bytes, or a stream of bytes.
pub struct Body {
    kind: Kind,
    /// Whatever lives as long as the body does.
    held: Option<Arc<dyn Any + Send + Sync>>,
}

enum Kind {
    Full(Option<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>),
}

impl Body {
    fn of(kind: Kind) -> Body {
        Body { kind, held: None }
    }

    /// Keeps something until the body has been sent.
    #[must_use]
    pub fn holding(mut self, held: Arc<dyn Any + Send + Sync>) -> Body {
        self.held = Some(held);
        self
    }

    /// Whether there is no more to come than what is there.
    pub fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Full(_))
    }

    /// No bytes.
    pub fn empty() -> Body {
        Body::of(Kind::Full(None))
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body::of(Kind::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty())))
    }

    /// Bytes as they come.
    pub fn stream<S>(stream: S) -> Body
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
    {
        Body::of(Kind::Stream(Box::pin(stream)))
    }

    /// The bytes, if they are all there.
    pub fn as_full(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Full(bytes) => bytes.as_ref(),
            Kind::Stream(_) => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let body = self.get_mut();
        match &mut body.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => stream.as_mut().poll_next(context).map(|next| {
                if next.is_none() {
                    body.held = None;
                }
                next.map(|data| data.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer of JSON bytes.
pub fn json(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    typed(code, "application/json", Body::full(bytes))
}

/// An answer of a JSON value.
pub fn value(code: StatusCode, value: &Value) -> Response<Body> {
    json(code, value.to_string())
}

/// An answer of plain text.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    typed(code, "text/plain; charset=utf-8", Body::full(text))
}

/// An answer of a media type.
pub fn typed(code: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// The answer that a Status is.
pub fn status(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, status.encode());
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, retry.into());
    }
    response
}
