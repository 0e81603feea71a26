//! Lists in protobuf, for those who take no JSON.
//!
//! The length of a list stands before it. So its objects are written twice: once for their length,
//! once to be sent; and never are they all there at a time.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use kontiki_api::catalogue::Row;
use serde_json::Value;

use super::{CHUNK_BYTES, Form, Objects};
use crate::{
    answer::{Body, BodyError},
    cache::object::Object,
    protobuf::{Error, encode, message::Message},
};

/// Objects whose length is found out before others get their turn at the processor.
const STEP: usize = 64;

/// The body of a list.
pub(super) fn body(row: &Row, form: Form, metadata: &Value, objects: Objects) -> Body {
    let (api_version, kind, list_kind) = match form {
        Form::Metadata => {
            let kind = "PartialObjectMetadata".to_owned();
            ("meta.k8s.io/v1".to_owned(), kind.clone(), kind + "List")
        }
        _ => (row.api_version(), row.kind.to_string(), row.list_kind.to_string()),
    };
    let head = encode::list_head(metadata).0;
    // By reference: this holds no more than the snapshot does.
    let objects = objects.collect();
    let writer = Writer { api_version, kind, list_kind, head, objects, place: 0, sent: None };
    Body::stream(pieces(writer))
}

struct Writer {
    api_version: String,
    kind: String,
    list_kind: String,
    head: Vec<u8>,
    objects: Vec<Arc<Object>>,
    place: usize,
    /// `None` until the length has been sent; then whether the end has.
    sent: Option<bool>,
}

fn pieces(writer: Writer) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    stream::unfold(writer, |mut writer| async move {
        let piece = match writer.sent {
            None => writer.beginning().await,
            Some(false) => writer.items(),
            Some(true) => return None,
        };
        Some((piece.map(Bytes::from).map_err(Into::into), writer))
    })
}

impl Writer {
    fn item(&self, object: &Object) -> Result<Vec<u8>, Error> {
        encode::list_item(&self.api_version, &self.kind, &object.value())
    }

    async fn beginning(&mut self) -> Result<Vec<u8>, Error> {
        let mut length = self.head.len();
        for step in self.objects.chunks(STEP) {
            for object in step {
                length += self.item(object)?.len();
            }
            tokio::task::yield_now().await;
        }
        let mut out = encode::envelope(&self.api_version, &self.list_kind, length);
        out.0.append(&mut self.head);
        self.sent = Some(false);
        Ok(out.0)
    }

    fn items(&mut self) -> Result<Vec<u8>, Error> {
        let mut out = Message::default();
        while out.0.len() < CHUNK_BYTES {
            let Some(object) = self.objects.get(self.place) else {
                encode::finish(&mut out);
                self.sent = Some(true);
                break;
            };
            out.0.extend(self.item(object)?);
            self.place += 1;
        }
        Ok(out.0)
    }
}
