//! `pods/NAME/eviction`: a deletion that asks the pod's disruption budget first.
//!
//! What the budget says is decided by pure functions over the pod and the budgets of its
//! namespace. A disruption that is granted is written into the budget's status before the pod is
//! deleted, so that two evictions at once cannot both have the last one.

use std::sync::Arc;

use http::{Response, StatusCode};
use kontiki_api::{
    Status, meta,
    selector::Selector,
    status::{Cause, Details},
    typed,
};
use serde_json::{Value, json};

use super::ServeFuture;
use crate::{
    answer::{self, Body},
    core::Core,
    exchange::Exchange,
    schema::Expected,
    verbs::{
        bodies, body, delete,
        options::{self, DeleteOptions},
        stored::{self, Change, Target, Writer},
    },
};

const POLICY: &str = "policy";
const EVICTION: Expected<'_> = Expected { group: POLICY, version: "v1", kind: "Eviction" };
const BUDGETS: &str = "poddisruptionbudgets";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// When to come again while the budget's controller has not caught up.
const CATCH_UP_SECONDS: u32 = 10;
/// Most disruptions that were granted and that the budget's controller has not seen yet.
const DISRUPTED_MAX: usize = 2000;

pub(super) fn serve<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> ServeFuture<'a> {
    Box::pin(run(core, exchange))
}

async fn run(core: &Arc<Core>, exchange: &mut Exchange) -> Result<Response<Body>, Status> {
    let dry_run = options::dry_run(exchange, "CreateOptions")?;
    let resource = exchange.resource()?.clone();
    let eviction = read(exchange).await?;
    let (namespace, name) = (exchange.info.namespace.clone(), exchange.info.name.clone());
    if !meta::name(&eviction).is_empty() && meta::name(&eviction) != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = delete_options(&eviction["deleteOptions"], dry_run);
    let target = Target { resource: &resource, namespace: &namespace, name: &name };
    let writer = Writer::of(exchange, options.dry_run);
    core.catch_up().await?;
    let pod = stored::from_cache(target)
        .object
        .ok_or_else(|| Status::row_not_found(&resource.row, &name))?;
    let granted = if is_idle(&pod) { None } else { ask(core, &writer, &pod).await? };
    let pinned = granted.as_ref().is_some_and(|granted| granted.pin);
    // A pod that begins to work meanwhile must be asked for again.
    let waits = pod["status"]["phase"] == "Pending" && !meta::is_deleting(&pod);
    if pinned || waits {
        let version = meta::resource_version(&pod).to_owned();
        options.resource_version.get_or_insert(version);
    }
    let deleted = match delete::delete(core, &writer, target, &options).await {
        Err(status) if status.code == 409 && pinned => {
            return Err(still_processing(&granted.map(|one| one.name).unwrap_or_default()));
        }
        outcome => outcome?,
    };
    let success = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    let response = answer::value(StatusCode::CREATED, &success);
    Ok(bodies::with_revision(response, deleted.stored.revision))
}

/// Reads an Eviction. In `policy/v1beta1` it was the same, and some still say so.
async fn read(exchange: &mut Exchange) -> Result<Value, Status> {
    let body = body::read_json(exchange).await?;
    match serde_json::from_slice::<Value>(&body) {
        Ok(mut older) if older["apiVersion"] == "policy/v1beta1" => {
            older["apiVersion"] = "policy/v1".into();
            body::decode(exchange, EVICTION, older.to_string().as_bytes())
        }
        _ => body::decode(exchange, EVICTION, &body),
    }
}

fn delete_options(asked: &Value, dry_run: bool) -> DeleteOptions {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let dry = asked["dryRun"].as_array().is_some_and(|words| words.iter().any(|w| w == "All"));
    DeleteOptions {
        grace_period: asked["gracePeriodSeconds"].as_i64(),
        uid: text(&asked["preconditions"]["uid"]),
        resource_version: text(&asked["preconditions"]["resourceVersion"]),
        propagation: None,
        dry_run: dry_run || dry,
    }
}

/// Whether a pod does nothing any more, or not yet: then its eviction is nobody's business.
fn is_idle(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    meta::is_deleting(pod) || matches!(phase, "Succeeded" | "Failed" | "Pending")
}

/// A budget that lets the pod go.
struct Granted {
    name: String,
    /// Whether the pod must not have changed meanwhile.
    pin: bool,
}

/// Asks the budget that the pod counts for, and takes a disruption from it.
async fn ask(core: &Core, writer: &Writer, pod: &Value) -> Result<Option<Granted>, Status> {
    let budgets = core.builtin(POLICY, BUDGETS);
    let namespace = meta::namespace(pod);
    let prefix = format!("{namespace}/");
    let snapshot = budgets.cache.snapshot(core.caches.revision());
    let mut matching: Vec<Value> = snapshot
        .index
        .walk(&prefix, "")
        .map(|object| object.value())
        .filter(|budget| guards(budget, pod))
        .collect();
    let Some(budget) = matching.pop() else { return Ok(None) };
    if !matching.is_empty() {
        return Err(Status {
            code: 500,
            reason: "",
            message: "This pod has more than one PodDisruptionBudget, which the eviction \
                      subresource does not support."
                .to_owned(),
            details: None,
            continue_token: None,
        });
    }
    let name = meta::name(&budget).to_owned();
    if is_spare(pod, &budget) {
        return Ok(Some(Granted { name, pin: true }));
    }
    let target = Target { resource: budgets, namespace, name: &name };
    let now = meta::time(writer.now);
    stored::change(core, writer, target, |current| match current {
        Some(budget) => take_one(budget, meta::name(pod), &now).map(Change::Put),
        None => Err(Status::not_found(POLICY, BUDGETS, &name)),
    })
    .await?;
    Ok(Some(Granted { name, pin: false }))
}

