//! The four things that a limit can demand: a least, a most, and a ratio of limit to request.

use kontiki_api::{
    quantity::Quantity,
    quota::{Demand, Usage},
};
use serde_json::Value;

use super::{parsed, quantities};

/// What a container or pod does against a limit.
pub(super) fn complaints(kind: &str, limit: &Value, asked: &Demand) -> Vec<String> {
    let mut found = Vec::new();
    for (name, least) in quantities(&limit["min"]) {
        found.extend(below(kind, name, parsed(least), asked));
    }
    for (name, most) in quantities(&limit["max"]) {
        found.extend(above(kind, name, parsed(most), asked));
    }
    for (name, ratio) in quantities(&limit["maxLimitRequestRatio"]) {
        found.extend(apart(kind, name, parsed(ratio), asked));
    }
    found
}

fn below(kind: &str, name: &str, least: Quantity, asked: &Demand) -> Option<String> {
    let head = format!("minimum {name} usage per {kind} is {least}");
    let Some(request) = asked.requests.get(name) else {
        return Some(format!("{head}.  No request is specified"));
    };
    if *request < least {
        return Some(format!("{head}, but request is {request}"));
    }
    let limit = asked.limits.get(name).filter(|limit| **limit < least)?;
    Some(format!("{head}, but limit is {limit}"))
}

fn above(kind: &str, name: &str, most: Quantity, asked: &Demand) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {most}");
    let Some(limit) = asked.limits.get(name) else {
        return Some(format!("{head}.  No limit is specified"));
    };
    if *limit > most {
        return Some(format!("{head}, but limit is {limit}"));
    }
    let request = asked.requests.get(name).filter(|request| **request > most)?;
    Some(format!("{head}, but request is {request}"))
}

fn apart(kind: &str, name: &str, most: Quantity, asked: &Demand) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {most}, but");
    let set = |amounts: &Usage| amounts.get(name).copied().filter(|amount| !amount.is_zero());
    let Some(request) = set(&asked.requests) else {
        return Some(format!("{head} no request is specified or request is 0"));
    };
    let Some(limit) = set(&asked.limits) else {
        return Some(format!("{head} no limit is specified or limit is 0"));
    };
    #[expect(clippy::cast_precision_loss, reason = "upstream compares the ratio as a float too")]
    let (observed, allowed) =
        (limit.millis() as f64 / request.millis() as f64, most.millis() as f64 / 1000.0);
    (observed > allowed).then(|| format!("{head} provided ratio is {observed:.6}"))
}

/// What a claim does against a limit: only its request counts.
pub(super) fn claim_complaints(limit: &Value, asked: &Demand) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let mut found = Vec::new();
    let mut judge =
        |word: &str, name: &str, bound: Quantity, bad: fn(Quantity, Quantity) -> bool| {
            let head = format!("{word} {name} usage per {KIND} is {bound}");
            match asked.requests.get(name) {
                None => found.push(format!("{head}.  No request is specified")),
                Some(request) if bad(*request, bound) => {
                    found.push(format!("{head}, but request is {request}"));
                }
                Some(_) => {}
            }
        };
    for (name, least) in quantities(&limit["min"]) {
        judge("minimum", name, parsed(least), |request, bound| request < bound);
    }
    for (name, most) in quantities(&limit["max"]) {
        judge("maximum", name, parsed(most), |request, bound| request > bound);
    }
    found
}
