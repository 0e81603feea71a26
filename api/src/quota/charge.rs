//! Whether an object still fits into a quota, and what is used once it is written or gone.

use jiff::Timestamp;
use serde_json::Value;

use super::{Counted, Usage, in_scope, matches, pods, read};
use crate::{meta, quantity::Quantity};

/// What a quota's `status.used` becomes by a write that makes `old` to `new`; `None` if it stays.
///
/// # Errors
/// Why the write is refused, in upstream's words.
pub fn settle(
    quota: &Value,
    kind: Counted<'_>,
    new: Option<&Value>,
    old: Option<&Value>,
    now: Timestamp,
) -> Result<Option<Usage>, String> {
    let hard = read(&quota["status"]["hard"]);
    let counts = |object: &&Value| matches(quota, kind, object);
    let (new_counted, old_counted) = (new.filter(counts), old.filter(counts));
    if new_counted.is_none() && old_counted.is_none() {
        return Ok(None);
    }
    let used = read(&quota["status"]["used"]);
    let usage = |object: Option<&Value>| {
        let mut usage = object.map(|object| kind.usage(object, now)).unwrap_or_default();
        usage.retain(|name, _| hard.contains_key(name));
        usage
    };
    let (after, before) = (usage(new_counted), usage(old_counted));
    let (grown, shrunk) = (growth(&after, &before), growth(&before, &after));
    // A pod that an update moves into the scope of a quota is counted, but no matter of admission.
    let moved = kind.is_core("pods") && old.is_some() && old_counted.is_none();
    if !moved {
        let concerned: Vec<&str> =
            hard.keys().map(String::as_str).filter(|name| kind.concerns(name)).collect();
        if let Some(object) = new_counted.filter(|_| old.is_none()) {
            complete(kind, object, &concerned, meta::name(quota))?;
        }
        fits(quota, &concerned, &grown, &used, &hard)?;
    }
    let mut total = used.clone();
    for (name, amount) in &grown {
        *total.entry(name.clone()).or_default() += *amount;
    }
    for (name, amount) in &shrunk {
        if let Some(sum) = total.get_mut(name) {
            *sum = (*sum - *amount).max(Quantity::default());
        }
    }
    Ok((total != used).then_some(total))
}

/// Whether there is room for what is added.
fn fits(
    quota: &Value,
    concerned: &[&str],
    grown: &Usage,
    used: &Usage,
    hard: &Usage,
) -> Result<(), String> {
    let name = meta::name(quota);
    if grown.is_empty() {
        return Ok(());
    }
    if concerned.iter().any(|resource| !used.contains_key(*resource)) {
        return Err(format!(
            "status unknown for quota: {name}, resources: {}",
            concerned.join(",")
        ));
    }
    let amount = |list: &Usage, resource: &str| list.get(resource).copied().unwrap_or_default();
    let over: Vec<&String> = grown
        .iter()
        .filter(|(resource, more)| amount(used, resource) + **more > amount(hard, resource))
        .map(|(resource, _)| resource)
        .collect();
    if over.is_empty() {
        return Ok(());
    }
    let show = |list: &Usage| {
        let all = over.iter().map(|resource| format!("{resource}={}", amount(list, resource)));
        all.collect::<Vec<_>>().join(",")
    };
    Err(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        show(grown),
        show(used),
        show(hard)
    ))
}

/// What must be named, and that nothing is negative.
fn complete(
    kind: Counted<'_>,
    object: &Value,
    concerned: &[&str],
    quota: &str,
) -> Result<(), String> {
    if kind.is_core("pods")
        && let Some(missing) = pods::unnamed(object, concerned)
    {
        return Err(format!("failed quota: {quota}: {missing}"));
    }
    let usage = kind.usage(object, Timestamp::UNIX_EPOCH);
    let negative: Vec<&str> = usage
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name.as_str())
        .collect();
    if negative.is_empty() {
        return Ok(());
    }
    Err(format!("quota usage is negative for resource(s): {}", negative.join(",")))
}

/// What one has more of than the other.
fn growth(more: &Usage, less: &Usage) -> Usage {
    let extra = |(name, amount): (&String, &Quantity)| {
        let other = less.get(name).copied().unwrap_or_default();
        (*amount > other).then(|| (name.clone(), *amount - other))
    };
    more.iter().filter_map(extra).collect()
}

/// What the objects of a namespace use of a quota, counted from nothing: every name that
/// `spec.hard` limits and that can be counted has its amount, be it zero.
pub fn counted<'a>(
    quota: &Value,
    objects: impl Iterator<Item = (Counted<'a>, &'a Value)>,
    now: Timestamp,
) -> Usage {
    let hard = read(&quota["spec"]["hard"]);
    let mut used: Usage = hard.keys().map(|name| (name.clone(), Quantity::default())).collect();
    for (kind, object) in objects {
        if !hard.keys().any(|name| kind.concerns(name)) || !in_scope(quota, kind, object) {
            continue;
        }
        for (name, amount) in kind.usage(object, now) {
            if let Some(sum) = used.get_mut(&name) {
                *sum += amount;
            }
        }
    }
    used
}
