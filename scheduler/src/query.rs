//! Which pods a spread rule or an affinity term means, as a value that can be a key.

use std::{collections::HashMap, sync::Arc};

use crate::{pod::PodInfo, selector::{Labels, Selector}};

/// Labels of namespaces by name.
pub type NamespaceLabels = HashMap<Arc<str>, Labels>;

/// The namespaces a query looks into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// Those named.
    Listed(Vec<Arc<str>>),
    /// Those named, and those whose labels match.
    ListedOrSelected(Vec<Arc<str>>, Selector),
}

/// A set of pods: namespaces and a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Where to look.
    pub namespaces: Namespaces,
    /// What to look for.
    pub selector: Selector,
    /// Whether pods that are being deleted count: they still keep others away, but spreading
    /// looks past them.
    pub terminating: bool,
}

impl Query {
    /// Whether a pod is meant.
    pub fn matches(&self, pod: &PodInfo, labels_of: &NamespaceLabels) -> bool {
        if pod.deleting && !self.terminating {
            return false;
        }
        let namespace = &pod.key.namespace;
        let inside = match &self.namespaces {
            Namespaces::Listed(listed) => listed.contains(namespace),
            Namespaces::ListedOrSelected(listed, selector) => {
                listed.contains(namespace)
                    || labels_of.get(namespace).is_some_and(|labels| selector.matches(labels))
            }
        };
        inside && self.selector.matches(&pod.labels)
    }

    /// Whether the answer depends on the labels of namespaces.
    pub fn selects_namespaces(&self) -> bool {
        matches!(self.namespaces, Namespaces::ListedOrSelected(..))
    }
}
