//! Passing on what another member cannot bring itself: frames go through as they are.

use futures::{StreamExt, TryStreamExt};
use kontiki_base::CancellationToken;
use tonic::Status;

use super::{
    Peers,
    handshake::Claim,
    proto::Frame,
    transport::{Frames, Lane, Method, Outgoing, Pipe, Upload},
};

/// One call to be passed on.
pub(super) struct Relay {
    peers: Peers,
    claim: Claim,
    shutdown: CancellationToken,
}

impl Relay {
    pub(super) fn new(peers: &Peers, claim: Claim, shutdown: CancellationToken) -> Relay {
        Relay { peers: peers.clone(), claim, shutdown }
    }

    /// One question, one answer, for as long as its caller waits.
    pub(super) async fn ask(self, method: Method, question: Frame) -> Result<Frame, Status> {
        let lane = match method {
            Method::Append | Method::Vote | Method::PreVote | Method::TransferLeader => {
                Lane::Append
            }
            Method::HeldFiles => Lane::Snapshot,
            Method::Hello | Method::Administer | Method::Lease | Method::Examine => Lane::Forward,
        };
        let call = self.peers.pass_on(self.claim, lane)?;
        self.peers.transport().ask(call, method, question).await
    }

    /// A stream, which is open before it is known whether it leads anywhere.
    pub(super) fn stream(self, what: Pipe, frames: Frames) -> Frames {
        let Relay { peers, claim, shutdown } = self;
        let lane = match what {
            Pipe::Append => Lane::Append,
            Pipe::Propose | Pipe::ReadIndex => Lane::Forward,
        };
        let opened = async move {
            let call = peers.pass_on(claim, lane)?;
            peers.transport().stream(call, what, onward(frames)).await
        };
        let answers = futures::stream::once(opened).try_flatten();
        answers.take_until(shutdown.cancelled_owned()).boxed()
    }

    /// Many frames, one answer.
    pub(super) async fn upload(self, what: Upload, parts: Frames) -> Result<Frame, Status> {
        let call = self.peers.pass_on(self.claim, Lane::Snapshot)?;
        self.peers.transport().upload(call, what, onward(parts)).await
    }
}

/// What breaks off on the way here breaks off there.
fn onward(frames: Frames) -> Outgoing {
    Outgoing::new(tokio_stream::StreamExt::map_while(frames, Result::ok))
}
