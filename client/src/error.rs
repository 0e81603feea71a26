//! What can go wrong with a request, and whether it may have been carried out all the same.

use kontiki_api::typed::DecodeError;

/// An error of one request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server answered with a Status.
    #[error("{message}")]
    Api {
        /// HTTP status code.
        code: u16,
        /// Machine-readable reason (`NotFound`, `Conflict`, …); empty if there was none.
        reason: String,
        /// For people.
        message: String,
    },
    /// No server answered, or the connection broke.
    #[error("cannot reach the API server: {message}")]
    Transport {
        /// What was tried and how it failed.
        message: String,
        /// Whether the request may have been carried out.
        outcome_unknown: bool,
    },
    /// The answer is not what the request asked for.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The request could not even be written down.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
}

impl Error {
    fn is(&self, wanted_code: u16, wanted_reason: &str) -> bool {
        matches!(self, Error::Api { code, reason, .. }
            if *code == wanted_code && (reason == wanted_reason || reason.is_empty()))
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.is(404, "NotFound")
    }

    /// The object exists already.
    pub fn is_already_exists(&self) -> bool {
        self.is(409, "AlreadyExists")
    }

    /// The object changed since it was read, or another precondition failed.
    pub fn is_conflict(&self) -> bool {
        self.is(409, "Conflict")
    }

    /// The revision a watch or list asked for is compacted.
    pub fn is_expired(&self) -> bool {
        matches!(self, Error::Api { code: 410, .. })
    }

    /// The caller may not do this.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Error::Api { code: 403, .. })
    }

    /// Whether the request may have been carried out although it failed.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Error::Transport { outcome_unknown, .. } => *outcome_unknown,
            Error::Api { code, .. } => matches!(code, 500 | 503 | 504),
            Error::Decode(_) => true,
            Error::InvalidRequest(_) => false,
        }
    }

    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Transport { .. } => true,
            Error::Api { code, .. } => matches!(code, 429 | 500 | 503 | 504),
            Error::Decode(_) | Error::InvalidRequest(_) => false,
        }
    }
}
