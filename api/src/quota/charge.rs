//! Whether an object still fits into a quota, and what is used once it is there.

use jiff::Timestamp;
use serde_json::Value;

use super::{Counted, Usage, in_scope, matches, pods, read};
use crate::{meta, quantity::Quantity};

/// What a quota's `status.used` becomes by a write; `None` if the quota has nothing to do with it.
///
/// # Errors
/// Why the write is refused, in upstream's words.
pub fn charge(
    quota: &Value,
    kind: Counted<'_>,
    new: &Value,
    old: Option<&Value>,
    now: Timestamp,
) -> Result<Option<Usage>, String> {
    if !matches(quota, kind, new) {
        return Ok(None);
    }
    let name = meta::name(quota);
    let (hard, used) = (read(&quota["status"]["hard"]), read(&quota["status"]["used"]));
    let concerned: Vec<&str> =
        hard.keys().map(String::as_str).filter(|name| kind.concerns(name)).collect();
    let asked = match old {
        None => kind.usage(new, now),
        // A pod that was not counted here before is no matter of admission, as upstream.
        Some(old) if !matches(quota, kind, old) && kind.is_core("pods") => return Ok(None),
        Some(old) if !matches(quota, kind, old) => kind.usage(new, now),
        Some(old) => growth(kind.usage(new, now), &kind.usage(old, now)),
    };
    if old.is_none() {
        complete(kind, new, &concerned, name)?;
    }
    let asked: Usage = asked
        .into_iter()
        .filter(|(resource, amount)| !amount.is_zero() && hard.contains_key(resource))
        .collect();
    if asked.is_empty() {
        return Ok(None);
    }
    if concerned.iter().any(|resource| !used.contains_key(*resource)) {
        return Err(format!(
            "status unknown for quota: {name}, resources: {}",
            concerned.join(",")
        ));
    }
    let mut total = used.clone();
    for (resource, amount) in &asked {
        *total.entry(resource.clone()).or_default() += *amount;
    }
    let over: Vec<&String> =
        asked.keys().filter(|resource| total.get(*resource) > hard.get(*resource)).collect();
    if over.is_empty() {
        return Ok(Some(total));
    }
    let show = |list: &Usage| {
        let of = |resource: &&String| {
            let amount = list.get(*resource).copied().unwrap_or_default();
            format!("{resource}={amount}")
        };
        over.iter().map(of).collect::<Vec<_>>().join(",")
    };
    Err(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        show(&asked),
        show(&used),
        show(&hard)
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

fn growth(new: Usage, old: &Usage) -> Usage {
    let more = |(name, amount): (String, Quantity)| {
        let before = old.get(&name).copied().unwrap_or_default();
        (amount > before).then(|| (name, amount - before))
    };
    new.into_iter().filter_map(more).collect()
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
