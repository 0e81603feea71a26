//! What servers answer below `/kontiki/v1/`: joining, membership, and a look at the state.
//!
//! Requests arrive authenticated; each endpoint says here who may use it.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::TryStreamExt;
use http::{Method, Request, Response, StatusCode, header};
use kontiki_api::Status;
use kontiki_apiserver::{Body, Extension, UserInfo};
use kontiki_raft::{Member, MemberId, MemberStatus, Revision, Store, backup::Attachment};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    commands::CLUSTER_ATTACHMENT,
    config::{ClusterSettings, is_subdomain},
    join::wire::{self, AgentReply, AgentRequest, ServerReply, ServerRequest},
    pki::{Secrets, node_requests},
    token::Role,
};

/// The group of administrators.
const MASTERS: &str = "system:masters";

/// The endpoints of one server.
pub(crate) struct Operations {
    pub(crate) store: Store,
    pub(crate) secrets: Secrets,
    pub(crate) cluster: ClusterSettings,
}

#[async_trait]
impl Extension for Operations {
    async fn call(&self, user: &UserInfo, request: Request<Bytes>) -> Response<Body> {
        let answered = match request.uri().path() {
            wire::SNAPSHOT_PATH => match self.snapshot(user, &request).await {
                Ok(body) => return Response::new(body),
                Err(status) => Err(status),
            },
            _ => self.answer(user, &request).await,
        };
        let (status, body) = match answered {
            Ok(body) => (StatusCode::OK, body),
            Err(status) => (
                StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                status.encode(),
            ),
        };
        let mut response = Response::new(Body::full(body));
        *response.status_mut() = status;
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl Operations {
    async fn answer(&self, user: &UserInfo, request: &Request<Bytes>) -> Result<Vec<u8>, Status> {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::POST, wire::JOIN_AGENT_PATH | wire::RENEW_PATH)
                if self.cluster.store_only =>
            {
                Err(Status::bad_request("this cluster is a store only: it has no workers"))
            }
            (&Method::POST, wire::JOIN_AGENT_PATH) => {
                allow(user, &[Role::Agent.group(), Role::Server.group(), MASTERS])?;
                encode(&self.join_agent(&decode(request)?)?)
            }
            (&Method::POST, wire::JOIN_SERVER_PATH) => {
                allow_server(user)?;
                encode(&self.join_server(&decode(request)?))
            }
            (&Method::POST, wire::RENEW_PATH) => {
                let request: AgentRequest = decode(request)?;
                match user.node_name() {
                    Some(name) if name == request.node_name => encode(&self.sign(&request)?),
                    _ => Err(forbidden(user, "a node renews its own certificates only")),
                }
            }
            (&Method::GET, wire::MEMBERS_PATH) => {
                allow(user, &[MASTERS])?;
                encode(&self.member_list())
            }
            (&Method::POST, wire::MEMBERS_PATH) => {
                allow(user, &[MASTERS])?;
                self.add_member(decode(request)?).await?;
                encode(&self.member_list())
            }
            (&Method::GET, wire::MEMBER_STATUS_PATH) => {
                allow(user, &[MASTERS])?;
                encode(&self.member_statuses().await)
            }
            (&Method::POST, path) if path.starts_with(wire::MEMBERS_PATH) => {
                allow(user, &[MASTERS])?;
                let rest = path[wire::MEMBERS_PATH.len()..].trim_start_matches('/');
                self.change_member(rest, request.uri().query().unwrap_or_default()).await?;
                encode(&self.member_list())
            }
            (&Method::GET, wire::SERVERS_PATH) => {
                allow(user, &[MASTERS, "system:nodes"])?;
                encode(&wire::ServerListReply { servers: servers(&self.store.members()) })
            }
            (&Method::GET, wire::SECRETS_PATH) => {
                allow(user, &[MASTERS])?;
                tracing::info!("handing the cluster's keys to {} for a backup", user.name);
                encode(&wire::SecretsReply { secrets: self.secrets.clone() })
            }
            (&Method::GET, wire::HASH_PATH) => {
                allow(user, &[MASTERS])?;
                encode(&self.hash(request.uri().query().unwrap_or_default()).await?)
            }
            (&Method::DELETE, _) => match path.strip_prefix(wire::MEMBERS_PATH) {
                Some(id) => {
                    allow(user, &[MASTERS])?;
                    self.remove_member(id.trim_start_matches('/')).await?;
                    encode(&self.member_list())
                }
                None => Err(Status::no_such_resource()),
            },
            _ => Err(Status::no_such_resource()),
        }
    }

    fn join_agent(&self, request: &AgentRequest) -> Result<AgentReply, Status> {
        tracing::info!("agent {} joins", request.node_name);
        self.sign(request)
    }

