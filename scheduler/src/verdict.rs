//! Why a node does not take a pod, and how the refusals of all nodes become one sentence.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What a node lacks, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason(pub Cow<'static, str>);

impl Reason {
    /// A fixed text.
    pub const fn new(text: &'static str) -> Reason {
        Reason(Cow::Borrowed(text))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Reason(Cow::Owned(text))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a filter says of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod may run there.
    Fits,
    /// It may not; it might if other pods were gone.
    Unschedulable(Vec<Reason>),
    /// It may not, whatever other pods do.
    UnschedulableAndUnresolvable(Vec<Reason>),
}

impl Verdict {
    /// Might fit without other pods.
    pub fn unschedulable(reason: Reason) -> Verdict {
        Verdict::Unschedulable(vec![reason])
    }

    /// Will not fit.
    pub fn unresolvable(reason: Reason) -> Verdict {
        Verdict::UnschedulableAndUnresolvable(vec![reason])
    }
}

/// Why no node takes a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FitError {
    /// Number of nodes there are.
    pub nodes: usize,
    /// How many nodes gave which reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// Filters that refused some node: what would change their mind is worth a new attempt.
    pub rejected_by: BTreeSet<&'static str>,
    /// Slots of nodes that refused, but might not without other pods.
    pub resolvable: Vec<usize>,
    /// What preemption found.
    pub preemption: Option<String>,
}

impl FitError {
    /// Counts one node's refusal by a filter.
    pub(crate) fn refuse(&mut self, plugin: &'static str, slot: Option<usize>, verdict: Verdict) {
        self.rejected_by.insert(plugin);
        let reasons = match verdict {
            Verdict::Fits => return,
            Verdict::Unschedulable(reasons) => {
                self.resolvable.extend(slot);
                reasons
            }
            Verdict::UnschedulableAndUnresolvable(reasons) => reasons,
        };
        let times = if slot.is_some() { 1 } else { self.nodes };
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += times;
        }
    }
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available: ", self.nodes)?;
        f.write_str(&counted(&self.reasons))?;
        f.write_str(".")?;
        match &self.preemption {
            Some(text) => write!(f, " preemption: {text}"),
            None => Ok(()),
        }
    }
}

/// `2 Insufficient cpu, 1 node(s) were unschedulable`, sorted as text.
pub(crate) fn counted(reasons: &BTreeMap<Reason, usize>) -> String {
    let mut parts: Vec<String> =
        reasons.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}
