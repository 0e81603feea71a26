//! What the objects of flow control come to: schemas in the order in which they are tried, levels
//! with their seats, and which schemas point at a level that is not there. Pure.

use kontiki_api::meta;
use serde_json::{Value, json};

use super::{
    classify::Matcher,
    queues::Queuing,
    shares::{self, Claim, Limits},
};

/// The schema and level that all requests pass that nothing limits.
pub const EXEMPT: &str = "exempt";
/// The schema and level of requests that no other schema is about.
pub const CATCH_ALL: &str = "catch-all";

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether its requests are served whatever else is.
    pub exempt: bool,
    /// How it queues; `None` refuses what comes on top of its seats.
    pub queuing: Option<Queuing>,
    /// Its seats.
    pub limits: Limits,
}

/// What a schema's condition should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The schema.
    pub schema: String,
    /// The level it names.
    pub level: String,
    /// Whether there is no such level.
    pub dangling: bool,
}

/// Everything together.
#[derive(Debug)]
pub struct Plan {
    /// Schemas whose level is there, in the order in which they are tried.
    pub schemas: Vec<Matcher>,
    /// Levels.
    pub levels: Vec<Level>,
    /// One per schema that is stored.
    pub verdicts: Vec<Verdict>,
}

/// Reads the objects and divides `total` seats. What every server needs and is not there is made
/// up.
pub fn plan(schemas: &[Value], levels: &[Value], total: u32) -> Plan {
    let stored = levels.iter().filter(|level| is_sound(level));
    let mut configured: Vec<Value> = stored.cloned().collect();
    for (name, level) in [(EXEMPT, exempt_level()), (CATCH_ALL, catch_all_level())] {
        if !configured.iter().any(|one| meta::name(one) == name) {
            configured.push(level);
        }
    }
    let claims: Vec<Claim> = configured.iter().map(claim).collect();
    let limits = shares::divide(total, &claims);
    let levels: Vec<Level> =
        configured.iter().zip(limits).map(|(value, limits)| level(value, limits)).collect();
    let mut verdicts = Vec::new();
    let mut matchers = Vec::new();
    for schema in schemas {
        let matcher = Matcher::read(schema);
        let dangling = !levels.iter().any(|level| level.name == matcher.level);
        verdicts.push(Verdict {
            schema: matcher.name.clone(),
            level: matcher.level.clone(),
            dangling,
        });
        if !dangling {
            matchers.push(matcher);
        }
    }
    for (name, schema) in [(EXEMPT, exempt_schema()), (CATCH_ALL, catch_all_schema())] {
        if !matchers.iter().any(|matcher| matcher.name == name) {
            matchers.push(Matcher::read(&schema));
        }
    }
    matchers.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
    Plan { schemas: matchers, levels, verdicts }
}

/// Whether a level is one that this server can follow; validation lets no other in.
fn is_sound(level: &Value) -> bool {
    let exempt = level["spec"]["type"] == "Exempt";
    exempt == (meta::name(level) == EXEMPT) && (exempt || level["spec"]["limited"].is_object())
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

fn claim(level: &Value) -> Claim {
    let spec = &level["spec"];
    let part = if spec["type"] == "Exempt" { &spec["exempt"] } else { &spec["limited"] };
    Claim {
        shares: number(&part["nominalConcurrencyShares"]),
        lendable_percent: number(&part["lendablePercent"]),
        borrowing_percent: part["borrowingLimitPercent"]
            .as_u64()
            .map(|_| number(&part["borrowingLimitPercent"])),
    }
}

fn level(value: &Value, limits: Limits) -> Level {
    let response = &value["spec"]["limited"]["limitResponse"];
    let queuing = &response["queuing"];
    let queuing = (response["type"] == "Queue").then(|| Queuing {
        queues: number(&queuing["queues"]).max(1),
        hand: number(&queuing["handSize"]).max(1),
        length_max: number(&queuing["queueLengthLimit"]) as usize,
    });
    Level {
        name: meta::name(value).to_owned(),
        uid: meta::uid(value).to_owned(),
        exempt: value["spec"]["type"] == "Exempt",
        queuing,
        limits,
    }
}

fn exempt_level() -> Value {
    json!({"metadata": {"name": EXEMPT}, "spec": {"type": "Exempt", "exempt": {}}})
}

fn catch_all_level() -> Value {
    let limited = json!({"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}});
    json!({"metadata": {"name": CATCH_ALL}, "spec": {"type": "Limited", "limited": limited}})
}

fn everything(name: &str, precedence: u32, groups: &[&str]) -> Value {
    let subject = |group: &&str| json!({"kind": "Group", "group": {"name": group}});
    let subjects: Vec<Value> = groups.iter().map(subject).collect();
    json!({"metadata": {"name": name}, "spec": {
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": {"name": name},
        "rules": [{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                "namespaces": ["*"],
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    }})
}

fn exempt_schema() -> Value {
    everything(EXEMPT, 1, &[crate::user::MASTERS])
}

fn catch_all_schema() -> Value {
    let mut schema = everything(CATCH_ALL, 10_000, &["*"]);
    schema["spec"]["distinguisherMethod"] = json!({"type": "ByUser"});
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str, precedence: u32, level: &str) -> Value {
        let mut schema = everything(name, precedence, &["*"]);
        schema["spec"]["priorityLevelConfiguration"]["name"] = level.into();
        schema
    }

    fn level_of(name: &str, shares: u32) -> Value {
        json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares,
            "limitResponse": {"type": "Queue", "queuing": {
                "queues": 8, "handSize": 2, "queueLengthLimit": 3,
            }},
        }}})
    }

    #[test]
    fn what_a_server_needs_is_made_up() {
        let plan = plan(&[], &[], 100);
        let names: Vec<_> = plan.schemas.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, [EXEMPT, CATCH_ALL]);
        assert_eq!(plan.levels.len(), 2);
        assert!(plan.levels[0].exempt);
        assert_eq!(plan.levels[1].limits.nominal, 100);
    }

    #[test]
    fn schemas_are_tried_by_precedence_and_name_and_dangling_ones_not_at_all() {
        let schemas =
            [schema("b", 100, "one"), schema("a", 100, "one"), schema("lost", 5, "nowhere")];
        let plan = plan(&schemas, &[level_of("one", 15)], 100);
        let names: Vec<_> = plan.schemas.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, [EXEMPT, "a", "b", CATCH_ALL]);
        let dangling: Vec<_> = plan
            .verdicts
            .iter()
            .filter(|one| one.dangling)
            .map(|one| one.schema.as_str())
            .collect();
        assert_eq!(dangling, ["lost"]);
        let one = &plan.levels[0];
        assert_eq!((one.limits.nominal, one.limits.min), (75, 75));
        assert_eq!(one.queuing, Some(Queuing { queues: 8, hand: 2, length_max: 3 }));
    }
}