    /// Signs a node's keys. Names and addresses of API servers are not for nodes: whoever had
    /// them could pass for one.
    fn sign(&self, request: &AgentRequest) -> Result<AgentReply, Status> {
        let name = &request.node_name;
        let reserved = name == "localhost" || name.starts_with("kubernetes");
        if !is_subdomain(name) || reserved {
            return Err(Status::bad_request(format!("{name:?} is no valid name of a node")));
        }
        let members = self.store.members();
        if let Some(taken) = request.addresses.iter().find(|a| is_of_server(&members, **a)) {
            return Err(Status::bad_request(format!(
                "{taken} is the address of a server of this cluster; name the agent's own with \
                 --node-ip"
            )));
        }
        let authority = self.secrets.cluster.authority();
        let (client, serving) = node_requests(name, &request.addresses);
        let sign = |csr: &str, certificate| {
            authority.sign(csr, certificate).map_err(|e| Status::bad_request(e.to_string()))
        };
        Ok(AgentReply {
            ca: authority.certificate_pem.clone(),
            client_chain: sign(&request.client_request, &client)?,
            serving_chain: sign(&request.serving_request, &serving)?,
            servers: servers(&members),
            cluster: self.cluster.clone(),
        })
    }

    fn join_server(&self, request: &ServerRequest) -> ServerReply {
        tracing::info!("server {} joins", request.name);
        ServerReply {
            secrets: self.secrets.clone(),
            servers: servers(&self.store.members()),
            cluster: self.cluster.clone(),
        }
    }

    fn member_list(&self) -> wire::MemberList {
        let leader = self.store.leadership().borrow().leader.map(|id| id.to_string());
        let mut members: Vec<wire::Member> =
            self.store.members().into_iter().map(to_wire).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        wire::MemberList { leader, members }
    }

    async fn add_member(&self, member: wire::Member) -> Result<(), Status> {
        let member = Member {
            id: member_id(&member.id)?,
            name: member.name,
            peer_address: member.peer_address,
            api_address: member.api_address,
            client_address: member.client_address,
            voter: false,
        };
        tracing::info!("adding member {} ({})", member.id, member.name);
        self.store.add_member(member).await.map_err(|error| of_store(&error))
    }

    async fn remove_member(&self, id: &str) -> Result<(), Status> {
        let id = member_id(id)?;
        tracing::info!("removing member {id}");
        self.store.remove_member(id).await.map_err(|error| of_store(&error))
    }

    /// Changes a member, or who leads, as the path behind that of the members says.
    async fn change_member(&self, what: &str, query: &str) -> Result<(), Status> {
        let argument = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| member_id(value)).transpose()
        };
        let changed = match what.split_once('/') {
            None if what == "leader" => {
                let to = argument("to")?;
                tracing::info!(?to, "moving leadership");
                self.store.move_leadership(to).await
            }
            Some((id, "promote")) => self.store.promote_member(member_id(id)?).await,
            Some((id, "replace")) => {
                let with = argument("with")?
                    .ok_or_else(|| Status::bad_request("with whom? give ?with=ID".to_owned()))?;
                self.store.replace_member(member_id(id)?, with).await
            }
            _ => return Err(Status::no_such_resource()),
        };
        changed.map_err(|error| of_store(&error))
    }

    async fn member_statuses(&self) -> wire::MemberStatusList {
        let statuses = self.store.member_statuses().await;
        let mut members: Vec<wire::MemberStatus> = statuses.into_iter().map(status).collect();
        members.sort_by(|a, b| a.member.name.cmp(&b.member.name));
        wire::MemberStatusList { cluster_version: self.store.cluster_version(), members }
    }

    /// A backup on its way.
    async fn snapshot(&self, user: &UserInfo, request: &Request<Bytes>) -> Result<Body, Status> {
        allow(user, &[MASTERS])?;
        let wanted: wire::SnapshotRequest = decode(request)?;
        let mut attachments = vec![Attachment {
            name: CLUSTER_ATTACHMENT.to_owned(),
            contents: encode(&self.cluster)?.into(),
        }];
        for wire::Attachment { name, contents } in wanted.attachments {
            let contents = STANDARD
                .decode(contents)
                .map_err(|error| Status::bad_request(format!("attachment {name}: {error}")))?;
            attachments.push(Attachment { name, contents: contents.into() });
        }
        if !wanted.stale {
            self.store.read_index().await.map_err(|error| of_store(&error))?;
        }
        let backup = self.store.backup(attachments).await.map_err(|error| of_store(&error))?;
        tracing::info!(revision = %backup.manifest.revision, "sending a backup to {}", user.name);
        Ok(Body::stream(backup.map_err(Into::into)))
    }

    async fn hash(&self, query: &str) -> Result<wire::HashReply, Status> {
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("revision="));
        let revision = match wanted {
            Some(text) => {
                let parsed = text
                    .parse()
                    .map_err(|_| Status::bad_request(format!("revision {text:?} is no number")))?;
                Some(Revision(parsed))
            }
            None => None,
        };
        let (revision, hash) = self.store.hash(revision).await.map_err(|error| of_store(&error))?;
        Ok(wire::HashReply {
            member: self.store.id().to_string(),
            revision: revision.0,
            hash: format!("{hash:016x}"),
        })
    }
}

