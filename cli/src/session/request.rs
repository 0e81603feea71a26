//! Untyped requests: JSON in, JSON out, and lines as they arrive.

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kontiki_client::Error;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

use super::Session;

/// The form in which objects are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// Objects as they are.
    Json,
    /// The server's table, where it has one.
    Table,
}

impl Accept {
    fn header(self) -> &'static str {
        match self {
            Accept::Json => "application/json",
            Accept::Table => "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    reason: String,
}

impl Session {
    /// Reads one JSON value.
    pub(crate) async fn get(&self, uri: &str, accept: Accept) -> Result<Value, Error> {
        let body = self.open(uri, accept).await?;
        let bytes = collect(uri, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| invalid(uri, &error))
    }

    /// Reads one JSON value; `None` where there is nothing.
    pub(crate) async fn find(&self, uri: &str) -> Result<Option<Value>, Error> {
        match self.get(uri, Accept::Json).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one JSON value and reads the answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let body = body.to_string().into_bytes();
        let answer = self.client.call(method, uri, Some((content_type, body))).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|error| invalid(uri, &error))
    }

    /// Opens a stream of lines, such as a watch or a log.
    pub(crate) async fn lines(&self, uri: &str, accept: Accept) -> Result<Lines, Error> {
        Ok(Lines { body: self.open(uri, accept).await?, buffer: BytesMut::new() })
    }

    /// Posts JSON and reads the answer as it arrives.
    pub(crate) async fn post(&self, uri: &str, json: Vec<u8>) -> Result<Body, Error> {
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(json))
            .map_err(|error| Error::InvalidRequest(format!("POST {uri}: {error}")))?;
        self.exchange(uri, request).await
    }

    async fn open(&self, uri: &str, accept: Accept) -> Result<Body, Error> {
        let request = Request::get(uri)
            .header(header::ACCEPT, accept.header())
            .body(Body::empty())
            .map_err(|error| Error::InvalidRequest(format!("GET {uri}: {error}")))?;
        self.exchange(uri, request).await
    }

    async fn exchange(&self, uri: &str, request: Request<Body>) -> Result<Body, Error> {
        let response = self.client.kube().send(request).await.map_err(|error| {
            Error::Transport { message: innermost(&error), outcome_unknown: false }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let bytes = collect(uri, response.into_body()).await.unwrap_or_default();
        let parsed: Status = serde_json::from_slice(&bytes).unwrap_or_else(|_| Status {
            message: String::from_utf8_lossy(&bytes).trim().to_owned(),
            reason: String::new(),
        });
        Err(Error::Api { code: status.as_u16(), reason: parsed.reason, message: parsed.message })
    }
}

/// The cause at the bottom: what stands above it only says that a request failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

fn invalid(uri: &str, error: &serde_json::Error) -> Error {
    Error::InvalidRequest(format!("{uri}: the answer is no JSON: {error}"))
}

async fn collect(uri: &str, body: Body) -> Result<Bytes, Error> {
    let collected = body.collect().await.map_err(|error| Error::Transport {
        message: format!("{uri}: the answer broke off: {error}"),
        outcome_unknown: false,
    })?;
    Ok(collected.to_bytes())
}

/// An answer that is read line by line as it arrives.
pub(crate) struct Lines {
    body: Body,
    buffer: BytesMut,
}

/// Longest line that is kept: an object has at most some megabytes.
const LINE_BYTES_MAX: usize = 64 << 20;

impl Lines {
    /// The next line without its end; `None` when the server has closed the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            anyhow::ensure!(self.buffer.len() < LINE_BYTES_MAX, "a line of the answer is too long");
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.context("the stream broke off")?;
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => return Ok(Some(self.buffer.split().freeze())),
            }
        }
    }
}
