//! The ReplicaSets of a Deployment: which one is new, which are old, and how they are numbered.
//!
//! A [`Revision`] is an observed ReplicaSet with the copy that the plan edits, or a new one that
//! only the plan knows yet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kontiki_api::Object;

use super::{budget::Budget, hash};
use crate::action::{Action, Note, controller_reference};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that a ReplicaSet does not take over from its Deployment.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];
/// Characters of history kept on a ReplicaSet.
const HISTORY_MAX: usize = 2_000;

/// One ReplicaSet, as observed and as the plan wants it.
pub(super) struct Revision<'a> {
    /// As observed; `None` if the plan creates it.
    pub observed: Option<&'a ReplicaSet>,
    /// As wanted.
    pub edited: ReplicaSet,
}

impl Revision<'_> {
    /// Its size, as the plan wants it.
    pub(super) fn replicas(&self) -> i32 {
        self.edited.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// Available pods that will still be there: a size already lowered takes some away though
    /// the status does not say so yet.
    pub(super) fn available(&self) -> i32 {
        let status = self.edited.status.as_ref();
        status.and_then(|status| status.available_replicas).unwrap_or(0).min(self.replicas())
    }

    /// Pods it has, by its status.
    pub(super) fn pods(&self) -> i32 {
        self.edited.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// Changes its size.
    pub(super) fn resize(&mut self, replicas: i32, budget: &Budget) {
        self.edited.spec.get_or_insert_default().replicas = Some(replicas);
        self.annotate(DESIRED_REPLICAS, budget.replicas);
        self.annotate(MAX_REPLICAS, budget.max_total());
    }

    fn annotate(&mut self, name: &str, value: i32) {
        let annotations = self.edited.metadata.annotations.get_or_insert_default();
        annotations.insert(name.to_owned(), value.to_string());
    }

    /// A number in an annotation.
    pub(super) fn annotation(&self, name: &str) -> Option<i32> {
        self.edited.metadata.annotations.as_ref()?.get(name)?.parse().ok()
    }

    pub(super) fn revision(&self) -> i64 {
        let annotations = self.edited.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(REVISION)?.parse().ok()).unwrap_or(0)
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        self.edited.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    pub(super) fn name(&self) -> &str {
        self.edited.name()
    }
}

/// All ReplicaSets of a Deployment.
pub(super) struct Revisions<'a> {
    deployment: &'a Deployment,
    /// The one with the Deployment's template.
    pub new: Option<Revision<'a>>,
    /// The others, oldest first.
    pub old: Vec<Revision<'a>>,
    /// The name the new one would have is taken by something else.
    pub collision: bool,
}