fn status(status: MemberStatus) -> wire::MemberStatus {
    let MemberStatus { member, leads, standing } = status;
    let problem = standing.as_ref().err().cloned();
    wire::MemberStatus {
        member: to_wire(member),
        leader: leads,
        reachable: problem.is_none(),
        problem,
        standing: standing.ok().map(|standing| wire::Standing {
            release: standing.release,
            version: standing.version,
            term: standing.term,
            applied_index: standing.applied_index,
            lag: standing.lag,
            revision: standing.revision.0,
            database_bytes: standing.disk_bytes,
        }),
    }
}

fn to_wire(member: Member) -> wire::Member {
    wire::Member {
        id: member.id.to_string(),
        name: member.name,
        peer_address: member.peer_address,
        api_address: member.api_address,
        client_address: member.client_address,
        voter: member.voter,
    }
}

/// `host:port` of the API servers of all members.
pub(super) fn servers(members: &[Member]) -> Vec<String> {
    let mut servers: Vec<String> = members
        .iter()
        .map(|member| member.api_address.clone())
        .filter(|address| !address.is_empty())
        .collect();
    servers.sort();
    servers
}

/// Loopback is nobody's in particular: several parts of a cluster may share it.
fn is_of_server(members: &[Member], address: IpAddr) -> bool {
    !address.is_loopback()
        && members.iter().any(|member| {
            member.api_address.parse::<SocketAddr>().is_ok_and(|own| own.ip() == address)
        })
}

fn member_id(text: &str) -> Result<MemberId, Status> {
    u64::from_str_radix(text, 16)
        .map(MemberId)
        .map_err(|_| Status::bad_request(format!("{text:?} is no member's id")))
}

fn allow(user: &UserInfo, groups: &[&str]) -> Result<(), Status> {
    if groups.iter().any(|group| user.in_group(group)) {
        return Ok(());
    }
    Err(forbidden(user, "not for this user"))
}

fn allow_server(user: &UserInfo) -> Result<(), Status> {
    if user.in_group(Role::Agent.group()) && !user.in_group(Role::Server.group()) {
        return Err(forbidden(
            user,
            "this token lets a machine join as an agent, not as a server; use the one in \
             `server-token`, or make one with `kontiki token create --server`",
        ));
    }
    allow(user, &[Role::Server.group(), MASTERS])
}

fn forbidden(user: &UserInfo, why: &str) -> Status {
    Status {
        code: 403,
        reason: "Forbidden",
        message: format!("user {:?}: {why}", user.name),
        details: None,
        continue_token: None,
    }
}

fn of_store(error: &kontiki_raft::Error) -> Status {
    use kontiki_raft::Error;
    let text = kontiki_base::tasks::render(error);
    match error {
        Error::Declined { .. } => Status::bad_request(text),
        Error::Compacted { .. } => Status::expired(text),
        _ => Status::service_unavailable(text),
    }
}

fn decode<T: DeserializeOwned>(request: &Request<Bytes>) -> Result<T, Status> {
    serde_json::from_slice(request.body())
        .map_err(|error| Status::bad_request(format!("the request makes no sense: {error}")))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(value).map_err(|error| Status::internal_error(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_token_does_not_open_the_safe() {
        let user = |group: &str| UserInfo::new("system:bootstrap:abcdef", &[group]);
        assert!(allow_server(&user(Role::Server.group())).is_ok());
        let refusal = allow_server(&user(Role::Agent.group())).unwrap_err();
        assert_eq!(refusal.code, 403);
        assert!(refusal.message.contains("join as an agent, not as a server"));
        assert!(allow_server(&user("system:authenticated")).is_err());
    }

    #[test]
    fn loopback_is_shared_and_other_addresses_are_not() {
        let member = |api: &str| Member {
            id: MemberId(1),
            name: "a".to_owned(),
            peer_address: String::new(),
            api_address: api.to_owned(),
            client_address: String::new(),
            voter: true,
        };
        let members = [member("10.0.0.1:6443"), member("127.0.0.1:6443"), member("")];
        assert!(is_of_server(&members, "10.0.0.1".parse().unwrap()));
        assert!(!is_of_server(&members, "10.0.0.2".parse().unwrap()));
        assert!(!is_of_server(&members, "127.0.0.1".parse().unwrap()));
        assert_eq!(servers(&members), ["10.0.0.1:6443", "127.0.0.1:6443"]);
    }
}
