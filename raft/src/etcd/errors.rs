//! What clients are told when something cannot be done: etcd's codes and texts, which clients
//! compare with their own tables, so they are exact.

use tonic::{Code, Status};

use crate::error::{Error, Refusal};

/// One row: a code and a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer(pub(super) Code, pub(super) &'static str);

macro_rules! answers {
    ($($name:ident $code:ident $text:literal;)*) => {
        $(pub(super) const $name: Answer = Answer(Code::$code, concat!("etcdserver: ", $text));)*
    };
}

answers! {
    AUTH_NOT_ENABLED      FailedPrecondition "authentication is not enabled";
    BAD_TRANSFEREE        FailedPrecondition "bad leader transferee";
    COMPACTED             OutOfRange         "mvcc: required revision has been compacted";
    CORRUPT               DataLoss           "corrupt cluster";
    DUPLICATE_KEY         InvalidArgument    "duplicate key given in txn request";
    EMPTY_KEY             InvalidArgument    "key is not provided";
    FUTURE_REVISION       OutOfRange         "mvcc: required revision is a future revision";
    INVALID_SORT          InvalidArgument    "invalid sort option";
    KEY_NOT_FOUND         InvalidArgument    "key not found";
    LEADER_CHANGED        Unavailable        "leader changed";
    LEARNER_NOT_READY     FailedPrecondition "can only promote a learner member which is in sync with leader";
    LEASE_EXISTS          FailedPrecondition "lease already exists";
    LEASE_NOT_FOUND       NotFound           "requested lease not found";
    LEASE_PROVIDED        InvalidArgument    "lease is provided";
    LEASE_TOO_LONG        OutOfRange         "too large lease TTL";
    MEMBER_BAD_URLS       InvalidArgument    "given member URLs are invalid";
    MEMBER_EXISTS         FailedPrecondition "member ID already exist";
    MEMBER_NOT_FOUND      NotFound           "member not found";
    MEMBER_NOT_LEARNER    FailedPrecondition "can only promote a learner member";
    NOT_LEADER            FailedPrecondition "not leader";
    NO_LEADER             Unavailable        "no leader";
    NO_SPACE              ResourceExhausted  "mvcc: database space exceeded";
    PERMISSION_DENIED     PermissionDenied   "permission denied";
    REQUEST_TOO_LARGE     InvalidArgument    "request is too large";
    STOPPED               Unavailable        "server stopped";
    TIMED_OUT             Unavailable        "request timed out";
    TRANSFER_TIMED_OUT    Unavailable        "request timed out, leader transfer took too long";
    TOO_FEW_STARTED       FailedPrecondition "re-configuration failed due to not enough started members";
    TOO_MANY_REQUESTS     ResourceExhausted  "too many requests";
    TOO_MANY_OPERATIONS   InvalidArgument    "too many operations in txn request";
    VALUE_PROVIDED        InvalidArgument    "value is provided";
}

/// What etcd's own library for locks and elections says, which has no codes.
pub(super) const NO_SUCH_LEASE: Answer = Answer(Code::Unknown, LEASE_NOT_FOUND.1);
pub(super) const MISSING_LEADER_KEY: Answer =
    Answer(Code::Unknown, "\"leader\" field must be provided");
pub(super) const NOBODY_ELECTED: Answer = Answer(Code::Unknown, "election: no leader");
pub(super) const NOT_ELECTED: Answer = Answer(Code::Unknown, "election: not leader");

impl From<Answer> for Status {
    fn from(Answer(code, text): Answer) -> Status {
        Status::new(code, text)
    }
}

impl Answer {
    /// With more after a colon, where clients do not compare the whole text.
    pub(super) fn because(self, reason: impl std::fmt::Display) -> Status {
        Status::new(self.0, format!("{}: {reason}", self.1))
    }
}

/// What the store's errors are in etcd's words.
impl From<Error> for Answer {
    fn from(error: Error) -> Answer {
        match error {
            Error::Compacted { .. } => COMPACTED,
            Error::FutureRevision { .. } => FUTURE_REVISION,
            Error::Refused(refusal) => refusal.into(),
            Error::Timeout { .. } => TIMED_OUT,
            Error::CorruptMember { .. } => CORRUPT,
            Error::TooManyRequests => TOO_MANY_REQUESTS,
            Error::ShutDown | Error::Removed { .. } => STOPPED,
            Error::Declined { .. } => TOO_FEW_STARTED,
            Error::DataFolder { .. } | Error::Storage(_) | Error::Listen { .. } => CORRUPT,
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        match refusal {
            Refusal::Compacted { .. } => COMPACTED,
            Refusal::FutureRevision { .. } => FUTURE_REVISION,
            Refusal::DuplicateKey { .. } => DUPLICATE_KEY,
            Refusal::KeyNotFound { .. } => KEY_NOT_FOUND,
            Refusal::NoSpace => NO_SPACE,
            Refusal::LeaseExists { .. } => LEASE_EXISTS,
            Refusal::LeaseNotFound { .. } => LEASE_NOT_FOUND,
            Refusal::LeaseTtlTooLarge { .. } => LEASE_TOO_LONG,
            Refusal::TooLarge { .. } => REQUEST_TOO_LARGE,
            // The answer to a proposal that this member has given up is nobody's.
            Refusal::Outdated { .. } => TIMED_OUT,
            Refusal::Fenced { .. } => LEADER_CHANGED,
        }
    }
}

/// The answer to a request that the store could not serve.
pub(super) fn status(error: Error) -> Status {
    match &error {
        Error::Storage(cause) => tracing::error!("a request failed: {cause}"),
        Error::Declined { reason } => return TOO_FEW_STARTED.because(reason),
        // By its code, clients try another member.
        Error::Removed { reason } => return STOPPED.because(reason),
        _ => {}
    }
    Answer::from(error).into()
}
