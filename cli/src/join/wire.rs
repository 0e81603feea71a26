//! What travels between joiners, operators and servers, below `/kontiki/v1/` of the API's port.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{config::ClusterSettings, pki::Secrets};

/// Everything of ours starts with this.
pub(crate) const PREFIX: &str = "/kontiki/v1/";
/// POST: a worker asks to be signed.
pub(crate) const JOIN_AGENT_PATH: &str = "/kontiki/v1/join/agent";
/// POST: a server asks for the cluster's secrets.
pub(crate) const JOIN_SERVER_PATH: &str = "/kontiki/v1/join/server";
/// POST: a node asks for fresh certificates with those it has.
pub(crate) const RENEW_PATH: &str = "/kontiki/v1/renew";
/// GET: members of the store; POST adds one, DELETE of `/ID` removes it.
pub(crate) const MEMBERS_PATH: &str = "/kontiki/v1/members";
/// GET: how all members are; POST to `/ID/promote`, `/ID/replace?with=ID` and `/leader?to=ID` of
/// the members changes them.
pub(crate) const MEMBER_STATUS_PATH: &str = "/kontiki/v1/members/status";
/// GET: `host:port` of all API servers.
pub(crate) const SERVERS_PATH: &str = "/kontiki/v1/servers";
/// GET: hash of this member's state, at `?revision=N` if given.
pub(crate) const HASH_PATH: &str = "/kontiki/v1/hash";

/// GET: the cluster's private keys, for a backup.
pub(crate) const SECRETS_PATH: &str = "/kontiki/v1/secrets";
/// POST: a backup of the store, as a stream.
pub(crate) const SNAPSHOT_PATH: &str = "/kontiki/v1/snapshot";

/// What is to go into a backup.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SnapshotRequest {
    pub(crate) attachments: Vec<Attachment>,
    /// Whether what this server has is good enough, without asking the others.
    pub(crate) stale: bool,
}

/// Bytes that belong to a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    /// Base64.
    pub(crate) contents: String,
}

/// The cluster's private keys.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SecretsReply {
    pub(crate) secrets: Secrets,
}

/// A worker's request. The keys stay where they were made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentRequest {
    pub(crate) node_name: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// Signing request (PEM) of the kubelet as a client.
    pub(crate) client_request: String,
    /// Signing request (PEM) of the kubelet as a server.
    pub(crate) serving_request: String,
}

/// What a worker gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentReply {
    /// The cluster's CA.
    pub(crate) ca: String,
    pub(crate) client_chain: String,
    pub(crate) serving_chain: String,
    pub(crate) servers: Vec<String>,
    pub(crate) cluster: ClusterSettings,
}

/// A server's request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerRequest {
    pub(crate) name: String,
}

/// What a server gets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerReply {
    pub(crate) secrets: Secrets,
    pub(crate) servers: Vec<String>,
    pub(crate) cluster: ClusterSettings,
}

/// A member of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    /// Hexadecimal, 16 digits.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) peer_address: String,
    pub(crate) api_address: String,
    #[serde(default)]
    pub(crate) client_address: String,
    #[serde(default)]
    pub(crate) voter: bool,
}

/// All of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberList {
    /// Id of the leader, if one is known.
    pub(crate) leader: Option<String>,
    pub(crate) members: Vec<Member>,
}

/// How a member is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberStatus {
    #[serde(flatten)]
    pub(crate) member: Member,
    pub(crate) leader: bool,
    pub(crate) reachable: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    #[serde(flatten)]
    pub(crate) standing: Option<Standing>,
}

/// What a member says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Standing {
    pub(crate) release: String,
    pub(crate) version: u32,
    pub(crate) term: u64,
    pub(crate) applied_index: u64,
    /// Entries behind the member that is furthest.
    pub(crate) lag: u64,
    pub(crate) revision: u64,
    pub(crate) database_bytes: u64,
}

/// How all of them are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberStatusList {
    /// The version that all members understand.
    pub(crate) cluster_version: u32,
    pub(crate) members: Vec<MemberStatus>,
}

/// `host:port` of all API servers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerListReply {
    pub(crate) servers: Vec<String>,
}

/// The state of one member at a revision, as a hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HashReply {
    /// Id of the member that answers.
    pub(crate) member: String,
    pub(crate) revision: u64,
    /// Hexadecimal, 16 digits.
    pub(crate) hash: String,
}
