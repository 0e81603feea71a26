//! Which pods a spread rule or an affinity term means, as a value that can be a key.

use std::{collections::HashMap, sync::Arc};

use kontiki_api::selector::Selector;

use crate::{pod::PodInfo, selector::Labels};

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

/// Pods of some namespaces with some labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    /// Where to look.
    pub namespaces: Namespaces,
    /// What to look for.
    pub selector: Selector,
}

impl Clause {
    fn matches(&self, pod: &PodInfo, labels_of: &NamespaceLabels) -> bool {
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
}

/// A set of pods: those that match every clause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The clauses.
    pub clauses: Vec<Clause>,
    /// Whether pods that are being deleted count: they still keep others away, but spreading
    /// looks past them.
    pub terminating: bool,
}

impl Query {
    /// Whether a pod is meant.
    pub fn matches(&self, pod: &PodInfo, labels_of: &NamespaceLabels) -> bool {
        (self.terminating || !pod.deleting) && self.clauses_match(pod, labels_of)
    }

    /// Whether a pod is meant, or would be if it were not being deleted.
    pub fn clauses_match(&self, pod: &PodInfo, labels_of: &NamespaceLabels) -> bool {
        self.clauses.iter().all(|clause| clause.matches(pod, labels_of))
    }

    /// Whether the answer depends on the labels of namespaces.
    pub fn selects_namespaces(&self) -> bool {
        let selects = |c: &Clause| matches!(c.namespaces, Namespaces::ListedOrSelected(..));
        self.clauses.iter().any(selects)
    }
}
