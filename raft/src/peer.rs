//! Members talking to each other.

use std::{future::Future, io, sync::Arc};

use kontiki_base::tasks::Tasks;
use openraft::{
    OptionalSend, RaftNetworkFactory,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};

use crate::{
    command::Proposal,
    error::Error,
    options::Options,
    raft_types::{MemberNode, Snapshot, TypeConfig, Vote},
    state::snapshot::SnapshotFiles,
    store::{Attempt, Identified, Inner, ReadIndex},
    types::MemberId,
};

/// Connections to the other members.
#[derive(Clone)]
pub(crate) struct Peers;

impl Peers {
    pub(crate) fn new(_: Arc<Identified>, _: &Options) -> Result<Peers, Error> {
        Ok(Peers)
    }

    pub(crate) async fn propose(&self, to: MemberId, _: &Proposal) -> Attempt {
        Attempt::Again(format!("{to} cannot be reached"))
    }

    pub(crate) async fn read_index(&self, from: MemberId) -> ReadIndex {
        ReadIndex::Again(format!("{from} cannot be reached"))
    }
}

pub(crate) async fn serve(_: &Arc<Inner>, _: &Options, _: &Tasks) -> Result<(), Error> {
    Ok(())
}

pub(crate) struct Connection;

fn unreachable() -> Unreachable<TypeConfig> {
    Unreachable::new(&io::Error::other("no transport"))
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Connection;

    async fn new_client(&mut self, _: u64, _: &MemberNode) -> Connection {
        Connection
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotFiles;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: Snapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(unreachable()))
    }
}
