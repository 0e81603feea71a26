//! Which steps run, in which order: upstream's plugins by name, switched on and off by flags.
//!
//! Webhooks and policies have their place in the table and nothing behind it yet.

use super::{
    Step, certificates, default_ingress_class, default_toleration_seconds, limit_ranger,
    namespace_lifecycle, node_restriction, optional, pod_security, priority, rbac_escalation,
    runtime_class, service_account, storage, taint_nodes_by_condition,
};

/// One row.
struct Plugin {
    /// Upstream's name; empty for what cannot be switched off.
    name: &'static str,
    /// Whether it is on unless somebody says otherwise.
    default: bool,
    /// What it does; `None` if it does nothing here.
    step: Option<&'static dyn Step>,
}

const fn on(name: &'static str, step: &'static dyn Step) -> Plugin {
    Plugin { name, default: true, step: Some(step) }
}

const fn off(name: &'static str, step: &'static dyn Step) -> Plugin {
    Plugin { name, default: false, step: Some(step) }
}

/// A name that flags may mention and nothing comes of, because what it works on is not there.
const fn idle(name: &'static str) -> Plugin {
    Plugin { name, default: true, step: None }
}

/// What it does stands in `crate::quota`, for it happens in the write itself.
const RESOURCE_QUOTA: &str = "ResourceQuota";

/// The table, in upstream's order.
static PLUGINS: &[Plugin] = &[
    on("NamespaceLifecycle", &namespace_lifecycle::NamespaceLifecycle),
    on("LimitRanger", &limit_ranger::LimitRanger),
    on("ServiceAccount", &service_account::ServiceAccount),
    on("NodeRestriction", &node_restriction::NodeRestriction),
    on("", &rbac_escalation::RbacEscalation),
    on("TaintNodesByCondition", &taint_nodes_by_condition::TaintNodesByCondition),
    off("AlwaysPullImages", &optional::AlwaysPullImages),
    on("PodSecurity", &pod_security::PodSecurity),
    on("Priority", &priority::Priority),
    on("DefaultTolerationSeconds", &default_toleration_seconds::DefaultTolerationSeconds),
    off("ExtendedResourceToleration", &optional::ExtendedResourceToleration),
    on("DefaultStorageClass", &storage::DefaultStorageClass),
    on("StorageObjectInUseProtection", &storage::StorageObjectInUseProtection),
    on("PersistentVolumeClaimResize", &storage::PersistentVolumeClaimResize),
    on("RuntimeClass", &runtime_class::RuntimeClass),
    on("CertificateApproval", &certificates::CertificateApproval),
    on("CertificateSigning", &certificates::CertificateSigning),
    idle("ClusterTrustBundleAttest"),
    on("CertificateSubjectRestriction", &certificates::CertificateSubjectRestriction),
    on("DefaultIngressClass", &default_ingress_class::DefaultIngressClass),
    idle("PodTopologyLabels"),
    off("DenyServiceExternalIPs", &optional::DenyServiceExternalIps),
    idle("MutatingAdmissionPolicy"),
    idle("MutatingAdmissionWebhook"),
    idle("ValidatingAdmissionPolicy"),
    idle("ValidatingAdmissionWebhook"),
    idle(RESOURCE_QUOTA),
    off("AlwaysDeny", &optional::AlwaysDeny),
];

/// Why the flags make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// No plugin has that name.
    #[error("{flag} plugin {name:?} is unknown")]
    Unknown {
        /// Which flag says it.
        flag: &'static str,
        /// The name.
        name: String,
    },
    /// One name is in both flags.
    #[error("[{0}] in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
}

/// The steps that run.
pub struct Chain {
    steps: Vec<&'static dyn Step>,
    charges: bool,
}

impl Chain {
    /// The default plugins, with these and without those.
    pub fn select(enable: &[String], disable: &[String]) -> Result<Chain, PluginError> {
        let flags = [("enable-admission-plugins", enable), ("disable-admission-plugins", disable)];
        for (flag, names) in flags {
            let known =
                |name: &str| !name.is_empty() && PLUGINS.iter().any(|plugin| plugin.name == name);
            if let Some(name) = names.iter().find(|name| !known(name)) {
                return Err(PluginError::Unknown { flag, name: name.clone() });
            }
        }
        let both: Vec<&str> =
            enable.iter().filter(|name| disable.contains(name)).map(String::as_str).collect();
        if !both.is_empty() {
            return Err(PluginError::Overlap(both.join(" ")));
        }
        let named =
            |names: &[String], plugin: &Plugin| names.iter().any(|name| name == plugin.name);
        let runs =
            |plugin: &&Plugin| !named(disable, plugin) && (plugin.default || named(enable, plugin));
        let charges = !disable.iter().any(|name| name == RESOURCE_QUOTA);
        let steps = PLUGINS.iter().filter(runs).filter_map(|plugin| plugin.step).collect();
        Ok(Chain { steps, charges })
    }

    /// Whether writes are charged to resource quotas.
    pub(crate) fn charges(&self) -> bool {
        self.charges
    }

    /// The steps, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = &'static dyn Step> {
        self.steps.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn plugins_are_switched_by_name() {
        let count = |enable: &[&str], disable: &[&str]| {
            Chain::select(&names(enable), &names(disable)).map(|chain| chain.steps.len())
        };
        let default = count(&[], &[]).unwrap();
        assert_eq!(count(&["AlwaysPullImages"], &[]), Ok(default + 1));
        assert_eq!(count(&["LimitRanger"], &["PodSecurity"]), Ok(default - 1));
        let texts =
            |enable: &[&str], disable: &[&str]| count(enable, disable).unwrap_err().to_string();
        assert_eq!(texts(&["X"], &[]), "enable-admission-plugins plugin \"X\" is unknown");
        assert_eq!(
            texts(&["PodSecurity"], &["PodSecurity"]),
            "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped"
        );
    }
}
