//! What can be configured: upstream's flags of kube-controller-manager, with their defaults.

use std::time::Duration;

use ipnet::IpNet;
use kontiki_base::pki::{Authority, LEAF_LIFETIME};

/// Options of all controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--controllers`: `*` for all, `name` for one, `-name` for all but one.
    pub controllers: Vec<String>,
    /// `--node-monitor-period`: a node is looked at this often even if nothing happens.
    pub node_monitor_period: Duration,
    /// `--node-monitor-grace-period`: how long a node may be silent.
    pub node_monitor_grace_period: Duration,
    /// `--node-startup-grace-period`: how long a new node may be silent.
    pub node_startup_grace_period: Duration,
    /// `--node-eviction-rate`: lost nodes per second and zone whose pods are evicted.
    pub node_eviction_rate: f64,
    /// `--secondary-node-eviction-rate`: the same where most of a large zone is lost.
    pub secondary_node_eviction_rate: f64,
    /// `--unhealthy-zone-threshold`: the share of lost nodes that makes a zone disrupted.
    pub unhealthy_zone_threshold: f64,
    /// `--large-cluster-size-threshold`: smaller disrupted zones are not evicted at all.
    pub large_cluster_size_threshold: usize,
    /// `--allocate-node-cidrs`.
    pub allocate_node_cidrs: bool,
    /// `--cluster-cidr`: at most one range per family.
    pub cluster_cidrs: Vec<IpNet>,
    /// `--node-cidr-mask-size-ipv4`.
    pub node_cidr_mask_size_ipv4: u8,
    /// `--node-cidr-mask-size-ipv6`.
    pub node_cidr_mask_size_ipv6: u8,
    /// `--service-cluster-ip-range`: never given to nodes.
    pub service_cluster_ip_ranges: Vec<IpNet>,
    /// What signs certificates that are requested through the API; nothing signs them if there is
    /// none.
    pub signer: Option<Authority>,
    /// `--cluster-signing-duration`: how long signed certificates are valid at most.
    pub signing_duration: Duration,
    /// What tokens in Secrets are signed with, as PEM; there are none if it is empty.
    pub service_account_key: String,
    /// Certificates in PEM that pods trust the API server by.
    pub root_ca: String,
    /// `--terminated-pod-gc-threshold`: ended pods kept.
    pub terminated_pod_gc_threshold: usize,
    /// How long pods outlive their Node object.
    pub orphaned_pod_quarantine: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            controllers: vec!["*".to_owned()],
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(40),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            unhealthy_zone_threshold: 0.55,
            large_cluster_size_threshold: 50,
            allocate_node_cidrs: true,
            cluster_cidrs: vec!["10.42.0.0/16".parse().expect("a valid range")],
            node_cidr_mask_size_ipv4: 24,
            node_cidr_mask_size_ipv6: 64,
            service_cluster_ip_ranges: vec!["10.43.0.0/16".parse().expect("a valid range")],
            signer: None,
            signing_duration: LEAF_LIFETIME,
            service_account_key: String::new(),
            root_ca: String::new(),
            terminated_pod_gc_threshold: 12_500,
            orphaned_pod_quarantine: Duration::from_secs(40),
        }
    }
}

/// Names of controllers from before upstream gave them `-controller` names.
const ALIASES: &[(&str, &str)] = &[
    ("csrapproving", "certificatesigningrequest-approving-controller"),
    ("csrcleaner", "certificatesigningrequest-cleaner-controller"),
    ("csrsigning", "certificatesigningrequest-signing-controller"),
    ("clusterrole-aggregation", "clusterrole-aggregation-controller"),
    ("deployment", "deployment-controller"),
    ("disruption", "disruption-controller"),
    ("endpoint", "endpoints-controller"),
    ("endpointslice", "endpointslice-controller"),
    ("endpointslicemirroring", "endpointslice-mirroring-controller"),
    ("garbagecollector", "garbage-collector-controller"),
    ("namespace", "namespace-controller"),
    ("nodeipam", "node-ipam-controller"),
    ("nodelifecycle", "node-lifecycle-controller"),
    ("pv-protection", "persistentvolume-protection-controller"),
    ("pvc-protection", "persistentvolumeclaim-protection-controller"),
    ("podgc", "pod-garbage-collector-controller"),
    ("replicaset", "replicaset-controller"),
    ("root-ca-cert-publisher", "root-ca-certificate-publisher-controller"),
    ("servicecidr", "service-cidr-controller"),
    ("ipaddress", "service-ipaddress-controller"),
    ("serviceaccount", "serviceaccount-controller"),
    ("serviceaccount-token", "serviceaccount-token-controller"),
    ("taint-eviction", "taint-eviction-controller"),
    ("tokencleaner", "token-cleaner-controller"),
    ("ttl-after-finished", "ttl-after-finished-controller"),
    ("vac-protection", "volumeattributesclass-protection-controller"),
];

impl Options {
    /// Whether a controller is to run.
    pub fn enables(&self, name: &str) -> bool {
        let is = |text: &str| {
            text == name || ALIASES.iter().any(|(alias, full)| *alias == text && *full == name)
        };
        if self.controllers.iter().any(|text| text.strip_prefix('-').is_some_and(is)) {
            return false;
        }
        self.controllers.iter().any(|text| text == "*" || is(text))
    }

    /// The first name in the list that is no controller's.
    pub fn unknown_controller(&self) -> Option<&str> {
        self.controllers.iter().map(String::as_str).find(|text| {
            let text = text.strip_prefix('-').unwrap_or(text);
            text != "*" && !ALIASES.iter().any(|(alias, full)| text == *alias || text == *full)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_enables_and_disables_by_either_name() {
        let options = |list: &[&str]| Options {
            controllers: list.iter().map(|name| (*name).to_owned()).collect(),
            ..Options::default()
        };
        assert!(options(&["*"]).enables("deployment-controller"));
        assert!(!options(&["*", "-deployment"]).enables("deployment-controller"));
        assert!(options(&["nodeipam"]).enables("node-ipam-controller"));
        assert!(!options(&["nodeipam"]).enables("deployment-controller"));
        assert_eq!(options(&["*", "-deploy"]).unknown_controller(), Some("-deploy"));
    }

    #[test]
    fn every_controller_has_its_names() {
        let names: Vec<String> = crate::controller::builtin(&Options::default())
            .iter()
            .map(|controller| controller.name().to_owned())
            .collect();
        let known: Vec<String> = ALIASES.iter().map(|(_, full)| (*full).to_owned()).collect();
        assert_eq!(names, known);
    }
}
