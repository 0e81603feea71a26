//! Watches: events as they arrive, each with its time.

use std::time::Instant;

use anyhow::{Result, bail};
use bytes::BytesMut;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::connection::Connection;

/// A watch that is under way.
pub struct Watch {
    body: Incoming,
    buffer: BytesMut,
    searched: usize,
}

impl Watch {
    /// Watches a collection from a revision on.
    pub async fn open(connection: &mut Connection, collection: &str, from: &str) -> Result<Watch> {
        let uri = format!("{collection}?watch=true&resourceVersion={from}");
        let response = connection.send(Method::GET, &uri, None).await?;
        if !response.status().is_success() {
            bail!("{uri}: {}", response.status());
        }
        Ok(Watch { body: response.into_body(), buffer: BytesMut::new(), searched: 0 })
    }

    /// The next event's line and when it was complete; `None` when the watch has ended.
    pub async fn next(&mut self) -> Result<Option<(Instant, BytesMut)>> {
        loop {
            let fresh = &self.buffer[self.searched..];
            if let Some(offset) = fresh.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + offset + 1);
                self.searched = 0;
                return Ok(Some((Instant::now(), line)));
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Some(data) = frame?.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }

    /// The next event as JSON.
    pub async fn next_json(&mut self) -> Result<Option<(Instant, Value)>> {
        match self.next().await? {
            None => Ok(None),
            Some((when, line)) => Ok(Some((when, serde_json::from_slice(&line)?))),
        }
    }
}
