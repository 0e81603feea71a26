//! Jobs that have ended are taken away once the time that they asked for is over.
//!
//! Only the Job's status counts, whoever wrote it.

use std::time::Duration;

use jiff::Timestamp;
use kontiki_api::Object;
use kontiki_client::Propagation;

use crate::{
    action::{Action, Context, Plan, Target, Write},
    controller::{Controller, Keys},
    pods,
    world::{Change, Job, Key, World},
};

/// The controller.
pub(crate) struct TtlAfterFinished;

impl Controller for TtlAfterFinished {
    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn queue_name(&self) -> &'static str {
        "ttl_jobs_to_delete"
    }

    fn wake(&self, _: &World, change: &Change<'_>, keys: &mut Keys) {
        if let Change::Job(delta) = change {
            keys.extend(delta.new.filter(|job| lifetime(job).is_some()).map(Key::of));
        }
    }

    fn all(&self, world: &World, keys: &mut Keys) {
        let limited = world.jobs.iter().filter(|job| lifetime(job).is_some());
        keys.extend(limited.map(|job| Key::of(&**job)));
    }

    fn plan(&self, world: &World, key: &Key, context: Context<'_>) -> Plan {
        plan(world, key, context.now)
    }
}

/// How long a Job is to be kept after its end.
fn lifetime(job: &Job) -> Option<Duration> {
    let seconds = job.spec()["ttlSecondsAfterFinished"].as_u64()?;
    Some(Duration::from_secs(seconds))
}

/// When it ended: since when it is complete or has failed.
fn end(job: &Job) -> Option<Timestamp> {
    let conditions = job.status()["conditions"].as_array()?;
    let ended = conditions.iter().find(|one| {
        matches!(one["type"].as_str(), Some("Complete" | "Failed")) && one["status"] == "True"
    })?;
    ended["lastTransitionTime"].as_str()?.parse().ok()
}

/// Decides whether a Job goes, or when.
pub(crate) fn plan(world: &World, key: &Key, now: Timestamp) -> Plan {
    let Some(job) = world.jobs.get(key) else { return Plan::nothing("it is gone") };
    if job.is_deleting() {
        return Plan::nothing("it is being deleted");
    }
    let (Some(lifetime), Some(end)) = (lifetime(job), end(job)) else {
        return Plan::nothing("it has not ended, or stays for ever");
    };
    let mut plan = Plan::default();
    match lifetime.checked_sub(pods::elapsed(end, now)) {
        Some(rest) if !rest.is_zero() => {
            plan.because("it may still be looked at");
            plan.recheck(rest);
        }
        _ => plan.then([Action::new(Write::Delete {
            target: Target::of(&**job),
            grace_seconds: None,
            propagation: Some(Propagation::Foreground),
        })]),
    }
    plan
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::testing::{self, key, now};

    fn check(seconds: i64, condition: &str, status: &str, expected: &Expect) {
        let at = testing::age(30);
        let world = testing::world(&format!(
            r#"Job j {{"spec": {{"ttlSecondsAfterFinished": {seconds}}}, "status": {{"conditions": [{{"type": "{condition}", "status": "{status}", "lastTransitionTime": {at}}}]}}}}"#
        ));
        testing::check(&plan(&world, &key("j"), now()), expected);
    }

    #[test]
    fn jobs_go_when_their_time_after_the_end_is_over() {
        check(0, "Complete", "True", &expect!["delete Job j Foreground"]);
        check(30, "Failed", "True", &expect!["delete Job j Foreground"]);
        check(
            100,
            "Failed",
            "True",
            &expect![[r#"
                because it may still be looked at
                recheck after 70 s"#]],
        );
        check(0, "Complete", "False", &expect!["because it has not ended, or stays for ever"]);
        check(0, "Suspended", "True", &expect!["because it has not ended, or stays for ever"]);
    }
}
