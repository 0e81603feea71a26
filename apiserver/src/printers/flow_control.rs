//! Flow schemas and priority levels.

use kontiki_api::meta;
use serde_json::Value;

use super::{Printer, age_of, column};

pub(super) const SCHEMA: Printer = Printer {
    columns: &[
        column("Name"),
        column("PriorityLevel"),
        column("MatchingPrecedence"),
        column("DistinguisherMethod"),
        column("Age"),
        column("MissingPL"),
    ],
    cells: |schema, now| {
        let spec = &schema["spec"];
        let conditions = schema["status"]["conditions"].as_array().into_iter().flatten();
        let mut dangling = conditions.filter(|one| one["type"] == "Dangling");
        let missing = dangling.next().and_then(|one| one["status"].as_str()).unwrap_or("?");
        vec![
            meta::name(schema).into(),
            spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default().into(),
            spec["matchingPrecedence"].as_i64().unwrap_or_default().into(),
            spec["distinguisherMethod"]["type"].as_str().unwrap_or("<none>").into(),
            age_of(schema, now),
            missing.into(),
        ]
    },
};

pub(super) const LEVEL: Printer = Printer {
    columns: &[
        column("Name"),
        column("Type"),
        column("NominalConcurrencyShares"),
        column("Queues"),
        column("HandSize"),
        column("QueueLengthLimit"),
        column("Age"),
    ],
    cells: |level, now| {
        let spec = &level["spec"];
        let limited = &spec["limited"];
        let queuing = &limited["limitResponse"]["queuing"];
        let shown = |value: &Value| value.as_i64().map_or_else(|| "<none>".into(), Value::from);
        vec![
            meta::name(level).into(),
            spec["type"].as_str().unwrap_or_default().into(),
            shown(&limited["nominalConcurrencyShares"]),
            shown(&queuing["queues"]),
            shown(&queuing["handSize"]),
            shown(&queuing["queueLengthLimit"]),
            age_of(level, now),
        ]
    },
};
