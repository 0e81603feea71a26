//! The Cluster service: who the members are, and who shall be.

use tonic::{Request, Response, Status};

use super::{
    api::Api,
    errors::{self, status},
    proto::etcdserverpb::{
        self, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, cluster_server::Cluster,
    },
};
use crate::{
    error::Error,
    types::{Member, MemberId},
};

/// The service.
pub(super) struct Members(pub(super) Api);

impl Members {
    fn list(&self) -> Vec<etcdserverpb::Member> {
        self.0.store.members().into_iter().map(member).collect()
    }

    /// A member, from a membership that is as new as the request.
    async fn find(&self, id: u64) -> Result<Member, Status> {
        self.0.store.read_index().await.map_err(status)?;
        let members = self.0.store.members();
        let found = members.into_iter().find(|member| member.id == MemberId(id));
        found.ok_or_else(|| errors::MEMBER_NOT_FOUND.into())
    }
}

fn member(member: Member) -> etcdserverpb::Member {
    let urls = |address: &str| match address {
        "" => Vec::new(),
        address => vec![format!("https://{address}")],
    };
    etcdserverpb::Member {
        id: member.id.0,
        peer_ur_ls: urls(&member.peer_address),
        client_ur_ls: urls(&member.client_address),
        is_learner: !member.voter,
        name: member.name,
    }
}

/// `host:port` of the one URL that a member has.
fn peer_address(urls: &[String]) -> Result<String, Status> {
    let [url] = urls else {
        return Err(errors::MEMBER_BAD_URLS.because("a member has exactly one peer URL"));
    };
    let address = url.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    let port = |address: &&str| {
        address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
        })
    };
    match address.filter(port) {
        Some(address) => Ok(address.to_owned()),
        None => {
            Err(errors::MEMBER_BAD_URLS.because(format_args!("{url} is not https://HOST:PORT")))
        }
    }
}

#[tonic::async_trait]
impl Cluster for Members {
    /// A member has its id from its own data folder, so it must run: started with `--join`, or
    /// waiting at that address.
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        self.0.check_leader(&request)?;
        let peer_address = peer_address(&request.get_ref().peer_ur_ls)?;
        let store = &self.0.store;
        let found = store.member_at(&peer_address).await.map_err(|error| match error {
            Error::Declined { reason } => errors::MEMBER_BAD_URLS.because(reason),
            other => status(other),
        })?;
        if store.members().iter().any(|known| known.id == found.id) {
            return Err(errors::MEMBER_EXISTS.into());
        }
        store.add_member(found.clone()).await.map_err(status)?;
        let (header, members) = (self.0.header_now(), self.list());
        Ok(Response::new(MemberAddResponse { header, member: Some(member(found)), members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.0.check_leader(&request)?;
        let found = self.find(request.into_inner().id).await?;
        self.0.store.remove_member(found.id).await.map_err(status)?;
        let header = self.0.header_now();
        Ok(Response::new(MemberRemoveResponse { header, members: self.list() }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        self.0.check_leader(&request)?;
        let request = request.into_inner();
        let peer_address = peer_address(&request.peer_ur_ls)?;
        let found = self.find(request.id).await?;
        let updated = Member { peer_address, ..found };
        self.0.store.add_member(updated).await.map_err(status)?;
        let header = self.0.header_now();
        Ok(Response::new(MemberUpdateResponse { header, members: self.list() }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.0.check_leader(&request)?;
        if request.get_ref().linearizable {
            self.0.store.read_index().await.map_err(status)?;
        }
        let header = self.0.header_now();
        Ok(Response::new(MemberListResponse { header, members: self.list() }))
    }

    /// The leader promotes by itself as long as the voters stay odd; this insists.
    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.0.check_leader(&request)?;
        let found = self.find(request.into_inner().id).await?;
        if found.voter {
            return Err(errors::MEMBER_NOT_LEARNER.into());
        }
        self.0.store.promote_member(found.id).await.map_err(|error| match error {
            Error::Declined { .. } => errors::LEARNER_NOT_READY.into(),
            other => status(other),
        })?;
        let header = self.0.header_now();
        Ok(Response::new(MemberPromoteResponse { header, members: self.list() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_url_is_https_with_a_port() {
        let address = |url: &str| peer_address(&[url.to_owned()]).map_err(|status| status.code());
        assert_eq!(address("https://10.0.0.1:2380"), Ok("10.0.0.1:2380".to_owned()));
        assert_eq!(address("https://[::1]:2380/"), Ok("[::1]:2380".to_owned()));
        for wrong in ["http://10.0.0.1:2380", "https://10.0.0.1", "https://a/b:1", "a:1", ""] {
            assert_eq!(address(wrong), Err(tonic::Code::InvalidArgument), "{wrong}");
        }
        assert!(peer_address(&[]).is_err());
    }
}
