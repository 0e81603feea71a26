//! Settings of an API server.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use ipnet::IpNet;
use kontiki_base::tls::{Identity, Roots};

use crate::{
    audit,
    authn::{oidc, static_token::StaticTokens},
    authz::Mode,
};

/// Settings of an API server.
#[derive(Clone)]
pub struct Options {
    /// Name of this server, unique among the control nodes.
    pub name: String,
    /// Prefix of all keys in the store.
    pub prefix: String,
    /// Ranges of Service addresses, at most one per family, the primary first.
    pub service_cidrs: Vec<IpNet>,
    /// Range of node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Address under which this server is reached, for the `kubernetes` Service.
    pub advertise_address: IpAddr,
    /// Port under which this server is reached there.
    pub advertise_port: u16,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Private key, PKCS#8 PEM, that signs service account tokens.
    pub service_account_key: String,
    /// Issuer of service account tokens, and their audience unless another is asked for.
    pub service_account_issuer: String,
    /// The cluster's CA, for the `kube-root-ca.crt` ConfigMaps and for kubelets.
    pub cluster_roots: Roots,
    /// How this server shows itself to kubelets.
    pub kubelet_client: Identity,
    /// Toleration that pods get for unreachable and not-ready nodes unless they say otherwise.
    pub default_not_ready_toleration: Duration,
    /// The same for unreachable nodes.
    pub default_unreachable_toleration: Duration,
    /// What is asked whether a user may, in order.
    pub authorization_modes: Vec<Mode>,
    /// Whether requests without credentials are served at all.
    pub anonymous_auth: bool,
    /// Users by fixed tokens.
    pub static_tokens: StaticTokens,
    /// The OpenID Connect issuer whose tokens are believed.
    pub oidc: Option<oidc::Settings>,
    /// The audit log.
    pub audit: Option<audit::Options>,
    /// Admission plugins to run beside the default ones, by upstream's names.
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plugins not to run.
    pub disable_admission_plugins: Vec<String>,
    /// How long Events live.
    pub event_ttl: Duration,
    /// Longest duration of an ordinary request.
    pub request_timeout: Duration,
    /// Shortest duration of a watch that names none; the longest is twice that.
    pub min_request_timeout: Duration,
    /// How often watches get a bookmark.
    pub bookmark_interval: Duration,
    /// How much history is kept, and how often what is older is dropped.
    pub compaction_interval: Duration,
    /// Whether requests are served by priority and in fairness. The two numbers that follow are
    /// one total then; otherwise they limit each kind of request for itself.
    pub priority_and_fairness: bool,
    /// Most requests at a time that change something.
    pub max_mutating_inflight: usize,
    /// Most requests at a time that do not.
    pub max_inflight: usize,
}

impl Options {
    /// Upstream's defaults, and ours where upstream has none, for what does not concern identity.
    pub fn new(name: &str, advertise_address: IpAddr, secrets: Secrets) -> Options {
        Options {
            name: name.to_owned(),
            prefix: "/registry".to_owned(),
            service_cidrs: vec!["10.43.0.0/16".parse().expect("a range")],
            node_ports: 30000..=32767,
            advertise_address,
            advertise_port: 6443,
            cluster_domain: "cluster.local".to_owned(),
            service_account_key: secrets.service_account_key,
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            cluster_roots: secrets.cluster_roots,
            kubelet_client: secrets.kubelet_client,
            default_not_ready_toleration: Duration::from_secs(5),
            default_unreachable_toleration: Duration::from_secs(5),
            authorization_modes: Mode::DEFAULT.to_vec(),
            anonymous_auth: true,
            static_tokens: StaticTokens::default(),
            oidc: None,
            audit: None,
            enable_admission_plugins: Vec::new(),
            disable_admission_plugins: Vec::new(),
            event_ttl: Duration::from_secs(3600),
            request_timeout: Duration::from_secs(60),
            min_request_timeout: Duration::from_secs(1800),
            bookmark_interval: Duration::from_secs(60),
            compaction_interval: Duration::from_secs(300),
            priority_and_fairness: true,
            max_mutating_inflight: 200,
            max_inflight: 400,
        }
    }
}

/// What an API server must be given and never makes up.
#[derive(Clone)]
pub struct Secrets {
    /// Private key, PKCS#8 PEM, that signs service account tokens.
    pub service_account_key: String,
    /// The cluster's CA.
    pub cluster_roots: Roots,
    /// How this server shows itself to kubelets.
    pub kubelet_client: Identity,
}
