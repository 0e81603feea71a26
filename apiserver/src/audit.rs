//! The audit log: who asked for what, and what became of it, as the policy file wants it told.
//!
//! ```text
//! request ──> rule of the policy (first that matches): level, stages to leave out
//!    RequestReceived ──> [ResponseStarted, of what runs long] ──> ResponseComplete | Panic
//! ```
//!
//! Every stage is one line of JSON, an `audit.k8s.io/v1` Event, written before the request goes
//! on: what was answered is in the log.

mod event;
mod file;
mod policy;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

pub use file::Rotation;
pub use policy::{Level, Policy, PolicyError, Stage};

use crate::{
    exchange::{Exchange, Source},
    user::UserInfo,
};

/// Where the log goes, and what goes there.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is logged.
    pub policy: Policy,
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// When a file is closed and how many are kept.
    pub rotation: Rotation,
}

/// The log of one server.
pub struct Log {
    policy: Policy,
    file: file::File,
}

impl Log {
    /// Opens the log.
    pub fn open(options: Options) -> std::io::Result<Log> {
        Ok(Log { policy: options.policy, file: file::File::open(options.path, options.rotation)? })
    }

    fn write(&self, event: &Value) {
        if let Err(error) = self.file.write_line(&event.to_string(), Timestamp::now()) {
            tracing::error!("cannot write the audit log: {error}");
        }
    }
}

/// One request in the log.
pub struct Record {
    log: Arc<Log>,
    verdict: policy::Verdict,
    id: String,
    /// Who asked, before any impersonation.
    user: Arc<UserInfo>,
    /// The object of the request, if the level asks for it.
    pub request_object: Option<Bytes>,
}

impl Record {
    /// Begins the record of an authenticated request; `None` if the policy leaves it out.
    pub fn begin(log: &Arc<Log>, exchange: &Exchange) -> Option<Record> {
        // The server's own loops are callers like any other.
        let verdict = log.policy.judge(&exchange.user, &exchange.info);
        if verdict.level == Level::None {
            return None;
        }
        let given = exchange.parts.headers.get("audit-id").and_then(|value| value.to_str().ok());
        let id = match given {
            Some(id) if !id.is_empty() && id.len() <= 64 => id.to_owned(),
            _ => uuid::Uuid::new_v4().to_string(),
        };
        let user = exchange.user.clone();
        Some(Record { log: log.clone(), verdict, id, user, request_object: None })
    }

    /// The id under which the request is found in the log.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the request's object is logged.
    pub fn wants_request(&self) -> bool {
        self.verdict.level >= Level::Request
    }

    /// Whether the answer's object is logged.
    pub fn wants_response(&self) -> bool {
        self.verdict.level >= Level::RequestResponse
    }

    /// Logs a stage, unless the policy leaves it out.
    pub fn tell(&self, stage: Stage, exchange: &Exchange, answer: Option<&Answer>) {
        if !self.verdict.omits(stage) {
            self.log.write(&event::of(self, stage, exchange, answer));
        }
    }

    /// What is logged when a stream ends, which outlives its request.
    pub fn at_end(self, exchange: &Exchange, answer: &Answer) -> Option<End> {
        if self.verdict.omits(Stage::ResponseComplete) {
            return None;
        }
        let event = event::of(&self, Stage::ResponseComplete, exchange, Some(answer));
        Some(End { log: self.log, event })
    }
}

/// How a request was answered.
pub struct Answer {
    /// HTTP's code.
    pub code: u16,
    /// The JSON of the answer, where it is at hand.
    pub body: Option<Bytes>,
}

/// Logs the end of a stream when it is dropped.
pub struct End {
    log: Arc<Log>,
    event: Value,
}

impl Drop for End {
    fn drop(&mut self) {
        self.event["stageTimestamp"] = event::micros(Timestamp::now()).into();
        self.log.write(&self.event);
    }
}

/// The address of the caller, as far as it is known.
fn source_of(exchange: &Exchange) -> Vec<String> {
    let forwarded = exchange.parts.headers.get("x-forwarded-for");
    let mut all: Vec<String> = forwarded
        .and_then(|value| value.to_str().ok())
        .into_iter()
        .flat_map(|text| text.split(','))
        .filter_map(|text| text.trim().parse::<std::net::IpAddr>().ok())
        .map(|address| address.to_string())
        .collect();
    match &exchange.source {
        Source::InProcess { .. } => all.push("::1".to_owned()),
        Source::Network { .. } => {
            let peer = exchange.parts.extensions.get::<Peer>();
            all.extend(peer.map(|peer| peer.0.to_string()));
        }
    }
    all
}

/// The address at the other end of a connection, as a request's extension.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::IpAddr);
