//! What comes up while a request is served and belongs beside its answer: warnings for the client,
//! annotations for the audit log.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

/// Most warnings of one answer; a request that earns more has been told enough.
const WARNINGS_MAX: usize = 64;

/// The notes of one request. Steps may run several times for one request; what is said twice is
/// noted once.
#[derive(Debug, Default)]
pub struct Notes {
    warnings: Mutex<Vec<String>>,
    annotations: Mutex<BTreeMap<&'static str, String>>,
    request_object: Mutex<Option<Bytes>>,
}

impl Notes {
    /// Notes a warning for the client.
    pub fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock();
        if warnings.len() < WARNINGS_MAX && !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Notes an annotation for the audit log.
    pub fn annotate(&self, key: &'static str, value: impl Into<String>) {
        self.annotations.lock().insert(key, value.into());
    }

    /// Keeps the request's object for the audit log.
    pub fn keep_request(&self, object: &Bytes) {
        *self.request_object.lock() = Some(object.clone());
    }

    /// The request's object, if it was kept.
    pub fn request_object(&self) -> Option<Bytes> {
        self.request_object.lock().clone()
    }

    /// The warnings so far, which are no longer here afterwards.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }

    /// The annotations so far.
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        self.annotations.lock().clone()
    }
}
