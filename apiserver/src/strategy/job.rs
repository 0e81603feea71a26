//! Jobs: pods that run to their end, some at a time, until enough of them have.

mod policies;

use kontiki_api::{meta, names, selector::Selector, typed};
use serde_json::Value;

use super::{
    check::{Check, as_value},
    declared::{Declared, WANTED},
    place::Place,
    replica_set, template, value,
};

/// Most pods of an indexed Job at a time, and most of its failures that are told apart.
const INDEXED_MAX: i64 = 100_000;
/// The labels of a Job's pods; those without a prefix are from before there was one.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// The strategy of `jobs`.
pub(super) static STRATEGY: Declared = Declared {
    defaults,
    create: |object, _| select(object),
    check,
    check_update,
    check_status: |check, new, _| {
        let status = new.at("status");
        check.counts(&status, &["active", "succeeded", "failed", "ready", "terminating"]);
    },
    warnings: |job, _| {
        let spec = job.at("spec");
        let count = |field: &str| spec.at(field).number().unwrap_or_default();
        if spec.at("completionMode").text() == "Indexed"
            && count("completions") > INDEXED_MAX
            && count("parallelism") > 10_000
        {
            return vec![
                "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism \
                 higher than 10^4, Kubernetes might not be able to track completedIndexes when a \
                 big number of indexes fail"
                    .to_owned(),
            ];
        }
        Vec::new()
    },
    ..WANTED
};

fn defaults(object: &mut Value) {
    let spec = value::child_or_new(object, "spec");
    let unset = |spec: &Value, field: &str| spec.get(field).is_none_or(Value::is_null);
    if unset(spec, "completions") && unset(spec, "parallelism") {
        value::set(spec, "completions", 1);
    }
    value::default(spec, "parallelism", 1);
    let limit = if unset(spec, "backoffLimitPerIndex") { 6 } else { i64::from(i32::MAX) };
    value::default(spec, "backoffLimit", limit);
    value::default(spec, "completionMode", "NonIndexed");
    value::default(spec, "suspend", false);
    value::default(spec, "manualSelector", false);
    let replacement =
        if unset(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    value::default(spec, "podReplacementPolicy", replacement);
    policies::defaults(spec);
    replica_set::template_defaults(spec);
    let labels = spec["template"]["metadata"]["labels"].clone();
    let metadata = value::child_or_new(object, "metadata");
    if metadata["labels"].as_object().is_none_or(|own| own.is_empty()) && labels.is_object() {
        value::set(metadata, "labels", labels);
    }
}

/// Selects the Job's pods by its own uid, unless somebody does so by hand.
fn select(object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
    let spec = value::child_or_new(object, "spec");
    let metadata = value::child_or_new(value::child_or_new(spec, "template"), "metadata");
    let labels = value::child_or_new(metadata, "labels");
    for (keys, text) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
        keys.iter().for_each(|key| value::set(labels, key, text.as_str()));
    }
    let selector = value::child_or_new(spec, "selector");
    value::set(value::child_or_new(selector, "matchLabels"), UID_LABELS[0], uid);
}

fn check(check: &mut Check, job: &Place<'_>) {
    let spec = job.at("spec");
    if !spec.at("manualSelector").flag() && spec.at("selector").is_set() {
        let labels = spec.at("template").at("metadata").at("labels");
        let (uid, name) = (meta::uid(job.value), meta::name(job.value));
        for (key, wanted) in
            UID_LABELS.map(|k| (k, uid)).into_iter().chain(NAME_LABELS.map(|k| (k, name)))
        {
            let label = labels.at(key);
            if !label.is_set() {
                let detail = format!("must be '{wanted}'");
                check.required(&labels.path.key(key), &detail);
            } else if label.text() != wanted {
                let detail = format!("must be '{wanted}'");
                check.invalid(&labels.path.key(key), label.text(), &detail);
            }
        }
    }
    check_spec(check, &spec);
    let selector = spec.at("selector");
    if selector.is_set() {
        check.selects(&selector);
    } else {
        check.required(&selector.path, "");
    }
    let labels = spec.at("template").at("metadata").at("labels");
    let selects = typed::label_selector(selector.value)
        .ok()
        .and_then(|selector| Selector::from_typed(Some(&selector)).ok())
        .is_none_or(|selector| {
            let labels =
                labels.entries().map(|(key, value)| (key.to_owned(), value.text().to_owned()));
            selector.matches(&Some(labels.collect::<std::collections::BTreeMap<_, _>>()))
        });
    if !selects {
        let detail = "`selector` does not match template `labels`";
        check.invalid(&labels.path, labels.value.clone(), detail);
    }
}

