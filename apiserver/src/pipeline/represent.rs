//! The last step of an answer: protobuf for those who do not want JSON, and gzip for what is large.
//!
//! Lists and watches that are streams have been written in what was agreed on; whatever else is
//! whole by now is JSON, and is transcoded here. Nothing is ever gathered to be compressed.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Response, header};
use http_body_util::BodyDataStream;
use serde_json::Value;

use crate::{
    answer::{Body, BodyError},
    exchange::Exchange,
    protobuf::{self, encode},
    verbs::accept,
};

/// What is larger is worth compressing, as upstream.
const LARGE_BYTES: usize = 128 << 10;
/// What is compressed at a time.
const STEP_BYTES: usize = 64 << 10;
const JSON: &str = "application/json";

pub(super) fn answered(exchange: &Exchange, mut response: Response<Body>) -> Response<Body> {
    let accepted = exchange.header(header::ACCEPT);
    if exchange.info.is_resource && accept::gets_protobuf(accepted) {
        transcode(&mut response);
    }
    if compresses(exchange, &response) { compress(response) } else { response }
}

fn media_type(response: &Response<Body>) -> &str {
    let value = response.headers().get(header::CONTENT_TYPE);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Turns an answer of JSON into one of protobuf, if there is a message for it.
fn transcode(response: &mut Response<Body>) {
    if media_type(response) != JSON {
        return;
    }
    let Some(json) = response.body().as_full() else { return };
    let value = serde_json::from_slice::<Value>(json).ok();
    let Some(bytes) = value.and_then(|value| encode::from_json(&value).ok()) else { return };
    *response.body_mut() = Body::full(bytes);
    let value = HeaderValue::from_static(protobuf::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
}

/// Whether the client says that it reads gzip.
fn takes_gzip(header: &str) -> bool {
    header.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !matches!(parts.next(), Some("q=0" | "q=0.0"))
    })
}

fn compresses(exchange: &Exchange, response: &Response<Body>) -> bool {
    if exchange.info.is_long_running()
        || response.headers().contains_key(header::CONTENT_ENCODING)
        || !takes_gzip(exchange.header(header::ACCEPT_ENCODING))
    {
        return false;
    }
    let text = media_type(response);
    let ours = text.starts_with(JSON)
        || text.starts_with("application/yaml")
        || text.starts_with(protobuf::MEDIA_TYPE);
    // Who streams has more than fits into one piece.
    ours && response.body().as_full().map_or(!response.body().is_whole(), |b| b.len() > LARGE_BYTES)
}

fn compress(response: Response<Body>) -> Response<Body> {
    let mut response = response.map(|body| Body::stream(gzip(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.remove(header::CONTENT_LENGTH);
    response
}

struct Packer {
    source: BodyDataStream<Body>,
    /// What has come and is not packed yet.
    rest: Bytes,
    /// `None` when all is packed.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

fn gzip(body: Body) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    let encoder = Some(GzEncoder::new(Vec::new(), Compression::new(1)));
    let packer = Packer { source: BodyDataStream::new(body), rest: Bytes::new(), encoder };
    stream::unfold(packer, |mut packer| async move {
        let packed = packer.next().await?;
        Some((packed, packer))
    })
}

impl Packer {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            let encoder = self.encoder.as_mut()?;
            if self.rest.is_empty() {
                match self.source.next().await {
                    Some(Ok(data)) => self.rest = data,
                    Some(Err(error)) => {
                        self.encoder = None;
                        return Some(Err(error));
                    }
                    None => {
                        let packed = self.encoder.take()?.finish();
                        return Some(packed.map(Bytes::from).map_err(Into::into));
                    }
                }
            }
            let step = self.rest.split_to(self.rest.len().min(STEP_BYTES));
            if let Err(error) = encoder.write_all(&step) {
                return Some(Err(error.into()));
            }
            let packed = std::mem::take(encoder.get_mut());
            if !packed.is_empty() {
                return Some(Ok(packed.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn what_is_packed_unpacks_to_what_it_was() {
        let text: Vec<u8> = (0..400_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let pieces: Vec<Result<Bytes, BodyError>> =
            text.chunks(150_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let packed: Vec<Bytes> =
            gzip(Body::stream(stream::iter(pieces))).map(|piece| piece.unwrap()).collect().await;
        assert!(packed.len() > 3);
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(packed.concat().as_slice()).read_to_end(&mut out).unwrap();
        assert_eq!(out, text);
    }

    #[test]
    fn gzip_is_asked_for_by_name() {
        assert!(takes_gzip("gzip"));
        assert!(takes_gzip("deflate, gzip;q=0.8"));
        assert!(!takes_gzip("gzip;q=0"));
        assert!(!takes_gzip("br"));
        assert!(!takes_gzip(""));
    }
}
