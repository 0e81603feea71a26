//! Every pod has a priority, and says whether it makes others leave for it: what its class says, or
//! the class that is the default, or nothing special.

use async_trait::async_trait;
use kontiki_api::{Status, meta};
use memchr::memmem;
use serde_json::{Value, json};

use super::{Attempt, Operation, Step};
use crate::core::Core;

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";
/// What a class has somewhere in its bytes if it may be the default.
const DEFAULT_MARK: &[u8] = b"\"globalDefault\":true";

pub(super) struct Priority;

#[async_trait]
impl Step for Priority {
    async fn mutate(&self, core: &Core, attempt: &mut Attempt<'_>) -> Result<(), Status> {
        if attempt.is(Operation::Update, "", "pods") {
            if let Some(old) = attempt.old {
                keep(attempt.object, old);
            }
            return Ok(());
        }
        if !attempt.is(Operation::Create, "", "pods") {
            return Ok(());
        }
        let name = attempt.object["spec"]["priorityClassName"].as_str().unwrap_or_default();
        let class = if name.is_empty() {
            default_class(core)
        } else {
            let Some(class) = core.find(GROUP, CLASSES, "", name).await? else {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(attempt.forbidden(&why));
            };
            Some(class.value())
        };
        let mut spec = attempt.object["spec"].take();
        let applied = apply(&mut spec, class.as_ref());
        attempt.object["spec"] = spec;
        applied.map_err(|why| attempt.forbidden(&why))
    }

    async fn validate(&self, core: &Core, attempt: &Attempt<'_>) -> Result<(), Status> {
        let writes = attempt.is(Operation::Create, GROUP, CLASSES)
            || attempt.is(Operation::Update, GROUP, CLASSES);
        if !writes || attempt.object["globalDefault"] != true {
            return Ok(());
        }
        match default_class(core) {
            Some(known) if meta::name(&known) != meta::name(attempt.object) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta::name(&known)
                );
                Err(attempt.forbidden(&why))
            }
            _ => Ok(()),
        }
    }
}

/// The class of pods that name none. Should two writers have been at it at once: the lower one.
fn default_class(core: &Core) -> Option<Value> {
    let classes = core.in_namespace(GROUP, CLASSES, "");
    let marked = classes.iter().filter(|class| memmem::find(&class.json, DEFAULT_MARK).is_some());
    let marked = marked.map(|class| class.value()).filter(|class| class["globalDefault"] == true);
    marked.min_by_key(|class| class["value"].as_i64())
}

/// Gives a pod what its class says, unless it says otherwise by itself.
fn apply(spec: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let none = json!({"value": 0, "preemptionPolicy": "PreemptLowerPriority"});
    let priority = class.unwrap_or(&none)["value"].as_i64().unwrap_or_default();
    if let Some(class) = class {
        spec["priorityClassName"] = meta::name(class).into();
    }
    if let Some(asked) = spec["priority"].as_i64().filter(|asked| *asked != priority) {
        return Err(format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority \
             admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    spec["priority"] = priority.into();
    let Some(policy) = class.unwrap_or(&none)["preemptionPolicy"].as_str() else { return Ok(()) };
    if let Some(asked) = spec["preemptionPolicy"].as_str().filter(|asked| *asked != policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}

/// An update that leaves them out means what the pod has.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        let had = &old["spec"][field];
        if pod["spec"].is_object() && pod["spec"][field].is_null() && !had.is_null() {
            pod["spec"][field] = had.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(mut spec: Value, class: Option<&Value>) -> String {
        match apply(&mut spec, class) {
            Ok(()) => format!(
                "{} {} {}",
                spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]
            ),
            Err(why) => why,
        }
    }

    #[test]
    fn pods_get_what_their_class_says() {
        let class = json!({"metadata": {"name": "c"}, "value": 7, "preemptionPolicy": "Never"});
        expect_test::expect![[r#"
            null 0 "PreemptLowerPriority"
            "c" 7 "Never"
            the integer value of priority (9) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name
            the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name"#]]
        .assert_eq(
            &[
                given(json!({}), None),
                given(json!({"priority": 7}), Some(&class)),
                given(json!({"priority": 9}), Some(&class)),
                given(json!({"preemptionPolicy": "PreemptLowerPriority"}), Some(&class)),
            ]
            .join("\n"),
        );
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out() {
        let old = json!({"spec": {"priority": 3, "preemptionPolicy": "Never"}});
        let mut pod = json!({"spec": {"preemptionPolicy": "X"}});
        keep(&mut pod, &old);
        assert_eq!(pod, json!({"spec": {"priority": 3, "preemptionPolicy": "X"}}));
    }
}