/// Checks what a Job and the template of one have in common.
pub(super) fn check_spec(check: &mut Check, spec: &Place<'_>) {
    check.counts(
        spec,
        &[
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "backoffLimitPerIndex",
        ],
    );
    per_index(check, spec);
    let manager = spec.at("managedBy");
    if manager.is_set() {
        let wrong = names::qualified_name(&manager.text().to_lowercase());
        check.errors.invalid_each(&manager.path, manager.text(), wrong);
        if !manager.text().contains('/') {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            check.invalid(&manager.path, manager.text(), detail);
        }
    }
    completion_mode(check, spec);
    policies::check(check, spec);
    check.chosen_if_set(&spec.at("podReplacementPolicy"), policies::replacements(spec));
    template::check(check, &spec.at("template"));
    let restart = spec.at("template").at("spec").at("restartPolicy");
    match restart.text() {
        "" | "Always" => {
            check.required(&restart.path, "valid values: \"OnFailure\", \"Never\"");
        }
        "OnFailure" if spec.at("podFailurePolicy").is_set() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            check.invalid(&restart.path, "OnFailure", detail);
        }
        text => check.one_of(&restart.path, text, &["OnFailure", "Never"]),
    }
}

fn per_index(check: &mut Check, spec: &Place<'_>) {
    let (limit, failed) = (spec.at("backoffLimitPerIndex"), spec.at("maxFailedIndexes"));
    let indexed = spec.at("completionMode").text() == "Indexed";
    if limit.is_set() && !indexed {
        check.invalid(&limit.path, limit.value.clone(), "requires indexed completion mode");
    }
    let Some(most) = failed.number() else { return };
    check.not_negative(&failed.path, Some(most));
    if !limit.is_set() {
        check.required(&limit.path, "when maxFailedIndexes is specified");
    }
    if spec.at("completions").number().is_some_and(|completions| most > completions) {
        check.invalid(&failed.path, most, "must be less than or equal to completions");
    }
    if most > INDEXED_MAX {
        check.invalid(&failed.path, most, &format!("must be less than or equal to {INDEXED_MAX}"));
    }
}

fn completion_mode(check: &mut Check, spec: &Place<'_>) {
    let mode = spec.at("completionMode");
    check.chosen_if_set(&mode, &["Indexed", "NonIndexed"]);
    if mode.text() != "Indexed" {
        return;
    }
    if !spec.at("completions").is_set() {
        check.required(&spec.at("completions").path, "when completion mode is Indexed");
    }
    let parallelism = spec.at("parallelism");
    if let Some(pods) = parallelism.number().filter(|pods| *pods > INDEXED_MAX) {
        let detail =
            format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
        check.invalid(&parallelism.path, pods, &detail);
    }
}

fn check_update(check: &mut Check, new: &Place<'_>, old: &Place<'_>) {
    let (spec, before) = (new.at("spec"), old.at("spec"));
    completions(check, &spec, &before);
    check.fixed(&spec.at("selector"), &before.at("selector"));
    let waits = before.at("suspend").flag() && !old.at("status").at("startTime").is_set();
    let (template, old_template) = (spec.at("template"), before.at("template"));
    let same = if waits {
        placed_like(old_template.value, template.value) == *template.value
    } else {
        old_template.value == template.value
    };
    if !same {
        check.push(kontiki_api::field::Error::immutable(&template.path, template.value.clone()));
    }
    let fields = [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ];
    for field in fields {
        check.fixed(&spec.at(field), &before.at(field));
    }
}

/// An indexed Job grows and shrinks as long as all its pods run at once.
fn completions(check: &mut Check, spec: &Place<'_>, before: &Place<'_>) {
    let (new, old) = (spec.at("completions"), before.at("completions"));
    if new.value == old.value {
        return;
    }
    let elastic = spec.at("completionMode").text() == "Indexed" && new.is_set() && old.is_set();
    if !elastic {
        return check.fixed(&new, &old);
    }
    if new.value != spec.at("parallelism").value {
        let detail = format!("can only be modified in tandem with {}", spec.at("parallelism").path);
        check.invalid(&new.path, as_value(new.value), &detail);
    }
}

/// A template whose pods are to go where those of another are: what may change of a Job that has
/// not begun.
fn placed_like(template: &Value, other: &Value) -> Value {
    let mut placed = template.clone();
    let mut copy = |path: &[&str]| {
        let (last, parents) = path.split_last().expect("a path");
        let wanted = path.iter().try_fold(other, |value, name| value.get(name)).cloned();
        let parent =
            parents.iter().fold(&mut placed, |value, name| value::child_or_new(value, name));
        match wanted {
            Some(wanted) => value::set(parent, last, wanted),
            None => value::unset(parent, last),
        }
    };
    copy(&["metadata", "annotations"]);
    copy(&["metadata", "labels"]);
    copy(&["spec", "nodeSelector"]);
    copy(&["spec", "tolerations"]);
    copy(&["spec", "schedulingGates"]);
    copy(&["spec", "affinity"]);
    placed
}
