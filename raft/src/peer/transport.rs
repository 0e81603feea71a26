//! How frames reach another member: the seam at which a simulated network stands in.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use kontiki_base::CancellationToken;
use tonic::Status;

use super::{handshake::Claim, proto::Frame};

/// Kinds of traffic, each with its own connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Log entries and votes.
    Append,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// What callers of this member want from the leader.
    Forward,
}

/// Calls with one question and one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Hello,
    Append,
    Vote,
    PreVote,
    TransferLeader,
    Administer,
    HeldFiles,
    Lease,
    Examine,
}

/// Calls that stay open: many frames in both directions, answers in the order of their questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipe {
    /// Log entries.
    Append,
    /// Proposals of a member's callers, to the leader.
    Propose,
    /// How far linearizable reads must have applied, from the leader.
    ReadIndex,
}

/// Calls that send many frames and get one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    InstallSnapshot,
}

/// Whom a call is for, and from whom it is.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Where it is dialled.
    pub(crate) address: String,
    /// On which connection.
    pub(crate) lane: Lane,
    /// Who speaks to whom.
    pub(crate) claim: Claim,
    /// Cancelled when there is a better way: a stream that takes this one ends.
    pub(super) ended: Option<CancellationToken>,
}

impl Call {
    /// A stream's answers, for as long as its way is the right one.
    pub(super) fn while_best(&self, answers: Frames) -> Frames {
        match self.ended.clone() {
            Some(ended) => answers.take_until(ended.cancelled_owned()).boxed(),
            None => answers,
        }
    }
}

/// Frames from a peer; one that cannot be read ends them.
pub(crate) type Frames = BoxStream<'static, Result<Frame, Status>>;

/// Frames to a peer.
pub(crate) struct Outgoing(BoxStream<'static, Frame>);

impl Outgoing {
    /// Boxes a stream of frames.
    pub(super) fn new(frames: impl Stream<Item = Frame> + Send + 'static) -> Outgoing {
        Outgoing(Box::pin(frames))
    }
}

impl Stream for Outgoing {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// The way to other members.
pub(crate) trait Transport: Send + Sync {
    /// One question, one answer. There is no time-out but the caller's.
    fn ask(
        &self,
        call: Call,
        method: Method,
        question: Frame,
    ) -> BoxFuture<'_, Result<Frame, Status>>;

    /// Many frames in both directions.
    fn stream(
        &self,
        call: Call,
        what: Pipe,
        questions: Outgoing,
    ) -> BoxFuture<'_, Result<Frames, Status>>;

    /// Many frames, one answer.
    fn upload(
        &self,
        call: Call,
        what: Upload,
        parts: Outgoing,
    ) -> BoxFuture<'_, Result<Frame, Status>>;
}
