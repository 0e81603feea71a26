//! Keeps flow control in step with its objects, and their conditions in step with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kontiki_api::{Status, meta};
use kontiki_base::CancellationToken;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{FlowControl, plan::Verdict};
use crate::{
    core::Core,
    verbs::{
        stored::{Target, Writer},
        update::{self, Part},
    },
};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const DANGLING: &str = "Dangling";
/// Changes that come together are taken over together.
const GATHER: Duration = Duration::from_millis(20);
/// How often seats are lent anew, as upstream.
const ADJUST: Duration = Duration::from_secs(10);
/// Another server may see things differently for a moment; nobody argues faster than this.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// Follows the objects until `shutdown`.
pub(crate) async fn run(core: Arc<Core>, shutdown: CancellationToken) {
    let Some(control) = &core.flow_control else { return };
    let subscribe = |resource: &str| core.builtin(GROUP, resource).cache.subscribe();
    let mut schemas = subscribe("flowschemas");
    let mut levels = subscribe("prioritylevelconfigurations");
    let mut ready = core.ready.subscribe();
    let mut adjust = interval(ADJUST);
    adjust.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = HashMap::new();
    loop {
        schemas.mark_unchanged();
        levels.mark_unchanged();
        let is_ready = *ready.borrow_and_update();
        let again = take_over(&core, control, is_ready, &mut written).await;
        let again = async {
            match again {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(again);
        loop {
            tokio::select! { biased;
                () = shutdown.cancelled() => return,
                _ = schemas.changed() => break,
                _ = levels.changed() => break,
                _ = ready.changed() => break,
                () = &mut again => break,
                _ = adjust.tick() => control.adjust(Instant::now()),
            }
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Takes over what the cache has now.
pub(crate) fn compile(core: &Core) {
    if let Some(control) = &core.flow_control {
        control.follow(&all(core, "flowschemas"), &all(core, "prioritylevelconfigurations"));
    }
}

/// Takes over the objects and writes the conditions that are not as they should be; tells when to
/// look again if something had to be left.
async fn take_over(
    core: &Core,
    control: &FlowControl,
    ready: bool,
    written: &mut HashMap<String, Instant>,
) -> Option<Instant> {
    let schemas = all(core, "flowschemas");
    let verdicts = control.follow(&schemas, &all(core, "prioritylevelconfigurations"));
    written.retain(|_, at| at.elapsed() < WRITE_AGAIN);
    if !ready {
        return None;
    }
    let mut again: Option<Instant> = None;
    for (schema, verdict) in schemas.iter().zip(&verdicts) {
        if says(schema, verdict) {
            continue;
        }
        if let Some(at) = written.get(&verdict.schema) {
            let next = *at + WRITE_AGAIN;
            again = Some(again.map_or(next, |other| other.min(next)));
            continue;
        }
        written.insert(verdict.schema.clone(), Instant::now());
        if let Err(status) = write(core, verdict).await
            && status.code != 404
        {
            tracing::debug!("cannot say whether {} dangles: {}", verdict.schema, status.message);
            again = Some(Instant::now() + WRITE_AGAIN);
        }
    }
    again
}

fn all(core: &Core, resource: &str) -> Vec<Value> {
    let cache = &core.builtin(GROUP, resource).cache;
    let snapshot = cache.snapshot(core.caches.revision());
    snapshot.index.walk("", "").map(|object| object.value()).collect()
}

/// The condition's status, reason and message.
fn condition(verdict: &Verdict) -> (&'static str, &'static str, String) {
    let about = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {:?}",
        verdict.level
    );
    if verdict.dangling {
        ("True", "NotFound", format!("{about} but there is no such object"))
    } else {
        ("False", "Found", format!("{about} and it exists"))
    }
}

fn says(schema: &Value, verdict: &Verdict) -> bool {
    let (status, reason, message) = condition(verdict);
    let mut conditions = schema["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|one| one["type"] == DANGLING).is_some_and(|one| {
        one["status"] == status && one["reason"] == reason && one["message"] == message.as_str()
    })
}

async fn write(core: &Core, verdict: &Verdict) -> Result<(), Status> {
    let writer = Writer::server();
    let (status, reason, message) = condition(verdict);
    let new = json!({
        "type": DANGLING, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": meta::time(writer.now),
    });
    let resource = core.builtin(GROUP, "flowschemas");
    let target = Target { resource, namespace: "", name: &verdict.schema };
    update::modify(core, &writer, target, Part::Status, |old| {
        let mut changed = old.clone();
        let old = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let others = old.into_iter().filter(|one| one["type"] != DANGLING);
        changed["status"]["conditions"] = others.chain([new.clone()]).collect();
        Ok(changed)
    })
    .await
    .map(|_| ())
}