/// Whether a budget is about a pod. One without a selector is about none.
fn guards(budget: &Value, pod: &Value) -> bool {
    let selector = typed::label_selector(&budget["spec"]["selector"]).ok();
    let selector = selector.and_then(|selector| Selector::from_typed(Some(&selector)).ok());
    selector.is_some_and(|selector| {
        !selector.is_everything() && selector.matches(&pod["metadata"]["labels"])
    })
}

/// Whether a pod is not ready and enough others are, or whether it may go since it is not ready.
fn is_spare(pod: &Value, budget: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|one| one["type"] == "Ready");
    if ready.any(|one| one["status"] == "True") {
        return false;
    }
    if budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
        return true;
    }
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0
}

/// The budget with one disruption less.
fn take_one(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let (name, status) = (meta::name(budget), &budget["status"]);
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let forbidden = |why: &str| Err(Status::forbidden(POLICY, "poddisruptionbudget", name, why));
    if count("observedGeneration") < meta::generation(budget) {
        return Err(still_processing(name));
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        return forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if allowed == 0 {
        let (wanted, has) = (count("desiredHealthy"), count("currentHealthy"));
        let why = format!(
            "The disruption budget {name} needs {wanted} healthy pods and has {has} currently"
        );
        return Err(refused(&why, 0));
    }
    let mut budget = budget.clone();
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    if !status["disruptedPods"].is_object() {
        status["disruptedPods"] = json!({});
    }
    status["disruptedPods"][pod] = now.into();
    if allowed == 1 {
        exhausted(status, now);
    }
    Ok(budget)
}

/// Says in the conditions that nothing is left.
fn exhausted(status: &mut Value, now: &str) {
    let observed = status["observedGeneration"].clone();
    let Some(Value::Array(conditions)) = status.get_mut("conditions") else { return };
    for condition in conditions.iter_mut().filter(|one| one["type"] == "DisruptionAllowed") {
        if condition["status"] != "False" {
            condition["lastTransitionTime"] = now.into();
        }
        condition["status"] = "False".into();
        condition["reason"] = "InsufficientPods".into();
        condition["observedGeneration"] = observed.clone();
    }
}

fn still_processing(name: &str) -> Status {
    let why = format!("The disruption budget {name} is still being processed by the server.");
    refused(&why, CATCH_UP_SECONDS)
}

fn refused(why: &str, retry_after_seconds: u32) -> Status {
    let mut status = Status::too_many_requests(REFUSED, retry_after_seconds);
    let cause = Cause {
        reason: "DisruptionBudget".to_owned(),
        message: why.to_owned(),
        field: String::new(),
    };
    let causes = vec![cause];
    status.details = Some(Box::new(Details { retry_after_seconds, causes, ..Details::default() }));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: &Value) -> Value {
        json!({
            "metadata": {"name": "b", "generation": 2},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": status,
        })
    }

    #[test]
    fn a_budget_gives_what_it_has_and_then_refuses() {
        let full = json!({"observedGeneration": 2, "disruptionsAllowed": 1, "desiredHealthy": 2,
            "currentHealthy": 3, "conditions": [{"type": "DisruptionAllowed", "status": "True"}]});
        let after = take_one(&budget(&full), "p", "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(after["status"]["disruptionsAllowed"], 0);
        assert_eq!(after["status"]["disruptedPods"], json!({"p": "2026-01-01T00:00:00Z"}));
        assert_eq!(after["status"]["conditions"][0]["reason"], "InsufficientPods");
        let refused = take_one(&after, "q", "").unwrap_err().to_value();
        assert_eq!(
            refused,
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": REFUSED, "reason": "TooManyRequests", "code": 429,
                "details": {"causes": [{
                    "reason": "DisruptionBudget",
                    "message": "The disruption budget b needs 2 healthy pods and has 3 currently",
                }]},
            })
        );
        let stale = take_one(&budget(&json!({"observedGeneration": 1})), "p", "").unwrap_err();
        assert_eq!(stale.details.map(|details| details.retry_after_seconds), Some(10));
    }

    #[test]
    fn budgets_guard_the_pods_they_select_and_no_others() {
        let pod = |app: &str| json!({"metadata": {"labels": {"app": app}}});
        let none = json!({});
        assert!(guards(&budget(&none), &pod("web")) && !guards(&budget(&none), &pod("db")));
        assert!(!guards(&json!({"spec": {"selector": {}}}), &pod("web")));
        assert!(!guards(&json!({"spec": {}}), &pod("web")));
    }

    #[test]
    fn who_does_not_run_needs_no_budget() {
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        assert!(is_idle(&phase("Pending")) && is_idle(&phase("Failed")));
        assert!(!is_idle(&phase("Running")));
        let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let enough = json!({"desiredHealthy": 2, "currentHealthy": 2});
        assert!(is_spare(&unready, &budget(&enough)));
        assert!(!is_spare(&unready, &budget(&json!({"desiredHealthy": 2, "currentHealthy": 1}))));
    }
}
