//! The Watch service: any number of watches on one stream, the same on every member.
//!
//! ```text
//! requests ─▶ Session ─▶ frames (events spliced in as they were encoded once)
//!               ▲  ▲
//!    mailbox ───┘  └─── replay from disk, one step for all that are behind
//! ```
//!
//! The response stream itself is the session: it is driven when the connection has room, so what a
//! client does not read stays in the bounded mailbox, and then on disk. No task, no timer and no
//! buffer exists for a watch that nothing happens to.

mod frame;
mod request;
mod session;

use std::{pin::Pin, time::Duration};

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

pub(in crate::etcd) use self::frame::Frame;
pub(in crate::etcd) use self::session::Session;
use super::{
    api::Api,
    proto::etcdserverpb::{WatchRequest, watch_server::Watch},
};

/// The service.
pub(super) struct Watches {
    api: Api,
    progress_every: Duration,
}

impl Watches {
    pub(super) fn new(api: Api, progress_every: Duration) -> Watches {
        Watches { api, progress_every }
    }
}

#[tonic::async_trait]
impl Watch for Watches {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let wants_leader = self.api.check_leader(&request)?;
        let session =
            Session::new(self.api.clone(), request.into_inner(), wants_leader, self.progress_every);
        let frames = futures::stream::unfold(session, async |mut session| {
            session.next().await.map(|frame| (frame, session))
        });
        Ok(Response::new(Box::pin(frames)))
    }
}