impl<'a> Revisions<'a> {
    /// Tells the new ReplicaSet from the old ones.
    pub(super) fn classify(deployment: &'a Deployment, owned: &[&'a ReplicaSet]) -> Revisions<'a> {
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let mut old: Vec<Revision<'a>> =
            owned.iter().map(|rs| Revision { observed: Some(rs), edited: (*rs).clone() }).collect();
        old.sort_by(|a, b| (a.created(), a.name()).cmp(&(b.created(), b.name())));
        let same = |revision: &Revision<'_>| {
            let own = revision.edited.spec.as_ref().and_then(|spec| spec.template.as_ref());
            matches!((own, template), (Some(own), Some(wanted)) if hash::same_template(own, wanted))
        };
        let new = old.iter().position(same).map(|index| old.remove(index));
        Revisions { deployment, new, old, collision: false }
    }

    /// All of them, the new one last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Revision<'a>> {
        self.old.iter().chain(&self.new)
    }

    /// Pods that the ReplicaSets are meant to have together.
    pub(super) fn total(&self) -> i32 {
        self.all().map(Revision::replicas).sum()
    }

    /// The revision number the new ReplicaSet has or gets.
    pub(super) fn new_revision(&self) -> i64 {
        let newest_old = self.old.iter().map(Revision::revision).max().unwrap_or(0);
        let own = self.new.as_ref().map_or(0, Revision::revision);
        own.max(newest_old + 1)
    }

    /// Brings an existing new ReplicaSet's annotations and minReadySeconds up to date; that is
    /// also what makes an old one the newest again after an undo.
    pub(super) fn sync_revision(&mut self) {
        let revision = self.new_revision();
        let Some(new) = &mut self.new else { return };
        let known = new.revision();
        let annotations = new.edited.metadata.annotations.get_or_insert_default();
        copy_annotations(self.deployment, annotations);
        if known < revision {
            let former = annotations.insert(REVISION.to_owned(), revision.to_string());
            if let Some(former) = former {
                let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
                append_history(history, &former);
            }
        }
        let min_ready = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        let spec = new.edited.spec.get_or_insert_default();
        if spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            spec.min_ready_seconds = min_ready;
        }
    }

    /// Adds the ReplicaSet for the Deployment's template if there is none.
    pub(super) fn ensure_new(
        &mut self,
        budget: &Budget,
        taken: impl Fn(&str) -> bool,
        now: Timestamp,
    ) {
        if self.new.is_some() {
            return;
        }
        let mut created = self.new_replica_set();
        if taken(created.name()) {
            self.collision = true;
            return;
        }
        // Only for sorting within this plan; the server sets its own.
        created.metadata.creation_timestamp = Some(Time(now));
        let mut revision = Revision { observed: None, edited: created };
        revision.resize(0, budget);
        self.new = Some(revision);
    }

    fn new_replica_set(&self) -> ReplicaSet {
        let deployment = self.deployment;
        let spec = deployment.spec.clone().unwrap_or_default();
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = hash::of(&spec.template, collisions);
        let mut template: PodTemplateSpec = spec.template;
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(hash::LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector;
        selector.match_labels.get_or_insert_default().insert(hash::LABEL.to_owned(), hash.clone());
        let mut annotations = BTreeMap::new();
        copy_annotations(deployment, &mut annotations);
        annotations.insert(REVISION.to_owned(), self.new_revision().to_string());
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", deployment.name())),
                namespace: Some(deployment.namespace().to_owned()),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![controller_reference(deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        }
    }

    /// The writes that make the ReplicaSets what the plan wants.
    pub(super) fn writes(&self, deployment: &Deployment) -> Vec<Action> {
        self.new
            .iter()
            .chain(&self.old)
            .filter_map(|revision| write(deployment, revision))
            .collect()
    }
}

fn write(deployment: &Deployment, revision: &Revision<'_>) -> Option<Action> {
    let (name, to) = (revision.name(), revision.replicas());
    let Some(observed) = revision.observed else {
        let mut created = revision.edited.clone();
        created.metadata.creation_timestamp = None;
        let action = Action::create(&created).note_failure(Note::warning(
            deployment,
            "ReplicaSetCreateError",
            format!("Failed to create new replica set {name:?}: {{error}}"),
        ));
        let message = format!("Scaled up replica set {name} from 0 to {to}");
        let note = Note::normal(deployment, "ScalingReplicaSet", message);
        return Some(if to > 0 { action.note(note) } else { action });
    };
    let action = Action::update(observed, &revision.edited)?;
    let from = observed.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let direction = match to.cmp(&from) {
        std::cmp::Ordering::Greater => "up",
        std::cmp::Ordering::Less => "down",
        std::cmp::Ordering::Equal => return Some(action),
    };
    let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
    Some(action.note(Note::normal(deployment, "ScalingReplicaSet", message)))
}

fn copy_annotations(deployment: &Deployment, annotations: &mut BTreeMap<String, String>) {
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
}

fn append_history(history: &mut String, former: &str) {
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(former);
    while history.len() > HISTORY_MAX {
        match history.find(',') {
            Some(comma) => history.drain(..=comma),
            None => break,
        };
    }
}
